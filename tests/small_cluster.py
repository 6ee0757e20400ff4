"""A cluster in one process: the queue of an API process, and a worker, which meet in a real Redis alone."""

import time
from collections.abc import Callable

from sd_api.generation.engine import Engine, EngineStatus
from sd_api.jobs.cluster.queue import ClusterQueue
from sd_api.jobs.cluster.worker import ClusterWorker
from sd_api.settings import Cluster, Limits


class SmallCluster(ClusterQueue):
    """A queue that brings its worker."""

    def __init__(
        self, cluster: Cluster, make_engine: Callable[[], Engine], loading: EngineStatus, limits: Limits
    ) -> None:
        super().__init__(cluster, loading, limits)
        self._worker = ClusterWorker(cluster, make_engine, loading, limits)

    def start(self) -> None:
        """Returns once the worker is known."""
        super().start()
        self._worker.start()
        deadline = time.monotonic() + 20
        while not self.workers():
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def stop(self, timeout: float) -> bool:
        """The jobs end first, so that the worker does not give them back."""
        stopped = super().stop(timeout)
        return self._worker.stop(timeout) and stopped
