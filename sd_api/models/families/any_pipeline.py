"""Every other text-to-image pipeline that diffusers' auto classes know, run whole and alone."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import Any

import numpy as np
import torch
from diffusers import SchedulerMixin
from diffusers.image_processor import VaeImageProcessor
from PIL import Image

from sd_api.errors import GenerationFailed
from sd_api.generation.abilities import ModelAbilities, without_effect
from sd_api.generation.operation import Operation
from sd_api.generation.operations import FromImage, Inpaint, Redrawing
from sd_api.generation.plan import Box
from sd_api.generation.schedulers import SCHEDULERS
from sd_api.generation.spec import PictureSeeds
from sd_api.imaging.sizing import pad, resize_mask, whole_cells
from sd_api.models.auto_classes import auto_classes
from sd_api.models.components import Parts
from sd_api.models.families.base import BROKEN, Row
from sd_api.models.families.prompts import plain_only
from sd_api.models.schedulers import scheduler_name
from sd_api.models.sharing import pipeline_of

# A multiple of every architecture's own: sizes in between would be changed by the pipelines, some in silence.
SIZE_MULTIPLE = 64

# The pixels of a latent's side where a pipeline does not name them, as Kandinsky's does not.
COMMON_FACTOR = 8

Signature = Mapping[str, Parameter]
"""The arguments that a pipeline takes, by name."""


@dataclass(eq=False, kw_only=True)
class WholeRow(Row):
    """See Row; all its steps are made by one ``predict``.

    Attributes:
        operation: What to do.
        seed: Of its noise.
        size: Width and height, a multiple of ``SIZE_MULTIPLE``.
        image: The picture, once it is made.
    """

    operation: Operation
    seed: int
    size: tuple[int, int]
    image: Image.Image | None = None


class AnyPipeline:
    """See Family."""

    name = "any pipeline of diffusers"
    max_rows = 1

    def loading_class(self, class_name: str) -> Any:
        """See Family: the one for text, whichever operation the index names."""
        return auto_classes(class_name).get("txt2img")

    def abilities(self, parts: Parts) -> ModelAbilities:
        """See Family."""
        modes = tuple(auto_classes(type(parts.pipeline).__name__))
        known = signature(parts.pipeline.__call__).parameters
        return ModelAbilities(
            modes=modes,
            size_multiple=SIZE_MULTIPLE,
            native_size=None,
            capabilities=("negative_prompt",) if _has_guidance_by_negative_prompt(known) else (),
            schedulers=tuple({scheduler_name(parts.pipeline.scheduler)} & SCHEDULERS.keys()),
            guidance="classifier-free" if _guidance(known) in known else "none",
        )

    def warnings(self, parts: Parts, operation: Operation) -> Iterator[str]:
        """See Family: what the pipeline has no argument for."""
        yield from without_effect(self.abilities(parts), operation)
        yield from plain_only(operation)
        known = signature(_class_for(parts, operation).__call__).parameters
        adds_noise = "eta" in known and "eta" in signature(parts.pipeline.scheduler.step).parameters
        in_vain = {
            "guidance": _guidance(known) not in known,
            "steps": "num_inference_steps" not in known,
            "strength": isinstance(operation, Redrawing) and "strength" not in known,
            "eta": operation.eta and not adds_noise,
        }
        for field, applies in in_vain.items():
            if applies:
                yield f"{field}: this model has no use for it, so it was not used."

    def encode(self, parts: Parts, operation: Operation, look_alive: Callable[[], None] = lambda: None) -> None:
        """See Family; the pipeline encodes by itself."""

    def start(
        self,
        parts: Parts,
        operation: Operation,
        seeds: PictureSeeds,
        size: tuple[int, int],
        conditioning: None,
        tiles: Sequence[Box] = (),
    ) -> WholeRow:
        """See Family."""
        return WholeRow(
            key=object(),
            scheduler_name=scheduler_name(parts.pipeline.scheduler),
            steps=operation.steps_run,
            operation=operation,
            seed=seeds.seed,
            size=size,
        )

    def view(self, row: WholeRow, tile: Box) -> WholeRow:
        """See Family; there are no tiles, because the pipeline predicts by itself."""
        return row

    def predict(self, parts: Parts, rows: Sequence[WholeRow]) -> list[Image.Image]:
        """See Family."""
        return [_run(parts, row) for row in rows]

    def advance(self, row: WholeRow, prediction: Image.Image) -> None:
        """See Family."""
        row.image = prediction
        row.step += row.steps

    def conclude(self, row: WholeRow, prediction: Image.Image) -> None:
        """See Family; what the pipeline predicts is finished."""
        self.advance(row, prediction)

    def preview(self, parts: Parts, row: WholeRow, prediction: Image.Image) -> None:
        """See Family; there are none."""

    def decode(self, parts: Parts, rows: Sequence[WholeRow], warnings: list[str]) -> list[Image.Image]:
        """See Family; the pipeline has decoded."""
        return [row.image for row in rows if row.image is not None]


def _class_for(parts: Parts, operation: Operation) -> Any:
    return auto_classes(type(parts.pipeline).__name__)[operation.name]


def _has_true_guidance(known: Signature) -> bool:
    """Whether classifier-free guidance has a factor beside the one that the model was distilled with, and acts."""
    return "true_cfg_scale" in known and known["true_cfg_scale"].default > 1


def _guidance(known: Signature) -> str:
    """The argument that takes the guidance."""
    return "true_cfg_scale" if _has_true_guidance(known) else "guidance_scale"


def _has_guidance_by_negative_prompt(known: Signature) -> bool:
    return "negative_prompt" in known and ("true_cfg_scale" not in known or _has_true_guidance(known))


def _run(parts: Parts, row: WholeRow) -> Image.Image:
    parts.place(parts.components.values())
    # Schedulers hold state, so each run has its own.
    schedulers = {
        name: type(part).from_config(part.config)
        for name, part in parts.pipeline.components.items()
        if isinstance(part, SchedulerMixin)
    }
    pipeline = pipeline_of(_class_for(parts, row.operation), parts.pipeline, **schedulers)
    known = signature(pipeline.__call__).parameters
    # Weights that a pipeline converts in inference mode could never be moved again outside of it.
    with torch.inference_mode(mode=False), _weights_unchanged(parts):
        try:
            pixels = pipeline(**_arguments(known, pipeline, row), **_callback(known, pipeline, row)).images[0]
        except UnboundLocalError:
            # Sana's pipelines make a warning of it if memory runs out in their autoencoder; then they lack a picture.
            raise torch.OutOfMemoryError("Out of memory.") from None
    if not np.isfinite(pixels).all():
        raise GenerationFailed(BROKEN)
    image: Image.Image = VaeImageProcessor.numpy_to_pil(pixels)[0]
    if image.size != row.size:
        width, height = image.size
        raise GenerationFailed(f"This model made a picture of {width}×{height}, whatever it was asked for.")
    return image


def _arguments(known: Signature, pipeline: Any, row: WholeRow) -> dict[str, Any]:
    """What a pipeline is called with, as far as it has arguments for it."""
    operation, (width, height) = row.operation, row.size
    arguments: dict[str, Any] = {
        "prompt": operation.read("prompt").plain,
        "num_inference_steps": operation.steps,
        _guidance(known): operation.guidance,
        "eta": operation.eta,
        "width": width,
        "height": height,
        # Without these, some pipelines choose a size of their own.
        "use_resolution_binning": False,
        "_auto_resize": False,
        "max_area": width * height,
        "generator": torch.Generator("cpu").manual_seed(row.seed),
        "output_type": "np",
    }
    if _has_guidance_by_negative_prompt(known):
        arguments["negative_prompt"] = operation.read("negative_prompt").plain
    if isinstance(operation, FromImage):
        arguments["image"] = pad(operation.image.pixels, row.size)
    if isinstance(operation, Redrawing):
        arguments |= _part_of_schedule(known, pipeline, operation)
    if isinstance(operation, Inpaint):
        assert operation.mask is not None  # noqa: S101 - each pass has one
        mask = pad(resize_mask(operation.mask.pixels, operation.image.size), row.size)
        # The pipelines take black and white only; grey acts when the picture is finished.
        arguments["mask_image"] = whole_cells(mask, getattr(pipeline, "vae_scale_factor", COMMON_FACTOR))
    return {name: value for name, value in arguments.items() if name in known}


def _part_of_schedule(known: Signature, pipeline: Any, operation: Redrawing) -> dict[str, Any]:
    """The steps and the strength that leave a step to make, where the pipelines would fail without one."""
    if "original_inference_steps" not in known:
        return {"strength": max(operation.strength, _share_of_one(operation.steps))}
    # Latent consistency: the strength is a share of the schedule that its steps are chosen from.
    original = pipeline.scheduler.config.original_inference_steps
    strength = max(operation.strength, _share_of_one(original))
    return {"strength": strength, "num_inference_steps": min(operation.steps, int(original * strength))}


def _share_of_one(steps: int) -> float:
    """The share of a schedule that is one step, also after rounding."""
    share = 1 / steps
    return share if int(steps * share) else math.nextafter(share, 1)


def _callback(known: Signature, pipeline: Any, row: WholeRow) -> dict[str, Any]:
    """The arguments that have a pipeline call back after each of its steps."""

    def report(step: int) -> None:
        # Some schedulers make two calls of the network for one step.
        row.on_step(min(row.steps * (step + 1) // _count(pipeline, row), row.steps), row.steps)

    def after_step(_running: Any, step: int, _timestep: Any, _tensors: dict[str, Any]) -> dict[str, Any]:
        report(step)
        return {}

    if "callback_on_step_end" in known:
        return {"callback_on_step_end": after_step}
    if "callback" in known:
        return {"callback": lambda step, _timestep, _latents: report(step), "callback_steps": 1}
    return {}


def _count(pipeline: Any, row: WholeRow) -> int:
    count: int = getattr(pipeline, "num_timesteps", None) or row.steps
    return count


@contextmanager
def _weights_unchanged(parts: Parts) -> Iterator[None]:
    """Take back what some pipelines leave in the shared modules where they break off: precision, attention."""
    modules: list[Any] = [part.module for part in parts.components.values()]
    tensors = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
    contents = [tensor.data for tensor in tensors]
    processors = [dict(module.attn_processors) if hasattr(module, "attn_processors") else None for module in modules]
    try:
        yield
    finally:
        for tensor, content in zip(tensors, contents, strict=True):
            if tensor.dtype != content.dtype:
                tensor.data = content
        for module, before in zip(modules, processors, strict=True):
            if before is not None and module.attn_processors != before:
                module.set_attn_processor(before)
