"""Builds the services from the settings: the only place that chooses implementations."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from sd_api.accounts.accounts import Accounts
from sd_api.accounts.attempts import Attempts
from sd_api.accounts.tokens import Tokens
from sd_api.allocator import keep_freed_memory
from sd_api.errors import ConfigurationError
from sd_api.generation.engine import Engine, EngineStatus
from sd_api.jobs.failures import RecentFailures
from sd_api.jobs.job import Listener
from sd_api.jobs.local import LocalQueue
from sd_api.jobs.metrics import JobMetrics, build_registry
from sd_api.jobs.queue import JobQueue
from sd_api.jobs.results_cache import MemoryResultsCache, ResultsCache
from sd_api.jobs.terminal import TerminalProgress
from sd_api.models.catalog import ModelCatalog
from sd_api.models.downloads import ModelDownloads
from sd_api.models.libraries import import_libraries
from sd_api.models.pulling import pull
from sd_api.models.sources import parse_source
from sd_api.settings import Cluster, Settings
from sd_api.storage.images import SECONDS_OF_A_DAY
from sd_api.storage.protocols import BlobStore
from sd_api.storage.sweeper import Sweeper
from sd_api.stores import Stores, open_stores
from sd_api.tasks.dispatcher import TaskDispatcher
from sd_api.tasks.events import EventSource
from sd_api.tasks.journal import Journal
from sd_api.tasks.previews import Previews
from sd_api.tasks.requests import RequestMaker
from sd_api.tasks.service import TaskService
from sd_api.web.refused_callers import RefusedCallers

if TYPE_CHECKING:
    from sd_api.jobs.cluster.worker import ClusterWorker

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Services:
    """The services that the dialects call, and those that work in the background."""

    queue: JobQueue
    results: ResultsCache
    downloads: ModelDownloads
    failures: RecentFailures
    refused: RefusedCallers
    metrics: CollectorRegistry
    accounts: Accounts
    blobs: BlobStore
    tasks: TaskService
    events: EventSource
    previews: Previews
    dispatcher: TaskDispatcher
    sweeper: Sweeper
    stores: Stores

    def start(self) -> None:
        """Start all threads: the model is loaded, and unfinished tasks are recovered."""
        self.queue.start()
        self.stores.start()
        self.dispatcher.start()
        self.sweeper.start()

    def stop(self, timeout: float) -> bool:
        """Stop all threads; the next start recovers unfinished tasks.

        Args:
            timeout: seconds to wait for each thread.

        Returns:
            Whether the job queue's thread has ended.
        """
        ended = self.queue.stop(timeout)
        self.downloads.stop(timeout)
        self.dispatcher.stop(timeout)
        self.sweeper.stop(timeout)
        self.stores.close()
        return ended


def build_services(settings: Settings, make_engine: Callable[[], Engine] | None = None) -> Services:
    """Make the services, without starting them.

    Args:
        settings: the configuration.
        make_engine: makes the engine in place of ``build_engine``; called on the engine's own thread.

    Raises:
        ConfigurationError: the data folder or Redis cannot be used.
    """
    failures = RecentFailures()
    names: dict[str | None, str] = {None: parse_source(settings.model).label}
    names |= {model.url_path: model.ui_label for model in settings.custom_models}
    measured = JobMetrics(names)
    queue, results = _build_queue(settings, (failures, measured), make_engine)
    stores = open_stores(settings)
    tasks, blobs, event_bus = stores.tasks, stores.blobs, stores.event_bus
    journal = Journal(tasks, event_bus)
    requests = RequestMaker(ModelCatalog(settings), blobs, settings.limits)
    dispatcher = TaskDispatcher(
        queue,
        tasks,
        blobs,
        journal,
        event_bus,
        requests,
        stores.task_queue,
        interrupted=settings.interrupted_tasks,
    )
    return Services(
        queue=queue,
        results=results,
        downloads=_build_downloads(settings),
        failures=failures,
        refused=RefusedCallers(settings),
        metrics=build_registry(queue, measured, names),
        accounts=_build_accounts(settings, stores),
        blobs=blobs,
        tasks=TaskService(queue, tasks, blobs, journal, requests, dispatcher),
        events=EventSource(tasks, event_bus),
        previews=Previews(queue),
        dispatcher=dispatcher,
        sweeper=Sweeper(tasks, blobs, settings.limits.max_days_kept),
        stores=stores,
    )


def _build_downloads(settings: Settings) -> ModelDownloads:
    # In a cluster, the workers have the models.
    return ModelDownloads((lambda source, note: pull(source, settings, note)) if settings.cluster is None else None)


def _build_queue(
    settings: Settings, listeners: tuple[Listener, ...], make_engine: Callable[[], Engine] | None
) -> tuple[JobQueue, ResultsCache]:
    label = parse_source(settings.model).label
    loading = EngineStatus("loading", label)
    if settings.cluster is not None:
        require_cluster(settings.cluster)
        # Imported here, because a single process needs no Redis.
        from sd_api.jobs.cluster.queue import ClusterQueue

        queue = ClusterQueue(settings.cluster, loading, settings.limits, listeners)
        return queue, queue
    local = LocalQueue(
        make_engine=make_engine or (lambda: build_engine(settings)),
        loading=loading,
        limits=settings.limits,
        listeners=(TerminalProgress(label), *listeners),
    )
    return local, MemoryResultsCache()


def build_worker(
    settings: Settings, cluster: Cluster, make_engine: Callable[[], Engine] | None = None
) -> "ClusterWorker":
    """Make a worker, without starting it.

    Args:
        settings: the configuration.
        cluster: the cluster settings in it.
        make_engine: makes the engine in place of ``build_engine``; called on the engine's own thread.

    Raises:
        ConfigurationError: the libraries of a cluster are not installed, or Redis cannot be used.
    """
    require_cluster(cluster)
    from sd_api.jobs.cluster.worker import ClusterWorker

    label = parse_source(settings.model).label
    return ClusterWorker(
        cluster,
        make_engine=make_engine or (lambda: build_engine(settings)),
        loading=EngineStatus("loading", label),
        limits=settings.limits,
        listeners=(TerminalProgress(label),),
    )


def require_cluster(cluster: Cluster) -> None:
    """Check that the libraries of a cluster are installed and that Redis answers.

    Raises:
        ConfigurationError: the libraries of a cluster are not installed, or Redis cannot be used.
    """
    missing = [name for name in ("redis", "dramatiq") if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            [f'cluster: {" and ".join(missing)} must be installed for it: pip install "sd-api-server[cluster]"']
        )
    from sd_api.cluster.connection import check_redis

    check_redis(cluster)


def _build_accounts(settings: Settings, stores: Stores) -> Accounts:
    tokens = Tokens(stores.secret, settings.limits.max_days_kept * SECONDS_OF_A_DAY)
    attempts = Attempts(stores.attempts)
    return Accounts(stores.users, tokens, attempts, signup=settings.enable_signup, public=settings.enable_public_token)


def build_engine(settings: Settings) -> Engine:
    """Make the engine on the device of the settings, without loading its model.

    Raises:
        ConfigurationError: this machine has no such device.
    """
    import_libraries()
    # Imported here, because importing torch takes seconds, and the port should be open by then.
    from sd_api.engine.engine import DiffusersEngine
    from sd_api.models.backends.compiled import keep_compiled_code
    from sd_api.models.device import choose_device
    from sd_api.models.library import ModelLibrary

    device = choose_device(settings.device, settings.dtype)
    if device.device.type == "cpu":
        keep_freed_memory()
    if settings.compile:
        keep_compiled_code()
    log.info("Device: %s, %s", device.device, device.device_reason)
    log.info("Precision: %s, %s", device.dtype, device.dtype_reason)
    return DiffusersEngine(ModelLibrary(settings, device), device, parse_source(settings.model).label)
