"""What comes back from an engine."""

from dataclasses import dataclass


@dataclass(frozen=True)
class GeneratedImage:
    """One picture.

    Attributes:
        png: the encoded picture, RGB, of exactly the size that was asked for.
        seed: the seed that made it.
        nsfw: whether the safety filter flagged it; a flagged picture is black.
        variation_seed: the seed of its second noise; None without variations.
    """

    png: bytes
    seed: int
    nsfw: bool
    variation_seed: int | None = None


@dataclass(frozen=True)
class GenerationResult:
    """The pictures of one request, in the order of its seeds.

    Attributes:
        images: one for each seed.
        warnings: what had to be done in a lesser way, in words for the person who asked.
    """

    images: tuple[GeneratedImage, ...]
    warnings: tuple[str, ...] = ()
