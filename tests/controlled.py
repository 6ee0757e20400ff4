"""Pictures with controls, asked for in one way by the tests of every architecture, from us and from diffusers."""

from collections.abc import Sequence
from typing import Any

import torch
from pictures import half_mask, photograph
from PIL import ImageOps

from sd_api.engine.diffusion import denoise, step
from sd_api.generation.controls import Control
from sd_api.generation.images import ImageRef
from sd_api.generation.operation import Operation
from sd_api.generation.operations import ImageToImage, Inpaint, TextToImage
from sd_api.generation.spec import PictureSeeds
from sd_api.models.components import Parts
from sd_api.models.families.packing import unpack
from sd_api.models.families.registry import family_of
from sd_api.settings import Limits

SIDE, STEPS, SEED = 64, 4, 5
IMAGE, MASK = photograph(SIDE, SIDE), half_mask(SIDE, SIDE)
MAP, OTHER_MAP = ImageOps.mirror(IMAGE), ImageOps.invert(IMAGE)
FIRST, SECOND = {"weight": 0.75, "end": 0.5}, {"weight": 1.5, "start": 0.25}


def control(model: str, image: Any = MAP, **changes: Any) -> Control:
    """A control with a map."""
    return Control(model=model, image=ImageRef.of(image, "image"), **changes)


def asked(kind: str, *controls: Control, **changes: Any) -> Operation:
    """An operation with controls."""
    fields: dict[str, Any] = {"prompt": "a dog", "negative_prompt": "blue", "steps": STEPS, "guidance": 5.0}
    fields |= {"controls": controls, "limits": Limits(), **changes}
    if kind == "txt2img":
        return TextToImage(width=SIDE, height=SIDE, **fields)
    fields |= {"image": ImageRef.of(IMAGE, "image"), "strength": 0.75}
    return ImageToImage(**fields) if kind == "img2img" else Inpaint(mask=ImageRef.of(MASK, "mask"), **fields)


def begun(parts: Parts, operation: Operation, tiles: Any = ()) -> Any:
    """The row of an operation before its first step."""
    family = family_of(parts.pipeline)
    with torch.inference_mode():
        conditioning = family.encode(parts, operation)
        return family.start(parts, operation, PictureSeeds(seed=SEED), operation.size, conditioning, tiles)


def ours(parts: Parts, operation: Operation) -> torch.Tensor:
    """The latents of an operation after its last step."""
    latents = denoise(family_of(parts.pipeline), parts, begun(parts, operation)).latents
    assert latents is not None
    return latents


def step_together(parts: Parts, rows: Sequence[Any], shared: Sequence[int]) -> None:
    """A step of each row, in forwards with those of the same key.

    Args:
        parts: The model.
        rows: Those that are begun.
        shared: For each, the number of the first row whose key it has to have.
    """
    assert [[row.key == other.key for other in rows].index(True) for row in rows] == shared
    for first in sorted(set(shared)):
        group = [row for row, of in zip(rows, shared, strict=True) if of == first]
        assert not step(family_of(parts.pipeline), parts, group)


def check_references_together(parts: Parts, kinds: Sequence[Operation]) -> None:
    """Rows share forwards by what acts in a step, and each is as alone.

    Args:
        parts: The model.
        kinds: Without a reference; with one; with another one in the first half of the steps; with the first, weighted.
    """
    rows = [begun(parts, kind) for kind in kinds]
    for done in range(STEPS):
        # One that acts no more is as none.
        shared = [0, 1, 1, 3] if done < STEPS / 2 else [0, 1, 0, 3]
        step_together(parts, rows, shared)
    for kind, row in zip(kinds, rows, strict=True):
        alone = ours(parts, kind)
        assert (row.latents - alone).abs().max() <= 1e-5 * alone.abs().max()


def theirs(pipeline: Any, prompt: str = "a dog", **arguments: Any) -> torch.Tensor:
    """The latents of one of diffusers' pipelines after its last step; arguments that are None are left out."""
    latents: torch.Tensor = pipeline(
        prompt,
        width=SIDE,
        height=SIDE,
        num_inference_steps=STEPS,
        generator=torch.Generator("cpu").manual_seed(SEED),
        output_type="latent",
        **{key: value for key, value in arguments.items() if value is not None},
    ).images
    return unpack(latents, (SIDE // 8, SIDE // 8)) if latents.ndim == 3 else latents
