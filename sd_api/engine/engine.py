"""The engine: a request in, finished PNG files out. Knows nothing of HTTP or of queues."""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from PIL import Image

from sd_api.engine.arguments import pipeline_arguments
from sd_api.engine.memory import free_memory, out_of_memory_as_ours
from sd_api.engine.noise import HALF_PRECISIONS, draw_in_full_precision
from sd_api.errors import OutOfMemory, ServerError
from sd_api.generation.engine import EngineStatus, OnProgress, Progress
from sd_api.generation.metadata import parameters_text
from sd_api.generation.request import GenerationRequest
from sd_api.generation.result import GeneratedImage, GenerationResult
from sd_api.imaging.blending import composite
from sd_api.imaging.encoding import encode_png
from sd_api.imaging.sizing import crop
from sd_api.models.device import DeviceChoice
from sd_api.models.library import LoadedModel, ModelLibrary
from sd_api.models.schedulers import scheduler_name

log = logging.getLogger(__name__)


class DiffusersEngine:
    """Runs diffusers pipelines on one device; see the Engine protocol.

    Args:
        library: where the models come from.
        device: where they run.
        model: the main model's label.
    """

    def __init__(self, library: ModelLibrary, device: DeviceChoice, model: str) -> None:
        self._library = library
        self._device = device
        self._status = EngineStatus("loading", model, str(device.device), device.dtype)

    def load(self) -> None:
        """See Engine."""
        try:
            self._model(None)
        except ServerError as error:
            log.error("The model is not available: %s", error.message)
        except Exception:
            log.exception("The model could not be loaded")
        else:
            log.info("Ready")

    def status(self) -> EngineStatus:
        """See Engine."""
        return self._status

    def generate(self, request: GenerationRequest, on_progress: OnProgress) -> GenerationResult:
        """See Engine."""
        started = time.monotonic()
        on_progress(Progress("loading"))
        model = self._model(request.model)
        safety = self._library.safety_filter(model, request.safety_checker)
        pipeline = model.pipeline(request.mode, request.scheduler, safety)
        if self._device.torch_dtype in HALF_PRECISIONS:
            draw_in_full_precision(pipeline)
        images = self._make_images(pipeline, model, request, on_progress)
        log.info("%s", _summary(request, model, time.monotonic() - started))
        return GenerationResult(tuple(images))

    def _model(self, name: str | None) -> LoadedModel:
        """A model from the library; what happens to the main one is kept for ``status``."""
        if name is not None:
            return self._load(name)
        if self._status.state == "failed":
            self._status = replace(self._status, state="loading", message=None)
        try:
            model = self._load(None)
        except Exception as error:
            unforeseen = "The model could not be loaded; the server's log tells why."
            message = error.message if isinstance(error, ServerError) else unforeseen
            self._status = replace(self._status, state="failed", message=message)
            raise
        self._status = replace(self._status, state="ready")
        return model

    def _load(self, name: str | None) -> LoadedModel:
        try:
            with out_of_memory_as_ours():
                return self._library.get(name)
        except OutOfMemory as error:
            free_memory()
            raise OutOfMemory(
                f"There is not enough memory to load the model. {error.message} Close other programs that use the "
                'GPU, configure fewer models, or set "device": "cpu".'
            ) from None

    def _make_images(
        self, pipeline: Any, model: LoadedModel, request: GenerationRequest, on_progress: OnProgress
    ) -> list[GeneratedImage]:
        """Make every picture; where memory runs out, fewer at once, and at last in tiles."""
        images: list[GeneratedImage] = []
        at_once = self._images_at_once(len(request.seeds))
        tiled = False
        try:
            while remaining := request.seeds[len(images) :]:
                try:
                    with out_of_memory_as_ours():
                        images += self._run(pipeline, model, request, remaining[:at_once], on_progress)
                except OutOfMemory:
                    if at_once == 1 and tiled:
                        raise _nothing_smaller(request) from None
                    log.warning("Out of memory with %d at once%s", at_once, ", tiled" if tiled else "")
                    if at_once > 1:
                        at_once //= 2
                    else:
                        tiled = True
                        pipeline.vae.enable_slicing()
                        pipeline.vae.enable_tiling()
                    free_memory()
        finally:
            if tiled:
                # The autoencoder is shared by every later run.
                pipeline.vae.disable_slicing()
                pipeline.vae.disable_tiling()
        return images

    def _images_at_once(self, count: int) -> int:
        # A batch gains nothing on a CPU and costs memory; on MPS diffusers' guide advises against it.
        return count if self._device.device.type == "cuda" else 1

    def _run(
        self,
        pipeline: Any,
        model: LoadedModel,
        request: GenerationRequest,
        seeds: Sequence[int],
        on_progress: OnProgress,
    ) -> list[GeneratedImage]:
        def report_step(running: Any, step: int, _timestep: Any, _tensors: dict[str, Any]) -> dict[str, Any]:
            on_progress(Progress("denoising", step + 1, running.num_timesteps))
            if step + 1 == running.num_timesteps:
                on_progress(Progress("decoding"))
            return {}

        with torch.inference_mode():
            output = pipeline(
                **pipeline_arguments(request, seeds, model.size_multiple), callback_on_step_end=report_step
            )
        # None without a filter; pipelines of later architectures have no such field at all.
        flags = getattr(output, "nsfw_content_detected", None) or [False] * len(seeds)
        scheduler = scheduler_name(pipeline.scheduler)
        return [
            GeneratedImage(
                png=encode_png(
                    _finish(image, request, nsfw),
                    parameters=parameters_text(request, seed=seed, scheduler=scheduler, model=model.label),
                ),
                seed=seed,
                nsfw=nsfw,
            )
            for image, seed, nsfw in zip(output.images, seeds, map(bool, flags), strict=True)
        ]


def _finish(image: Image.Image, request: GenerationRequest, nsfw: bool) -> Image.Image:
    """Take the padding off, and put what the mask keeps back; a flagged picture stays black all over."""
    image = crop(image, (request.width, request.height))
    if request.init_image is not None:
        if request.mask_image is not None and not nsfw:
            image = composite(request.init_image, image, request.mask_image)
        if profile := request.init_image.info.get("icc_profile"):
            image.info["icc_profile"] = profile
    return image


def _nothing_smaller(request: GenerationRequest) -> OutOfMemory:
    return OutOfMemory(
        f"There is not enough memory for a picture of {request.width}×{request.height}, not even one at a time and "
        "decoded in tiles. Try a smaller size, close other programs that use the GPU, or set "
        '"device": "cpu" in the configuration.'
    )


def _summary(request: GenerationRequest, model: LoadedModel, seconds: float) -> str:
    count = len(request.seeds)
    return (
        f"{request.mode} with {model.label}: {count} picture{'s' if count > 1 else ''} of "
        f"{request.width}×{request.height}, {request.num_inference_steps} steps, "
        f"seed {request.seeds[0]}, {seconds:.1f} s"
    )
