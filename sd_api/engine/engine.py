"""The engine: requests in, finished PNG files out. Knows nothing of HTTP or of queues."""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from sd_api.engine.batch import Member, Picture, members_of
from sd_api.engine.decoding import decode
from sd_api.engine.denoising import Denoiser
from sd_api.engine.finishing import finish
from sd_api.engine.prompts import unread
from sd_api.errors import OutOfMemory, ServerError, generation_failure
from sd_api.generation.engine import EngineStatus, Run
from sd_api.generation.request import GenerationRequest
from sd_api.models.device import DeviceChoice
from sd_api.models.hub import watched_downloads
from sd_api.models.library import LoadedModel, ModelLibrary
from sd_api.models.memory import free_memory, memory_of, out_of_memory_as_ours

log = logging.getLogger(__name__)

# Beyond this a GPU gains nothing, and a cancelled picture is computed for longer in vain.
MAX_AT_ONCE = 16


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
        return replace(
            self._status,
            models=self._library.memory(),
            memory=memory_of(self._device.device),
            abilities=self._library.abilities(),
        )

    def at_once(self) -> int:
        """See Engine."""
        # A batch gains nothing on a CPU and costs memory; on MPS diffusers' guide advises against it.
        return MAX_AT_ONCE if self._device.device.type == "cuda" else 1

    def generate(self, runs: Sequence[Run]) -> None:
        """See Engine."""
        started = time.monotonic()
        members = [Member(run) for run in runs]
        for member in members:
            member.report("loading")
        if not any(member.alive for member in members):
            return
        request = runs[0].request

        def tell(arrived: int, total: int) -> None:
            for member in members:
                member.report_download(arrived, total)

        with watched_downloads(tell):
            model = self._model(request.model)
            safety = self._library.safety_filter(model, request.safety_checker)
        for member in members:
            for warning in unread(model, member.run.request):
                member.warn(warning)
        denoiser = Denoiser(model.pipeline(request.mode, request.scheduler, safety), model)
        at_once = self.at_once()
        while pictures := [picture for member in members for picture in member.remaining()][:at_once]:
            at_once = self._pass(denoiser, model, pictures)
        if count := sum(len(member.run.request.seeds) for member in members if member.finished):
            log.info("%s", _summary(request, model, count, time.monotonic() - started))

    def _pass(self, denoiser: Denoiser, model: LoadedModel, pictures: Sequence[Picture]) -> int:
        """Make some pictures at once; what goes wrong ends their runs, or has them made with fewer at once.

        Returns:
            How many to make at once from now on.
        """
        try:
            with torch.inference_mode(), out_of_memory_as_ours():
                self._make(denoiser, model, pictures)
        except OutOfMemory:
            free_memory()
            log.warning("Out of memory with %d at once", len(pictures))
            if len(pictures) == 1 and not self._library.make_room_for(model):
                pictures[0].member.fail(_nothing_smaller(pictures[0].request))
            elif len(pictures) > 1:
                for member in members_of(pictures):
                    member.warn(f"Memory ran out with {len(pictures)} pictures at once, so fewer were made at a time.")
            return max(1, len(pictures) // 2)
        except Exception as error:
            if len(members_of(pictures)) > 1:
                # One of them may be the reason; alone, each ends as it deserves.
                log.warning("A batch of %d failed (%s); making its pictures one by one", len(pictures), error)
                return 1
            pictures[0].member.fail(generation_failure(log, error, pictures[0].request.mode))
        return len(pictures)

    def _make(self, denoiser: Denoiser, model: LoadedModel, pictures: Sequence[Picture]) -> None:
        """Denoise, decode and finish pictures; their runs are told, and get what is finished."""
        rows, latents = denoiser.denoise(pictures)
        if not rows:
            return
        warnings: list[str] = []
        images, flags = decode(denoiser.pipeline, latents, warnings)
        for picture, image, nsfw in zip(rows, images, flags, strict=True):
            for warning in warnings:
                picture.member.warn(warning)
            picture.member.add(finish(picture, image, nsfw=nsfw, scheduler=denoiser.scheduler, model=model.label))

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


def _nothing_smaller(request: GenerationRequest) -> OutOfMemory:
    return OutOfMemory(
        f"There is not enough memory for a picture of {request.width}×{request.height}, not even for one at a "
        "time. Try a smaller size, close other programs that use the GPU, or set "
        '"device": "cpu" in the configuration.'
    )


def _summary(request: GenerationRequest, model: LoadedModel, count: int, seconds: float) -> str:
    return (
        f"{request.mode} with {model.label}: {count} picture{'s' if count > 1 else ''} of "
        f"{request.width}×{request.height}, {request.num_inference_steps} steps, "
        f"seed {request.seeds[0]}, {seconds:.1f} s"
    )
