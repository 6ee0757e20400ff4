"""A real server whose engine does what a test's prompt says, for what a model does only by accident."""

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from PIL import Image
from running_server import serving

from sd_api.errors import OutOfMemory
from sd_api.generation.abilities import ModelAbilities
from sd_api.generation.engine import EngineStatus, Feed, Progress
from sd_api.generation.result import GeneratedImage, GenerationResult
from sd_api.settings import Settings
from sd_api.wiring import build_services

LOADING = EngineStatus("loading", "a scripted model")
READY = EngineStatus(
    "ready",
    "a scripted model",
    "cpu",
    "fp32",
    abilities={None: ModelAbilities(modes=("masking",), size_multiple=8, native_size=768)},
)
MEMORY = "There is not enough memory for a picture of 512×512, not even for one at a time. Try a smaller size."


class ScriptedEngine:
    """Loads when the test lets it; makes black pictures that are flagged, or runs out of memory."""

    def __init__(self, may_load: threading.Event) -> None:
        self._may_load = may_load

    def load(self) -> None:
        assert self._may_load.wait(60)

    def status(self) -> EngineStatus:
        return READY if self._may_load.is_set() else LOADING

    def at_once(self) -> int:
        return 1

    def serve(self, feed: Feed) -> None:
        while runs := feed.poll(1, active=False) or feed.wait(1):
            for run in runs:
                run.report(Progress("denoising", 1, 1))
                if "memory" in run.spec.operation.prompt:
                    run.fail(OutOfMemory(MEMORY))
                    continue
                picture = io.BytesIO()
                Image.new("RGB", run.spec.size).save(picture, "PNG")
                run.finish(GenerationResult((GeneratedImage(picture.getvalue(), run.spec.seeds[0], nsfw=True),)))


@contextmanager
def scripted_server(settings: Settings) -> Iterator[tuple[str, Callable[[], None]]]:
    """The URL of a server that is loading, and what ends that."""
    may_load = threading.Event()
    with serving(settings, build_services(settings, lambda: ScriptedEngine(may_load))) as url:
        try:
            yield url, may_load.set
        finally:
            may_load.set()
