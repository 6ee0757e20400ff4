"""Which characters of a prompt are marks of the language, and which brackets belong together."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property

_CLOSING = {"(": ")", "[": "]", "{": "}"}
_OPENING = {closing: opening for opening, closing in _CLOSING.items()}

_ESCAPED = re.compile(r"\\[\\()\[\]{}|:,<>]")


@dataclass(frozen=True)
class Marks:
    """A text with the places of what is no mark: escaped characters, and spans that are read elsewhere.

    Attributes:
        text: The text.
        brackets: The kinds of brackets that count, of ``(``, ``[`` and ``{``.
        spans: The places in which there are no marks, as begin and end.
    """

    text: str
    brackets: str
    spans: Collection[tuple[int, int]] = ()

    @cached_property
    def escapes(self) -> frozenset[int]:
        """The places of backslashes that take the meaning from the character after them."""
        return frozenset(match.start() for match in _ESCAPED.finditer(self.text))

    @cached_property
    def ends(self) -> dict[int, int]:
        """The ends of what is read as one piece, by their beginnings: escaped characters and ``spans``."""
        return {at: at + 2 for at in self.escapes} | dict(self.spans)

    @cached_property
    def partners(self) -> dict[int, int]:
        """The place of the closing bracket for each opening one that has one.

        A closing bracket belongs to the latest opening one of its kind; those of other kinds between the two stay open.
        """
        pairs: dict[int, int] = {}
        opened: list[int] = []
        counts = dict.fromkeys(self.brackets, 0)
        for at in self.places(0, len(self.text)):
            character = self.text[at]
            if character in counts:
                opened.append(at)
                counts[character] += 1
            elif counts.get(opening := _OPENING.get(character, "")):
                # Every bracket is taken off the stack once, so this takes as long as the text.
                while self.text[beginning := opened.pop()] != opening:
                    counts[self.text[beginning]] -= 1
                counts[opening] -= 1
                pairs[beginning] = at
        return pairs

    def split(self, begin: int, end: int, separator: str) -> list[tuple[int, int]]:
        """The pieces of a part of the text between separators that are in no pair of brackets, as begin and end."""
        cuts = [at for at in self.places(begin, end, inside=False) if self.text[at] == separator]
        return list(zip([begin, *(cut + 1 for cut in cuts)], [*cuts, end], strict=True))

    def places(self, begin: int, end: int, *, inside: bool = True) -> Iterator[int]:
        """The places of characters that may be marks; without ``inside``, those in pairs of brackets are left out.

        Args:
            begin: Of the part of the text that is looked at.
            end: Of that part.
            inside: Whether those in pairs of brackets count.
        """
        at = begin
        while at < end:
            if (after := self.ends.get(at)) is not None:
                at = after
                continue
            yield at
            at = at + 1 if inside else self.partners.get(at, at) + 1
