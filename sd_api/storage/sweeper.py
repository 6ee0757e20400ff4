"""Deletes in the background what is not kept any longer."""

import logging
import threading
import time

from sd_api.storage.images import SECONDS_OF_A_DAY
from sd_api.storage.protocols import BlobStore, TaskStore

log = logging.getLogger(__name__)

# Seconds from one time to the next.
INTERVAL = 3600.0


class Sweeper:
    """A thread that sweeps at the start, and every hour.

    Args:
        tasks: those that have ended are forgotten after ``days``.
        blobs: those that have expired, and files that belong to nobody.
        days: how long things are kept.
    """

    def __init__(self, tasks: TaskStore, blobs: BlobStore, days: int) -> None:
        self._tasks = tasks
        self._blobs = blobs
        self._days = days
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="sweeper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """End, after the sweep that is under way.

        Args:
            timeout: seconds to wait for it.
        """
        self._stopping.set()
        self._thread.join(timeout)

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                tasks = self._tasks.forget_ended(time.time() - self._days * SECONDS_OF_A_DAY)
                files = self._blobs.sweep()
            except Exception:
                # A full disk, for example; the next time may go better.
                log.exception("Sweeping failed")
            else:
                if tasks or files:
                    log.info("Swept %d tasks and %d files whose time was over", tasks, files)
            self._stopping.wait(INTERVAL)
