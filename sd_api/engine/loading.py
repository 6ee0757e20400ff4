"""A job's model: loaded while its client sees how far that is, and what the engine says of the main model."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from sd_api.errors import JobCancelled, OutOfMemory, ServerError
from sd_api.generation.engine import Download, EngineStatus, Progress, Run
from sd_api.models.download_progress import watched_downloads
from sd_api.models.library import LoadedModel, ModelLibrary
from sd_api.models.memory import free_memory, out_of_memory_as_ours


class Loading:
    """Loads models; the state of the main one is the engine's.

    Args:
        library: Where the models come from.
        status: Of the engine before the main model is there.

    Attributes:
        status: Of the engine, without its models; any thread may read it.
    """

    def __init__(self, library: ModelLibrary, status: EngineStatus) -> None:
        self._library = library
        self.status = status

    def load_for(self, run: Run) -> LoadedModel:
        """The model of a job, whose client gets reports of the download.

        Raises:
            JobCancelled: The job is not wanted any more; a download that no other job waits for has ended.
            ServerError: The model cannot be had.
        """

        def report(arrived: int, total: int) -> None:
            if run.spec.model is None:
                self._note(arrived, total)
            try:
                run.report(Progress("downloading", bytes=arrived, total_bytes=total))
            except JobCancelled:
                # The main model is loaded all the same, for the others.
                if run.spec.model is not None:
                    raise

        run.report(Progress("loading"))
        with watched_downloads(report):
            return self._load(run.spec.model)

    def load_main(self) -> None:
        """Load the main model before there is any job; ``status`` tells how far its download is."""
        with watched_downloads(self._note):
            self._load(None)

    def _note(self, arrived: int, total: int) -> None:
        self.status = replace(self.status, download=Download(arrived, total))

    def _load(self, name: str | None) -> LoadedModel:
        """A model from the library; ``status`` tells of the main one, whose name is None."""
        if name is not None:
            return self._get(name)
        if self.status.state == "failed":
            self.status = replace(self.status, state="loading", message=None)
        try:
            model = self._get(None)
        except Exception as error:
            unexpected = "The model could not be loaded; the server's log tells why."
            message = error.message if isinstance(error, ServerError) else unexpected
            self.status = replace(self.status, state="failed", message=message, download=None)
            raise
        self.status = replace(self.status, state="ready", download=None)
        return model

    def _get(self, name: str | None) -> LoadedModel:
        with _explained_memory():
            return self._library.get(name)


@contextmanager
def _explained_memory() -> Iterator[None]:
    """Say what to do about a lack of memory before the first step."""
    try:
        with out_of_memory_as_ours():
            yield
    except OutOfMemory as error:
        free_memory()
        raise OutOfMemory(
            f"There is not enough memory to load the model. {error.message} Close other programs that use the "
            'GPU, configure fewer models, or set "device": "cpu".'
        ) from None
