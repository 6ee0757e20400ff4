"""What comes back from an engine."""

from dataclasses import dataclass


@dataclass(frozen=True)
class GeneratedImage:
    """One picture.

    Attributes:
        png: the encoded picture, RGB, of exactly the size that was asked for.
        seed: the seed that made it.
        nsfw: whether the safety checker flagged it; a flagged picture is black.
    """

    png: bytes
    seed: int
    nsfw: bool


@dataclass(frozen=True)
class GenerationResult:
    """The pictures of one request, in the order of its seeds."""

    images: tuple[GeneratedImage, ...]
