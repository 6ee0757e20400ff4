"""Every other text-to-image pipeline that diffusers' auto classes know, run whole and alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from diffusers import DiffusionPipeline
from PIL import Image

from sd_api.generation.engine import ModelAbilities
from sd_api.generation.operations import FromImage, ImageToImage, Inpaint, Operation
from sd_api.generation.spec import PictureSeeds
from sd_api.imaging.sizing import pad, resize_mask
from sd_api.models.auto_classes import auto_classes
from sd_api.models.components import Parts
from sd_api.models.families.base import Row
from sd_api.models.schedulers import scheduler_name

# A multiple of every architecture's own: sizes in between would be changed by the pipelines, some in silence.
SIZE_MULTIPLE = 64


@dataclass(eq=False, kw_only=True)
class WholeRow(Row):
    """See Row; its one step is the whole run.

    Attributes:
        operation: What to do.
        arguments: Of the pipeline that does it.
        image: The picture, once it is made.
    """

    operation: Operation
    arguments: dict[str, Any]
    image: Image.Image | None = None


class AnyPipeline:
    """See Family."""

    name = "any pipeline of diffusers"
    max_rows = 1

    def matches(self, pipeline: DiffusionPipeline) -> bool:
        """See Family."""
        return bool(auto_classes(type(pipeline).__name__))

    def abilities(self, parts: Parts) -> ModelAbilities:
        """See Family."""
        modes = tuple(auto_classes(type(parts.pipeline).__name__))
        return ModelAbilities(modes=modes, size_multiple=SIZE_MULTIPLE, native_size=None)

    def warnings(self, parts: Parts, operation: Operation) -> Iterator[str]:
        """See Family: what the pipeline has no argument for."""
        known = self._arguments_of(parts, operation)
        if operation.scheduler is not None:
            yield f"scheduler: this model runs with its own scheduler only, so {operation.scheduler!r} was not used."
        for field, value in (("negative_prompt", operation.negative_prompt), ("eta", operation.eta)):
            if value and field not in known:
                yield f"{field}: this model has no use for it, so it was not used."
        for field, used in (
            ("clip_skip", operation.clip_skip > 1),
            ("variation_strength", operation.variation_strength),
        ):
            if used:
                yield f"{field}: this model has no use for it, so it was not used."

    def encode(self, parts: Parts, operation: Operation) -> None:
        """See Family; the pipeline encodes by itself."""

    def start(
        self, parts: Parts, operation: Operation, seeds: PictureSeeds, size: tuple[int, int], conditioning: None
    ) -> WholeRow:
        """See Family."""
        arguments: dict[str, Any] = {
            "prompt": operation.prompt,
            "negative_prompt": operation.negative_prompt,
            "num_inference_steps": operation.steps,
            "guidance_scale": operation.guidance,
            "eta": operation.eta,
            "width": size[0],
            "height": size[1],
            "generator": torch.Generator("cpu").manual_seed(seeds.seed),
            "output_type": "pil",
        }
        if isinstance(operation, FromImage):
            arguments["image"] = pad(operation.image.pixels, size)
        if isinstance(operation, ImageToImage):
            arguments["strength"] = operation.strength
        if isinstance(operation, Inpaint):
            arguments["mask_image"] = pad(resize_mask(operation.mask.pixels, operation.image.size), size)
        known = self._arguments_of(parts, operation)
        return WholeRow(
            key=object(),
            scheduler_name=scheduler_name(parts.pipeline.scheduler),
            steps=1,
            operation=operation,
            arguments={name: value for name, value in arguments.items() if name in known},
        )

    def predict(self, parts: Parts, rows: Sequence[WholeRow]) -> list[Image.Image]:
        """See Family."""
        return [self._run(parts, row) for row in rows]

    def advance(self, row: WholeRow, prediction: Image.Image) -> None:
        """See Family."""
        row.image, row.step = prediction, 1

    def preview(self, parts: Parts, row: WholeRow, prediction: Image.Image) -> None:
        """See Family; there are none."""

    def decode(self, parts: Parts, rows: Sequence[WholeRow], warnings: list[str]) -> list[Image.Image]:
        """See Family; the pipeline has decoded."""
        return [row.image for row in rows if row.image is not None]

    def _arguments_of(self, parts: Parts, operation: Operation) -> frozenset[str]:
        pipeline_class = auto_classes(type(parts.pipeline).__name__)[operation.name]
        return frozenset(signature(pipeline_class.__call__).parameters)

    def _run(self, parts: Parts, row: WholeRow) -> Image.Image:
        parts.place(parts.components.values())
        pipeline = _fresh(parts.pipeline, auto_classes(type(parts.pipeline).__name__)[row.operation.name])
        try:
            image: Image.Image = pipeline(**row.arguments, **_callback(pipeline, row)).images[0]
        finally:
            for component in parts.components.values():
                # Some pipelines leave their autoencoder in fp32 where they break off.
                if component.dtype != component.loaded_dtype:
                    component.module.to(component.loaded_dtype)
        return image


def _fresh(loaded: Any, pipeline_class: Any) -> Any:
    """A pipeline for one run, of the shared weights and a scheduler of its own, because schedulers hold state."""
    scheduler = type(loaded.scheduler).from_config(loaded.scheduler.config)
    pipeline = pipeline_class.from_pipe(loaded, scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _callback(pipeline: Any, row: WholeRow) -> dict[str, Any]:
    """The arguments that have a pipeline call back after each of its steps."""
    known = signature(pipeline.__call__).parameters

    def after_step(running: Any, step: int, _timestep: Any, _tensors: dict[str, Any]) -> dict[str, Any]:
        row.on_step(step + 1, running.num_timesteps)
        return {}

    def after_step_of_older_pipelines(step: int, _timestep: Any, _latents: torch.Tensor) -> None:
        row.on_step(step + 1, len(pipeline.scheduler.timesteps))

    if "callback_on_step_end" in known:
        return {"callback_on_step_end": after_step}
    if "callback" in known:
        return {"callback": after_step_of_older_pipelines, "callback_steps": 1}
    return {}
