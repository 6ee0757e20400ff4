"""Deletes expired tasks and images in the background."""

import logging
import threading
import time

from sd_api.storage.images import SECONDS_OF_A_DAY
from sd_api.storage.protocols import BlobStore, TaskStore

log = logging.getLogger(__name__)

# Seconds between two sweeps.
INTERVAL = 3600.0


class Sweeper:
    """A thread that sweeps at the start and every hour.

    Args:
        tasks: the store from which tasks are deleted ``days`` after their end.
        blobs: the store from which expired images and unlisted contents are deleted.
        days: the time to live of tasks.
    """

    def __init__(self, tasks: TaskStore, blobs: BlobStore, days: int) -> None:
        self._tasks = tasks
        self._blobs = blobs
        self._days = days
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="sweeper", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Stop after the current sweep.

        Args:
            timeout: seconds to wait for the thread.
        """
        self._stopping.set()
        self._thread.join(timeout)

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                tasks = self._tasks.delete_ended(time.time() - self._days * SECONDS_OF_A_DAY)
                files = self._blobs.sweep()
            except Exception:
                # A full disk, for example; the next sweep tries again.
                log.exception("Sweeping failed")
            else:
                if tasks or files:
                    log.info("Deleted %d expired tasks and %d expired files", tasks, files)
            self._stopping.wait(INTERVAL)
