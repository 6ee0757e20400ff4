"""A prompt as plain data, and what of it acts in a step."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, lcm, prod

from sd_api.prompting.moments import When, first_step


@dataclass(frozen=True)
class Words:
    """Text as it is."""

    text: str


@dataclass(frozen=True)
class Break:
    """``BREAK``: what follows begins a new chunk of tokens."""


@dataclass(frozen=True)
class Weighted:
    """Parts whose tokens count more or less, such as ``(more)``."""

    parts: "Parts"
    factor: float


@dataclass(frozen=True)
class Scheduled:
    """``[before:after:when]``.

    Attributes:
        before: What acts in the first steps.
        after: What acts from then on.
        when: The share of the steps that comes before, or their number.
    """

    before: "Parts"
    after: "Parts"
    when: When

    @property
    def options(self) -> tuple["Parts", ...]:
        """What may act, in the order of ``turn``."""
        return self.before, self.after

    def turn(self, step: int, steps: int) -> int:
        """Which of ``options`` acts in a step, counted from 0."""
        return 0 if step < first_step(self.when, steps) else 1


@dataclass(frozen=True)
class Alternating:
    """``[one|two]``, which take turns, or ``[one,two,0.4]``.

    Attributes:
        options: Two or more.
        share: Of the steps in which the first of two options acts, spread evenly; None where all act equally often.
    """

    options: tuple["Parts", ...]
    share: Fraction | None = None

    def turn(self, step: int, steps: int) -> int:  # noqa: ARG002 - as Scheduled has it
        """Which of ``options`` acts in a step, counted from 0."""
        if self.share is None:
            return step % len(self.options)
        return 0 if ceil((step + 1) * self.share) > ceil(step * self.share) else 1


@dataclass(frozen=True)
class Lora:
    """``<lora:name:0.8:0.5:from=0.2:to=0.6>``.

    Attributes:
        name: The name of its file.
        weight: The factor of its layers in the denoiser.
        text_weight: The factor of its layers in the text encoders.
        begin: When it begins to act.
        end: When it acts no more; None where it acts to the end.
        within: The schedules and alternations that it stands in, with the numbers of those of their options.
    """

    name: str
    weight: float = 1.0
    text_weight: float = 1.0
    begin: When = 0
    end: When | None = None
    within: tuple[tuple["Scheduled | Alternating", int], ...] = ()

    def acts(self, step: int, steps: int) -> bool:
        """Whether it acts in a step, counted from 0."""
        is_over = self.end is not None and step >= first_step(self.end, steps)
        if is_over or step < first_step(self.begin, steps):
            return False
        return all(part.turn(step, steps) == number for part, number in self.within)

    @property
    def changes(self) -> bool:
        """Whether it acts in some steps only."""
        return self.begin != 0 or self.end is not None or bool(self.within)


Part = Words | Break | Weighted | Scheduled | Alternating | Lora
Parts = tuple[Part, ...]


@dataclass(frozen=True)
class Piece:
    """A run of text whose tokens have one weight."""

    text: str
    weight: float


# What acts in one step: runs of text, and breaks between them.
Pieces = tuple[Piece | Break, ...]


@dataclass(frozen=True)
class Term:
    """One of the prompts that ``AND`` joins.

    Attributes:
        parts: The prompt.
        weight: The factor of its prediction.
    """

    parts: Parts
    weight: float = 1.0


@dataclass(frozen=True)
class Prompt:
    """What a prompt says.

    Attributes:
        terms: The prompts that ``AND`` joins, at least one.
    """

    terms: tuple[Term, ...]

    @property
    def loras(self) -> tuple[Lora, ...]:
        """The LoRAs that it names, in their order, each with what it stands in."""
        return tuple(lora for term in self.terms for lora in _loras(term.parts, ()))

    def at(self, step: int, steps: int) -> tuple[Pieces, ...]:
        """What of each term acts in a step.

        Args:
            step: Counted from 0.
            steps: All of them.
        """
        return tuple(tuple(_merged(_flat(term.parts, 1.0, step, steps))) for term in self.terms)

    @property
    def changes(self) -> bool:
        """Whether other text acts in other steps."""
        return any(isinstance(part, Scheduled | Alternating) for part in self._every())

    def texts(self, steps: int) -> int:
        """How many texts act in so many steps, at most, those of all terms together."""
        return sum(min(steps, _texts(term.parts)) for term in self.terms)

    @property
    def breaks(self) -> int:
        """How often ``BREAK`` stands in it."""
        return sum(isinstance(part, Break) for part in self._every())

    @property
    def plain(self) -> str:
        """The text that acts in the end, for models that read nothing else."""
        texts = (
            "".join(piece.text if isinstance(piece, Piece) else " " for piece in pieces)
            for pieces in self.at(999, 1000)
        )
        return ", ".join(texts)

    @property
    def devices(self) -> tuple[str, ...]:
        """What ``plain`` leaves out, in words."""
        parts = set(map(type, self._every()))
        found = {
            "weights": Weighted in parts,
            "schedules": Scheduled in parts,
            "alternation": Alternating in parts,
            "BREAK": Break in parts,
            "AND": len(self.terms) > 1,
            "LoRAs": bool(self.loras),
        }
        return tuple(name for name, is_used in found.items() if is_used)

    def _every(self) -> Iterator[Part]:
        """All parts, those within others included."""
        waiting = [part for term in self.terms for part in term.parts]
        while waiting:
            part = waiting.pop()
            yield part
            for inner in _inner(part):
                waiting += inner


def _inner(part: Part) -> tuple[Parts, ...]:
    if isinstance(part, Weighted):
        return (part.parts,)
    return part.options if isinstance(part, Scheduled | Alternating) else ()


def _texts(parts: Parts) -> int:
    """How many texts parts have over any number of steps, at most."""
    within = [inner for part in parts for inner in _inner(part)]
    stages = sum(isinstance(part, Scheduled) for part in parts)
    alternating = [part for part in parts if isinstance(part, Alternating)]
    turns = lcm(*(len(part.options) for part in alternating if part.share is None))
    shared = 1 << sum(part.share is not None for part in alternating)
    return (1 + stages) * turns * shared * prod(map(_texts, within))


def _loras(parts: Parts, within: tuple[tuple[Scheduled | Alternating, int], ...]) -> Iterator[Lora]:
    for part in parts:
        if isinstance(part, Lora):
            yield replace(part, within=within)
        elif isinstance(part, Weighted):
            yield from _loras(part.parts, within)
        elif isinstance(part, Scheduled | Alternating):
            for number, option in enumerate(part.options):
                yield from _loras(option, (*within, (part, number)))


def _flat(parts: Parts, weight: float, step: int, steps: int) -> Iterator[Piece | Break]:
    for part in parts:
        if isinstance(part, Words):
            yield Piece(part.text, weight)
        elif isinstance(part, Break):
            yield part
        elif isinstance(part, Weighted):
            yield from _flat(part.parts, weight * part.factor, step, steps)
        elif not isinstance(part, Lora):
            yield from _flat(part.options[part.turn(step, steps)], weight, step, steps)


def _merged(pieces: Iterator[Piece | Break]) -> list[Piece | Break]:
    """The same with neighbours of one weight in one piece, so that ``[fe|]male`` is read as one word."""
    merged: list[Piece | Break] = []
    for piece in pieces:
        last = merged[-1] if merged else None
        if isinstance(piece, Piece) and isinstance(last, Piece) and last.weight == piece.weight:
            merged[-1] = Piece(last.text + piece.text, piece.weight)
        else:
            merged.append(piece)
    return merged
