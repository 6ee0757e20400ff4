"""Captions for scenes, from templates: what a user may type for them, with words that mean nothing here too."""

from collections.abc import Sequence

import numpy as np

from .things import COLOURS, THINGS

THING_AND_COLOUR = (
    "{a} {thing} on {b} {colour} background",
    "{thing} on {b} {colour} background",
    "{a} {thing} on {colour}",
    "{thing}, {colour} background",
    "{a} {thing}, {colour} background",
    "{colour} background, {thing}",
    "{b} {colour} background with {a} {thing}",
    "a picture of {a} {thing} on {b} {colour} background",
    "a drawing of {a} {thing}, {colour} background",
    "a photo of {a} {thing} on {b} {colour} background",
    "an illustration of {a} {thing} in front of {b} {colour} background",
    "{thing} {colour}",
    "one {thing} on plain {colour}",
    "the {thing} in front of {colour}",
)
THING_ONLY = ("{thing}", "{a} {thing}", "a picture of {a} {thing}", "a photo of {a} {thing}", "draw {a} {thing}")
COLOUR_ONLY = ("{b} {colour} background", "plain {colour}", "nothing, {colour} background", "{colour}")

UNSEEN = (
    "{a} {thing} in front of {b} {colour} background",
    "the {thing}, plain {colour} background",
    "a drawing of {a} {thing} on {colour}",
)
"""For evaluation alone: training never puts a caption together like this."""

FILLERS = (
    "beautiful", "cute", "happy", "big", "small", "detailed", "colourful", "flat", "emoji", "icon", "simple",
    "cartoon", "vector", "art", "high quality", "sharp", "modern", "old", "my", "nice", "lovely", "very", "studio",
    "minimal", "style", "bright", "funny", "single", "clean", "digital",
)  # fmt: skip
WORDS = ("gray", "cyan", "violet", "photograph", "image", "of", "and", "without", "at", "by", "from", "is", "sitting")
"""More words for the tokenizer to know as one token each."""


def article(noun: str) -> str:
    """``a`` or ``an``; nothing before a plural."""
    if noun in ("cherries", "lightning"):
        return ""
    return "an" if noun[0] in "aeio" or noun == "umbrella" else "a"


def fill(template: str, thing: str | None, colour: str) -> str:
    """The template with its thing, its colour and their articles."""
    return " ".join(
        template.format(thing=thing, colour=colour, a=article(thing) if thing else "", b=article(colour)).split()
    )


def caption(rng: np.random.Generator, thing: str | None, colour: str) -> str:
    """What somebody may have typed to get the scene; in one of eight nothing, for guidance.

    Args:
        rng: where the randomness comes from.
        thing: a name of ``THINGS``; None for a bare background.
        colour: a name of ``COLOURS``.
    """
    if rng.random() < 0.125:
        return ""
    templates: Sequence[str] = COLOUR_ONLY
    if thing is not None:
        templates = THING_AND_COLOUR if rng.random() < 0.88 else THING_ONLY
    words = fill(templates[int(rng.integers(len(templates)))], thing, colour).split()
    if rng.random() < 0.25:
        for _ in range(rng.integers(1, 4)):
            words.insert(rng.integers(len(words) + 1), _filler(rng))
    return " ".join(words)


def _filler(rng: np.random.Generator) -> str:
    """A word that changes nothing; sometimes no word at all."""
    if rng.random() < 0.3:
        return "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), size=rng.integers(2, 9)))
    return FILLERS[rng.integers(len(FILLERS))]


def corpus() -> list[str]:
    """Every word that captions are made of, for the tokenizer."""
    templates = (*THING_AND_COLOUR, *THING_ONLY, *COLOUR_ONLY, *UNSEEN)
    filled = [fill(template, thing, colour) for template in templates for thing in THINGS for colour in COLOURS]
    return [*filled, *FILLERS, *WORDS]
