"""From the text of a prompt to what it says.

Written by hand, because any text is a prompt: a bracket without its partner is no fault, which a grammar could only say
ambiguously, at a cost that grows with the square of the text. This takes one pass.
"""

import re
from fractions import Fraction

from sd_api.prompting.brackets import Marks
from sd_api.prompting.faults import MAX_DEPTH, PromptFault
from sd_api.prompting.loras import NUMBER, FoundLora, find_loras
from sd_api.prompting.moments import WHEN, when
from sd_api.prompting.prompt import Alternating, Break, Part, Parts, Prompt, Scheduled, Term, Weighted, Words

MORE = 1.1
"""The weight of ``(words)``; ``[words]`` are divided by it."""

MAX_WEIGHT = 100.0
"""The largest weight, and the negative of the smallest: beyond it embeddings overflow in half precision."""

MAX_TERMS = 8
"""The most prompts that ``AND`` may join; each costs a row of every forward."""

# What closes ``(words:1.3)``, and what closes a prompt before ``AND``.
_WEIGHT = re.compile(rf":\s*({NUMBER})\s*$", re.ASCII)
_AND = re.compile(r"\bAND\b")
_BREAK = re.compile(r"\bBREAK\b")


def parse(text: str, *, negative: bool = False) -> Prompt:
    """Read a prompt.

    Args:
        text: The prompt; its ``{one|two}`` have been chosen.
        negative: Whether it is a negative prompt, in which ``AND`` is a word and no LoRA may stand.

    Raises:
        PromptFault: It has a weight beyond ``MAX_WEIGHT``, a LoRA that cannot be read or has no place there, more than
            ``MAX_TERMS`` prompts, or brackets that are nested too deeply.
    """
    found = find_loras(text, MAX_WEIGHT)
    if negative and found:
        raise PromptFault(found[0].begin, "a LoRA acts on the whole picture; name it in the prompt")
    return Prompt(_Parser(text, found, joins=not negative).terms())


def parse_plain(text: str) -> Prompt:
    """A prompt without the language: all of it is text."""
    return Prompt((Term((Words(text),) if text else ()),))


class _Parser:
    def __init__(self, text: str, loras: list[FoundLora], *, joins: bool) -> None:
        self._text = text
        self._loras = {each.begin: each.lora for each in loras}
        self._marks = Marks(text, "([", [(each.begin, each.end) for each in loras])
        self._joins = joins

    def terms(self) -> tuple[Term, ...]:
        ranges = self._joined()
        if len(ranges) == 1:
            return (Term(self._parts(*ranges[0], 0)),)
        if len(ranges) > MAX_TERMS:
            raise PromptFault(ranges[MAX_TERMS][0], f"AND joins {len(ranges)} prompts; at most {MAX_TERMS} are allowed")
        terms = []
        for begin, last in ranges:
            words = self._without_loras(begin, last)
            weight, end = self._weight(begin, words)
            behind = tuple(lora for at, lora in self._loras.items() if words <= at < last)
            terms.append(Term(self._parts(begin, end, 0) + behind, 1.0 if weight is None else weight))
        return tuple(terms)

    def _joined(self) -> list[tuple[int, int]]:
        """The prompts between ``AND`` outside of brackets, as begin and end."""
        end, begins, ends = len(self._text), [0], []
        matches = list(_AND.finditer(self._text)) if self._joins else []
        outside = set(self._marks.places(0, end, inside=False)) if matches else set()
        for match in matches:
            if match.start() in outside:
                ends.append(match.start())
                begins.append(match.end())
        return list(zip(begins, [*ends, end], strict=True))

    def _without_loras(self, begin: int, end: int) -> int:
        """Where a prompt ends without the LoRAs that follow it."""
        starts = {after: at for at, after in self._marks.spans if at >= begin}
        while (stripped := begin + len(self._text[begin:end].rstrip())) in starts:
            end = starts[stripped]
        return end

    def _parts(self, begin: int, end: int, depth: int) -> Parts:
        if depth > MAX_DEPTH:
            raise PromptFault(begin - 1, f"brackets are nested more than {MAX_DEPTH} deep")
        parts: list[Part] = []
        at = start = begin
        words: list[str] = []

        def close() -> None:
            parts.extend(_words("".join([*words, self._text[start:at]])))
            words.clear()

        while at < end:
            character = self._text[at]
            if at in self._marks.escapes:
                words.append(self._text[start:at])
                start, at = at + 1, at + 2
            elif at in self._marks.ends:
                # A LoRA, which is no text.
                close()
                parts.append(self._loras[at])
                start = at = self._marks.ends[at]
            elif character in "([":
                close()
                partner = self._marks.partners.get(at)
                # One that stays open acts to the end of what it stands in.
                stop = end if partner is None else partner
                parts.append(self._group(at, stop, depth + 1, closed=partner is not None))
                start = at = stop if partner is None else stop + 1
            else:
                at += 1
        close()
        return tuple(parts)

    def _group(self, opening: int, end: int, depth: int, *, closed: bool) -> Part:
        begin = opening + 1
        if self._text[opening] == "(":
            weight, stop = self._weight(begin, end) if closed else (None, end)
            return Weighted(self._parts(begin, stop, depth), MORE if weight is None else weight)
        if closed and (special := self._square(begin, end, depth)) is not None:
            return special
        return Weighted(self._parts(begin, end, depth), 1 / MORE)

    def _square(self, begin: int, end: int, depth: int) -> Part | None:
        """What square brackets mean besides less weight."""
        options = self._marks.split(begin, end, "|")
        if len(options) > 1:
            return Alternating(tuple(self._parts(*option, depth) for option in options))
        *changed, moment = self._marks.split(begin, end, ":")
        if len(changed) in (1, 2) and (match := WHEN.fullmatch(self._text, *moment)):
            before, after = [(), *(self._parts(*part, depth) for part in changed)][-2:]
            return Scheduled(before, after, when(match[1]))
        *options, share = self._marks.split(begin, end, ",")
        if len(options) == 2 and (match := WHEN.fullmatch(self._text, *share)) and 0 < Fraction(match[1]) < 1:
            first, second = (self._parts(*option, depth) for option in options)
            return Alternating((first, second), Fraction(match[1]))
        return None

    def _weight(self, begin: int, end: int) -> tuple[float | None, int]:
        """The weight at the end of a part of the text, and where that part ends without it."""
        match = _WEIGHT.search(self._text, begin, end)
        if match is None or match.start() - 1 in self._marks.escapes:
            return None, end
        if not -MAX_WEIGHT <= float(match[1]) <= MAX_WEIGHT:
            raise PromptFault(match.start(1), f"a weight must be from {-MAX_WEIGHT:g} to {MAX_WEIGHT:g}")
        return float(match[1]), match.start()


def _words(text: str) -> list[Part]:
    first, *others = _BREAK.split(text)
    parts: list[Part] = [Words(first)]
    for other in others:
        parts += [Break(), Words(other)]
    return [part for part in parts if part != Words("")]
