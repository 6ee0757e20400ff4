"""Downloads of models beside the jobs: each goes on as long as one of its owners wants it, connected or not."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Literal

from sd_api.errors import JobCancelled, NotEnabled, QueueFull, ServerError, UnknownDownload
from sd_api.models.download_progress import DownloadWatcher
from sd_api.models.hub_faults import without_hints
from sd_api.models.sources import HubModel

log = logging.getLogger(__name__)

AT_ONCE = 2
"""Downloads that run at the same time; further ones wait."""
MAX_UNFINISHED = 8
"""Downloads that run or wait, those of all owners."""
MAX_OF_OWNER = 4
"""Downloads that run or wait, those that one owner has begun or joined."""
MAX_ENDED = 64
"""Downloads that have ended and are still listed; the oldest are forgotten first."""

_ELSEWHERE = (
    "The models of a cluster are where its workers are, so none is downloaded here. Call python server.py pull <id> on "
    "the workers' machines, or name the model in a request: the worker that takes it downloads it."
)

# Reports of a download by which its speed is measured, some ten seconds of them.
_REPORTS = 50

Pull = Callable[[HubModel, DownloadWatcher], int]
"""Downloads a model, unless it is there, and returns its bytes; see ``pulling.pull``."""


@dataclass(frozen=True, kw_only=True)
class DownloadStatus:
    """How far a download is.

    Attributes:
        model_id: the model's id on the hub.
        state: ``waiting`` for other downloads, ``downloading``, and then ``complete`` or ``failed``.
        bytes: what has arrived, with what an earlier attempt has left; None before that is known.
        total_bytes: of all files that are needed; None before that is known.
        seconds_left: by the speed of the last seconds; None where there is none.
        message: why it failed, and what to do; None otherwise.
    """

    model_id: str
    state: Literal["waiting", "downloading", "complete", "failed"]
    bytes: int | None = None
    total_bytes: int | None = None
    seconds_left: float | None = None
    message: str | None = None


class ModelDownloads:
    """Downloads models on threads of this process, for owners that see those that they have asked for.

    Args:
        pull: downloads one model; None where the models are on other machines.
    """

    def __init__(self, pull: Pull | None) -> None:
        self._pull = pull
        self._lock = threading.Lock()
        # By their ids, those that began last at the end.
        self._downloads: dict[str, _Download] = {}
        self._running: set[Future[None]] = set()
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="model-download")

    def start(self, source: HubModel, owner: str) -> DownloadStatus:
        """Begin a download, go on with one that was broken off, or join one of another owner.

        Raises:
            QueueFull: too many run or wait.
            NotEnabled: the models are on other machines.
        """
        if self._pull is None:
            raise NotEnabled(_ELSEWHERE)
        with self._lock:
            download = self._downloads.get(source.repo_id)
            if download is None or download.ended:
                self._refuse_too_many(owner)
                owners = set() if download is None else download.owners
                self._forget(source.repo_id)
                download = self._downloads[source.repo_id] = _Download(source, owners)
                download.future = self._pool.submit(download.run, self._pull)
                self._running.add(download.future)
                download.future.add_done_callback(self._running.discard)
            download.owners.add(owner)
            return download.status()

    def of(self, owner: str) -> list[DownloadStatus]:
        """The owner's downloads, the latest last; those that have ended as well, until they are removed."""
        with self._lock:
            return [download.status() for download in self._downloads.values() if owner in download.owners]

    def remove(self, model_id: str, owner: str) -> None:
        """Forget a download; it is stopped if no other owner wants it, and what has arrived is kept.

        Raises:
            UnknownDownload: the owner has no such download.
        """
        with self._lock:
            download = self._downloads.get(model_id)
            if download is None or owner not in download.owners:
                raise UnknownDownload(f"You have no download of {model_id[:100]!r}.")
            download.owners.discard(owner)
            if not download.owners:
                self._forget(model_id)

    def stop(self, timeout: float) -> None:
        """Stop all downloads and wait for them, some seconds at most; what has arrived is kept."""
        with self._lock:
            for model_id in list(self._downloads):
                self._forget(model_id)
        self._pool.shutdown(wait=False, cancel_futures=True)
        wait(tuple(self._running), timeout)

    def _forget(self, model_id: str) -> None:
        if (download := self._downloads.pop(model_id, None)) is not None:
            download.unwanted.set()
            # Where it waits, it has ended with that.
            if download.future is not None:
                download.future.cancel()

    def _refuse_too_many(self, owner: str) -> None:
        ended = [model_id for model_id, download in self._downloads.items() if download.ended]
        # Those that are stopped count until they have.
        if len(self._running) >= MAX_UNFINISHED:
            raise QueueFull(f"{MAX_UNFINISHED} models are being downloaded or wait for that. Try again later.")
        own = sum(owner in download.owners and not download.ended for download in self._downloads.values())
        if own >= MAX_OF_OWNER:
            raise QueueFull(f"{own} models are being downloaded for you or wait for that. Try again later.")
        for model_id in ended[:-MAX_ENDED]:
            self._forget(model_id)


class _Download:
    """One download.

    Attributes:
        owners: Who wants it.
        unwanted: Set once nobody does.
        future: When it ends; None until it waits for its turn.
    """

    def __init__(self, source: HubModel, owners: set[str]) -> None:
        self._source = source
        self.owners = owners
        self.unwanted = threading.Event()
        self.future: Future[None] | None = None
        self._reports: deque[tuple[float, int, int]] = deque(maxlen=_REPORTS)
        self._status = DownloadStatus(model_id=source.repo_id, state="waiting")

    @property
    def ended(self) -> bool:
        """Whether it is complete or has failed."""
        return self._status.state in ("complete", "failed")

    def run(self, pull: Pull) -> None:
        """Download it; called on a thread of its own."""
        model_id = self._source.repo_id
        if self.unwanted.is_set():
            return
        self._status = replace(self._status, state="downloading")
        try:
            size = pull(self._source, self._note)
        except JobCancelled:
            return
        except ServerError as error:
            # The server runs already.
            self._fail(without_hints(error.message))
        except Exception:
            log.exception("%s could not be downloaded", model_id)
            self._fail(f"{model_id} could not be downloaded; see the log.")
        else:
            log.info("%s is complete on this machine", model_id)
            self._status = replace(self._status, state="complete", bytes=size, total_bytes=size)

    def status(self) -> DownloadStatus:
        """How far it is; may be called from any thread."""
        found, reports = self._status, list(self._reports)
        if found.state != "downloading" or not reports:
            return found
        (first_time, first, _), (_, arrived, total) = reports[0], reports[-1]
        # Until now, so that the time grows where nothing comes.
        seconds = time.monotonic() - first_time
        left = (total - arrived) * seconds / (arrived - first) if arrived > first else None
        return replace(found, bytes=arrived, total_bytes=total, seconds_left=left)

    def _fail(self, message: str) -> None:
        self._status = replace(self._status, state="failed", message=message)

    def _note(self, arrived: int, total: int) -> None:
        if self.unwanted.is_set():
            raise JobCancelled("This download is not wanted any more.")
        self._reports.append((time.monotonic(), arrived, total))
