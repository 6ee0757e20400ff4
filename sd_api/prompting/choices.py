"""``{one|two}``: one of several texts, chosen anew for each picture."""

from collections.abc import Callable
from random import Random

from sd_api.prompting.brackets import Marks
from sd_api.prompting.faults import MAX_DEPTH


def chosen(text: str, seed: str) -> str:
    """The text with one alternative in place of each ``{one|two}``; all are equally likely.

    Choices that are nested deeper than ``MAX_DEPTH`` are left as they are.

    Args:
        text: A prompt. Braces without ``|`` are text.
        seed: What decides: the same text and seed mean the same choices, on every machine.
    """
    if "{" not in text:
        return text
    marks = Marks(text, "([{")
    random = Random(seed)  # noqa: S311 - nothing is secret here
    return _chosen(marks, 0, len(text), lambda count: int(random.random() * count), 0)


def _chosen(marks: Marks, begin: int, end: int, choose: Callable[[int], int], depth: int) -> str:
    text, pieces, at = marks.text, [], begin
    while at < end:
        close = marks.partners.get(at) if text[at] == "{" and depth < MAX_DEPTH else None
        alternatives = [] if close is None else marks.split(at + 1, close, "|")
        if len(alternatives) > 1:
            assert close is not None  # noqa: S101 - there are alternatives
            pieces.append(_chosen(marks, *alternatives[choose(len(alternatives))], choose, depth + 1))
            at = close + 1
        else:
            after = marks.ends.get(at, at + 1)
            pieces.append(text[at:after])
            at = after
    return "".join(pieces)
