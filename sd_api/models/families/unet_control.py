"""How ControlNets and T2I adapters act in the steps of a UNet; the arithmetic is that of diffusers' pipelines."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import torch
from diffusers import T2IAdapter
from PIL import Image

from sd_api.errors import OutOfLimits
from sd_api.generation.controls import Control
from sd_api.generation.operation import Operation
from sd_api.generation.operations import Inpaint
from sd_api.generation.plan import Box
from sd_api.imaging.sizing import pad, resize_mask
from sd_api.models.adapters.control_files import find_control, read_control
from sd_api.models.adapters.controls import expected_shapes, kind_numbers
from sd_api.models.component import Component
from sd_api.models.components import Parts
from sd_api.models.families.start import Start
from sd_api.models.folders import FoundFile
from sd_api.models.tiling import cut, in_pixels

# By how much less each layer counts than the one below it where the prompt decides.
_SOFTER = 0.825


@dataclass(frozen=True, eq=False)
class RowControl:
    """One control of a row, or of a tile of it.

    Attributes:
        control: What was asked for.
        file: Its model.
        image: (1, channels, height, width) in 0 to 1, what a ControlNet reads; None for T2I adapters.
        features: What a T2I adapter adds, its weight included; empty for ControlNets.
        kind: The number of what the map shows, for union models; else None.
    """

    control: Control
    file: FoundFile
    image: torch.Tensor | None = None
    features: tuple[torch.Tensor, ...] = ()
    kind: int | None = None

    @property
    def key(self) -> Hashable:
        """Rows share a forward if theirs are equal; when each one acts, and how much, may differ."""
        if self.image is None:
            return tuple(part.shape for part in self.features)
        return self.file, self.kind, self.control.mode


Controls = tuple[RowControl, ...]


def is_adapter(parts: Parts, control: Control) -> bool:
    """Whether a control is one of a T2I adapter, as far as its file tells before it is loaded."""
    file = find_control(parts.folders, control.model)
    return file is not None and read_control(file).kind == "T2I adapter"


def row_controls(start: Start) -> Mapping[Box | None, Controls]:
    """The controls of a row: those of each tile by its box in cells, or of all of it by None.

    Args:
        start: How the row begins; each control of its operation has an image of the operation's size, and its
            conditioning has their files.

    Raises:
        OutOfLimits: One of them does not fit the model.
    """
    parts, cell, asked = start.parts, start.cell, start.operation.controls
    files = start.conditioning.controls
    images = [_pixels(control, start.operation, start.size) for control in asked]
    whole = (0, 0, start.size[0] // cell, start.size[1] // cell)
    return {
        tile: tuple(
            _row_control(parts, control, file, cut(image, in_pixels(tile or whole, cell)), tile or whole)
            for control, file, image in zip(asked, files, images, strict=True)
        )
        for tile in start.tiles or (None,)
    }


def _row_control(parts: Parts, control: Control, file: FoundFile, image: torch.Tensor, box: Box) -> RowControl:
    (component,) = parts.controls.placed([file])
    image = image.to(parts.device, component.dtype)
    if isinstance(component.module, T2IAdapter):
        return RowControl(control, file, features=_features(parts, control, component, image, box))
    cells = box[2] - box[0], box[3] - box[1]
    factor = 2 ** (len(component.config.conditioning_embedding_out_channels) - 1)
    if (image.shape[-1] // factor, image.shape[-2] // factor) != cells:
        raise OutOfLimits("controls", f"names {control.model[:100]!r}, which was made for latents of another scale")
    kind = kind_numbers(component.config).get(control.shown or "")
    if kind is not None and control.shown == "inpaint":
        # Union models were trained with black where nothing is known.
        image = image.clamp(min=0)
    return RowControl(control, file, image, kind=kind)


def _features(
    parts: Parts, control: Control, component: Any, image: torch.Tensor, box: Box
) -> tuple[torch.Tensor, ...]:
    if component.config.in_channels == 1:
        image = image[:, :1]
    # Where the latents have an odd number of cells, the UNet rounds up as well.
    factor = component.module.downscale_factor
    beyond = [ceil(side / factor) * factor - side for side in (image.shape[-1], image.shape[-2])]
    if any(beyond):
        image = torch.nn.functional.pad(image, (0, beyond[0], 0, beyond[1]), mode="replicate")
    features = component(image)
    shapes = expected_shapes(parts.denoiser.config, (box[2] - box[0], box[3] - box[1]))
    if any(tuple(part.shape[1:]) != shape for part, shape in zip(features, shapes, strict=False)):
        raise OutOfLimits("controls", f"names {control.model[:100]!r}, which was made for another architecture")
    return tuple(part * control.weight for part in features)


def _pixels(control: Control, operation: Operation, size: tuple[int, int]) -> torch.Tensor:
    """(1, 3, height, width) in 0 to 1; -1 where an inpainting ControlNet is to know nothing."""
    assert control.image is not None  # noqa: S101 - each pass has one
    image = control.image.pixels
    # In the memory order that diffusers gives them, in which convolutions round alike.
    pixels = torch.from_numpy(np.array(pad(image, size), np.float32)[None]).permute(0, 3, 1, 2) / 255
    if control.preprocessor == "inpaint" and isinstance(operation, Inpaint) and operation.mask is not None:
        mask: Image.Image = pad(resize_mask(operation.mask.pixels, image.size), size)
        pixels[:, :, torch.from_numpy(np.array(mask)) > 127] = -1
    return pixels


def residuals(
    parts: Parts,
    rows: Sequence[Any],
    counts: Sequence[int],
    samples: torch.Tensor,
    timesteps: torch.Tensor,
    words: torch.Tensor,
    added: Mapping[str, torch.Tensor] | None,
    prompted: Sequence[bool],
) -> dict[str, Any]:
    """The further arguments of a UNet's forward: what ControlNets and T2I adapters add in this step.

    Args:
        parts: The model; its ControlNets are placed with its denoiser.
        rows: Those of the forward, with equal keys.
        counts: How often each of them goes through the UNet.
        samples: (n, channels, height, width), the scaled latents without further channels.
        timesteps: (n,).
        words: (n, tokens, width).
        added: What SDXL is conditioned with beside the words.
        prompted: Which of them have a prompt, rather than the negative one.
    """
    several = [row.controls[None] for row in rows]
    files = [each.file for each in several[0] if each.image is not None]
    nets = iter(parts.controls.placed(files, [parts.denoiser]))
    down: list[torch.Tensor] = []
    middle: list[torch.Tensor] = []
    inside: list[torch.Tensor] = []
    for column in zip(*several, strict=True):
        acting = [each.control.acts(row.step, row.steps) for each, row in zip(column, rows, strict=True)]
        if column[0].image is None:
            if any(acting):
                inside = _summed(inside, _adapted(column, acting, counts))
            continue
        net = next(nets)
        if any(acting):
            scales = _scales(column, acting, rows, counts, net, samples)
            mode = column[0].control.mode
            seen = prompted if mode == "control" else [True] * len(samples)
            several_down, added_middle = _through(net, column, counts, samples, timesteps, words, added, seen)
            factors = _factors(mode, len(several_down) + 1, samples.device)
            down = _summed(down, [part * (one * scales) for part, one in zip(several_down, factors, strict=False)])
            middle = _summed(middle, [added_middle * (factors[-1] * scales)])
    arguments: dict[str, Any] = {}
    if down:
        arguments |= {"down_block_additional_residuals": down, "mid_block_additional_residual": middle[0]}
    if inside:
        arguments["down_intrablock_additional_residuals"] = inside
    return arguments


def _adapted(column: Sequence[RowControl], acting: Sequence[bool], counts: Sequence[int]) -> list[torch.Tensor]:
    """What a T2I adapter adds, for every variant of every row."""
    rows = [
        [part if acts else torch.zeros_like(part) for part in each.features]
        for each, acts in zip(column, acting, strict=True)
    ]
    return [
        torch.cat([part.expand(count, -1, -1, -1) for part, count in zip(level, counts, strict=True)])
        for level in zip(*rows, strict=True)
    ]


def _scales(
    column: Sequence[RowControl],
    acting: Sequence[bool],
    rows: Sequence[Any],
    counts: Sequence[int],
    net: Component,
    samples: torch.Tensor,
) -> torch.Tensor | float:
    """The factor of what a ControlNet adds, one for all variants of all rows or (n, 1, 1, 1)."""
    factors = []
    for each, acts, row, count in zip(column, acting, rows, counts, strict=True):
        weights = [each.control.weight if acts else 0.0] * count
        if net.config.global_pool_conditions and count > 1 and row.image_guidance is None:
            # Such a net was trained to act with a prompt only; the negative prompt comes first.
            weights[0] = 0.0
        factors += weights
    if len(set(factors)) == 1:
        # As diffusers has it; a tensor in half precision would round it.
        return factors[0]
    return torch.tensor(factors).to(samples)[:, None, None, None]


def _through(
    net: Component,
    column: Sequence[RowControl],
    counts: Sequence[int],
    samples: torch.Tensor,
    timesteps: torch.Tensor,
    words: torch.Tensor,
    added: Mapping[str, torch.Tensor] | None,
    seen: Sequence[bool],
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """What a ControlNet makes of the latents: one tensor for each layer on the way down, and that of the middle.

    It goes through those that are ``seen`` alone, and adds zeros to the others.
    """
    chosen = [number for number, is_seen in enumerate(seen) if is_seen]
    owners = [each for each, count in zip(column, counts, strict=True) for _ in range(count)]
    images: Any = torch.cat([image for number in chosen if (image := owners[number].image) is not None])
    if len(chosen) == 1:
        # As diffusers has a single one.
        images = images.contiguous()
    if len(chosen) < len(samples):
        samples, timesteps, words = samples[chosen], timesteps[chosen], words[chosen]
        added = None if added is None else {name: tensor[chosen] for name, tensor in added.items()}
    options: dict[str, Any] = {}
    if (known := net.config.get("num_control_type")) is not None:
        shown = torch.zeros(len(samples), known).to(samples)
        shown[:, column[0].kind] = 1
        images, options = [images], {"control_type": shown, "control_type_idx": [column[0].kind], "from_multi": True}
    down, middle = net(
        samples,
        timesteps,
        encoder_hidden_states=words,
        controlnet_cond=images,
        conditioning_scale=1.0,
        added_cond_kwargs=added,
        return_dict=False,
        **options,
    )
    several = [*down, middle]
    if len(chosen) < len(seen):
        several = [_with_zeros(part, seen) for part in several]
    return several[:-1], several[-1]


def _with_zeros(part: torch.Tensor, seen: Sequence[bool]) -> torch.Tensor:
    """The samples of those that are ``seen``, and zeros for the others; in the same memory order."""
    samples = iter(torch.split(part, 1))
    return torch.cat([next(samples) if is_seen else torch.zeros_like(part[:1]) for is_seen in seen])


def _factors(mode: str, layers: int, device: torch.device) -> Sequence[torch.Tensor | float]:
    """What each layer counts, the middle one last: as diffusers' ``guess_mode`` has it, and the web UI's extension."""
    if mode == "control":
        return list(torch.logspace(-1, 0, layers, device=device))
    return [_SOFTER ** (layers - 1 - number) if mode == "prompt" else 1.0 for number in range(layers)]


def _summed(before: Sequence[torch.Tensor], more: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The sums level by level; T2I adapters may have different numbers of levels."""
    longer, shorter = (before, more) if len(before) >= len(more) else (more, before)
    return [one + other for one, other in zip(longer, shorter, strict=False)] + list(longer[len(shorter) :])
