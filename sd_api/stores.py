"""What a process keeps things with: SQLite and files of its own, or a Redis that many processes share."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from limits.storage import MemoryStorage, Storage

from sd_api.accounts.tokens import make_secret
from sd_api.errors import ConfigurationError, StoreUnavailable
from sd_api.settings import Cluster, Limits, Settings
from sd_api.storage.blobs import SqlBlobs
from sd_api.storage.data_folder import DataFolder
from sd_api.storage.database import Database
from sd_api.storage.files import ContentFiles
from sd_api.storage.protocols import BlobStore, TaskStore, UserStore
from sd_api.storage.tasks import SqlTasks
from sd_api.storage.users import SqlUsers
from sd_api.tasks.event_bus import EventBus, LocalEventBus
from sd_api.tasks.task_queue import LocalTaskQueue, TaskQueue


@dataclass(frozen=True)
class Stores:
    """The stores that outlive a process, and what the processes over them share.

    Attributes:
        users: the users and their password hashes.
        tasks: the tasks and their events.
        blobs: the images.
        event_bus: publishes events.
        task_queue: the pending tasks.
        attempts: counts failed logins.
        secret: the key that signs tokens.
        start: begins to receive events.
        close: closes all connections and files.
    """

    users: UserStore
    tasks: TaskStore
    blobs: BlobStore
    event_bus: EventBus
    task_queue: TaskQueue
    attempts: Storage
    secret: str
    start: Callable[[], None]
    close: Callable[[], None]


def open_stores(settings: Settings) -> Stores:
    """Open what the settings ask for.

    Raises:
        ConfigurationError: it cannot be used.
    """
    if settings.cluster is None:
        return _open_local(settings)
    try:
        return _open_shared(settings, settings.cluster)
    except StoreUnavailable as error:
        raise ConfigurationError([f"cluster.redis_url: {error.message}"]) from None


def _open_local(settings: Settings) -> Stores:
    with ExitStack() as opened:
        folder = DataFolder(settings.data)
        opened.callback(folder.release)
        database = Database(folder.path / "server.sqlite")
        opened.callback(database.close)
        tasks = SqlTasks(database, settings.limits)
        return Stores(
            users=SqlUsers(database),
            tasks=tasks,
            blobs=SqlBlobs(database, ContentFiles(folder.path / "blobs"), settings.limits),
            event_bus=LocalEventBus(),
            task_queue=LocalTaskQueue(tasks.unfinished, _max_dispatched(settings.limits)),
            attempts=MemoryStorage(),
            secret=_configured_secret(settings) or folder.secret("secret_key", make_secret()),
            start=lambda: None,
            close=opened.pop_all().close,
        )


def _open_shared(settings: Settings, cluster: Cluster) -> Stores:
    # Imported here, because one process does without Redis.
    from limits.storage import RedisStorage

    from sd_api.cluster.connection import connect
    from sd_api.storage.cluster.blobs import RedisBlobs
    from sd_api.storage.cluster.contents import open_contents
    from sd_api.storage.cluster.tasks import RedisTasks
    from sd_api.storage.cluster.users import RedisUsers, shared_secret
    from sd_api.tasks.cluster.event_bus import RedisEventBus
    from sd_api.tasks.cluster.task_queue import RedisTaskQueue

    with ExitStack() as opened:
        client = opened.enter_context(connect(cluster, fails_fast=True))
        subscriber = opened.enter_context(connect(cluster, attempts=0))
        tasks = RedisTasks(client, settings.limits)
        event_bus = RedisEventBus(client, subscriber, tasks)
        opened.callback(event_bus.stop)
        attempts = RedisStorage(
            "redis://", connection_pool=client.connection_pool, key_prefix="sd:store:attempts", wrap_exceptions=True
        )
        return Stores(
            users=RedisUsers(client),
            tasks=tasks,
            blobs=RedisBlobs(client, open_contents(cluster.blobs, client), settings.limits),
            event_bus=event_bus,
            task_queue=RedisTaskQueue(client, _max_dispatched(settings.limits)),
            attempts=attempts,
            secret=_configured_secret(settings) or shared_secret(client, make_secret()),
            start=event_bus.start,
            close=opened.pop_all().close,
        )


def _configured_secret(settings: Settings) -> str | None:
    return None if settings.secret_key is None else settings.secret_key.get_secret_value()


def _max_dispatched(limits: Limits) -> int:
    """How many tasks may be in the job queue: enough for a batch, and not so many that other clients find it full."""
    return max(1, min(limits.max_queued_requests // 2, limits.max_queued_requests_per_client))
