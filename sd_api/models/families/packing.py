"""Latents as a sequence of tokens, each of 2 x 2 cells, for transformers that take them so."""

import torch

SIDE = 2


def pack(latents: torch.Tensor) -> torch.Tensor:
    """(n, height / 2 * width / 2, channels * 4) tokens of (n, channels, height, width) latents, row by row."""
    # In the order in memory that diffusers gives them, which the last bit depends on.
    return torch.nn.functional.pixel_unshuffle(latents, SIDE).flatten(2).transpose(1, 2).contiguous()


def unpack(tokens: torch.Tensor, size: torch.Size | tuple[int, ...]) -> torch.Tensor:
    """The latents of ``pack``.

    Args:
        tokens: (n, height / 2 * width / 2, channels * 4).
        size: A shape that ends with the height and width of the latents.
    """
    height, width = size[-2] // SIDE, size[-1] // SIDE
    patches = tokens.transpose(1, 2).reshape(len(tokens), -1, height, width)
    return torch.nn.functional.pixel_shuffle(patches, SIDE)


def grid(latents: torch.Tensor, number: int) -> torch.Tensor:
    """(tokens, 3): the place of each token of ``pack``, for rotary embeddings: the image, the row and the column.

    Args:
        latents: (n, channels, height, width); the places have their precision.
        number: Of the image.
    """
    height, width = latents.shape[-2] // SIDE, latents.shape[-1] // SIDE
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = torch.stack([torch.full_like(rows, number), rows, columns], -1)
    return places.flatten(0, 1).to(latents)
