"""The noise of a seed: the same numbers on every device and in every precision."""

import torch


def draw(shape: torch.Size | tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Draw normal noise in fp32 on the CPU; callers round it to their precision.

    torch draws the last 16 numbers of a tensor anew where its size is no multiple of 16, with other numbers in half
    precision than in full: drawn in half precision, a seed would mean another picture there.

    Args:
        shape: The shape of the noise.
        generator: Of the row, on the CPU.
    """
    return torch.randn(shape, generator=generator, dtype=torch.float32)


def slerp(one: torch.Tensor, other: torch.Tensor, share: float) -> torch.Tensor:
    """Interpolate on the sphere through two noises, which keeps their norm (Shoemake 1985, SIGGRAPH 19(3)).

    Args:
        one: The noise at ``share`` 0.
        other: The noise at ``share`` 1, of the same shape.
        share: 0 to 1.
    """
    cosine = torch.dot(one.flatten(), other.flatten()) / (one.norm() * other.norm())
    angle = torch.arccos(cosine.clamp(-1, 1))
    if angle.sin().abs() < 1e-6:
        # The two are parallel: every path between them is a straight one.
        return torch.lerp(one, other, share)
    return (torch.sin((1 - share) * angle) * one + torch.sin(share * angle) * other) / torch.sin(angle)
