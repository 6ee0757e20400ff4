"""How ControlNets act in the steps of a transformer; the arithmetic is that of diffusers' pipelines."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import torch
from diffusers import SD3ControlNetModel, ZImageControlNetModel
from PIL import Image

from sd_api.errors import OutOfLimits
from sd_api.generation.controls import Control
from sd_api.generation.operations import Inpaint
from sd_api.generation.plan import Box
from sd_api.imaging.sizing import pad
from sd_api.models.adapters.controls import kind_numbers
from sd_api.models.autoencoder import encode_unscaled, scaled
from sd_api.models.component import Component
from sd_api.models.components import Parts
from sd_api.models.families.start import Start
from sd_api.models.folders import FoundFile
from sd_api.models.tiling import cut, in_pixels

Added = Mapping[str, Any]
"""What is added behind a transformer's blocks: a sequence with a tensor for each, by the names of its arguments."""


@dataclass(frozen=True, eq=False)
class RowControl:
    """One control of a row.

    Attributes:
        control: What was asked for.
        file: Its model.
        seen: (1, channels, height, width), what the model reads: the map's latents, or its pixels in -1 to 1.
        scale: The side of a cell of the latents in ``seen``.
        kind: The number of what the map shows, for union models; else None.
    """

    control: Control
    file: FoundFile
    seen: torch.Tensor
    scale: int
    kind: int | None

    def view(self, tile: Box) -> "RowControl":
        """The part of a tile, in cells."""
        return replace(self, seen=cut(self.seen, in_pixels(tile, self.scale)))


def row_controls(start: Start) -> tuple[RowControl, ...]:
    """The controls of a row; the order in which the generator is used is diffusers', the images come later.

    Args:
        start: How the row begins; each control of its operation has an image of the operation's size, and its
            conditioning has their files.

    Raises:
        OutOfLimits: One of them does not fit the operation.
    """
    pairs = zip(start.operation.controls, start.conditioning.controls, strict=True)
    return tuple(_row_control(start, control, file) for control, file in pairs)


def _row_control(start: Start, control: Control, file: FoundFile) -> RowControl:
    (net,) = start.parts.controls.placed([file])
    kind = kind_numbers(net.config).get(control.shown or "")
    mask = _mask(start, control)
    assert control.image is not None  # noqa: S101 - each pass has one
    image = pad(control.image.pixels, start.size)
    if mask is not None:
        # It may be the client's, which others see as well.
        image = Image.composite(Image.new("RGB", image.size), image, mask)
    if getattr(net.module, "input_hint_block", None) is not None:
        return RowControl(control, file, start.pixels(image).contiguous(), start.cell, kind)
    latents = _latents(start, net, image)
    if _takes_mask(net):
        if mask is None:
            problem = "was made for inpainting; it takes a mask and the preprocessor inpaint"
            raise OutOfLimits("controls", f"names {control.model[:100]!r}, which {problem}")
        kept = 1 - (start.pixels(mask.convert("RGB"))[:, :1] > 0).to(latents)
        kept = torch.nn.functional.interpolate(kept, size=latents.shape[-2:])
        latents = torch.cat([latents, kept], 1)
    return RowControl(control, file, latents, 1, kind)


def _latents(start: Start, net: Component, image: Image.Image) -> torch.Tensor:
    takes_mask = _takes_mask(net)
    if not isinstance(net.module, SD3ControlNetModel):
        most_probable = takes_mask or isinstance(net.module, ZImageControlNetModel)
        return start.encode(image, most_probable=most_probable, latents_of=latents_of_map)
    # diffusers draws here from no generator that a seed belongs to.
    unshifted = net.config.force_zeros_for_pooled_projection and not takes_mask
    return start.encode(image, most_probable=True, latents_of=_unshifted if unshifted else latents_of_map)


def latents_of_map(vae: Any, pixels: torch.Tensor, generator: torch.Generator | None, **options: Any) -> torch.Tensor:
    """The latents of a map; in the memory order that diffusers gives it, in which convolutions round alike."""
    latents = encode_unscaled(vae, pixels.contiguous(), generator, **options).to(pixels.dtype)
    return scaled(vae, latents, random=True)


def _unshifted(vae: Any, pixels: torch.Tensor, generator: torch.Generator | None, **options: Any) -> torch.Tensor:
    """The same as some ControlNets for Stable Diffusion 3 were trained with."""
    latents = encode_unscaled(vae, pixels.contiguous(), generator, **options).to(pixels.dtype)
    return latents * float(vae.config.scaling_factor)


def _takes_mask(net: Component) -> bool:
    names = ("extra_condition_channels", "extra_conditioning_channels")
    return any(net.config.get(name) for name in names)


def _mask(start: Start, control: Control) -> Image.Image | None:
    """Black and white: what a ControlNet for inpainting is to know nothing of."""
    operation = start.operation
    if control.preprocessor != "inpaint" or not isinstance(operation, Inpaint) or operation.mask is None:
        return None
    return start.mask(operation).point(lambda level: 255 if level > 127 else 0)


def summed(
    parts: Parts,
    rows: Sequence[Any],
    follow: Callable[[Component, Sequence[RowControl], torch.Tensor | float], Added],
) -> Added:
    """What all ControlNets add in this step; empty where none acts.

    Args:
        parts: The model; its ControlNets are placed with its denoiser.
        rows: Those of the forward, with equal keys.
        follow: Says what one adds, from it, its maps and the factor: one for all rows, or (n, 1, 1).
    """
    if not rows[0].controls:
        return {}
    columns = list(zip(*(row.controls for row in rows), strict=True))
    nets = parts.controls.placed([column[0].file for column in columns], [parts.denoiser])
    total: dict[str, Sequence[torch.Tensor]] = {}
    for net, column in zip(nets, columns, strict=True):
        weights = [
            each.control.weight if each.control.acts(row.step, row.steps) else 0.0
            for each, row in zip(column, rows, strict=True)
        ]
        if not any(weights):
            continue
        # As diffusers has it; a tensor in half precision would round it.
        scale = weights[0] if len(set(weights)) == 1 else torch.tensor(weights).to(column[0].seen)[:, None, None]
        for name, several in follow(net, column, scale).items():
            before = total.get(name)
            total[name] = (
                several if before is None else [one + other for one, other in zip(before, several, strict=True)]
            )
    return total


def maps_of(column: Sequence[RowControl]) -> torch.Tensor:
    """(n, channels, height, width) of rows that share a forward."""
    return torch.cat([each.seen for each in column])


def spread(samples: Sequence[torch.Tensor] | None, blocks: int, *, repeated: bool = False) -> list[torch.Tensor]:
    """What is added behind each block of a transformer, where a ControlNet has fewer of them.

    Args:
        samples: Those of the ControlNet's blocks; none where it has no blocks.
        blocks: How many the transformer has.
        repeated: Whether they begin anew after the last one, rather than each acting on neighbours.
    """
    if not samples:
        return []
    if repeated:
        return [samples[block % len(samples)] for block in range(blocks)]
    interval = ceil(blocks / len(samples))
    return [samples[block // interval] for block in range(blocks)]
