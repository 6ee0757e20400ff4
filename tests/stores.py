"""The stores of both ways to keep things, made small."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from redis_server import RedisServer

from sd_api.cluster.connection import connect
from sd_api.settings import Limits
from sd_api.storage.blobs import SqlBlobs
from sd_api.storage.cluster.blobs import RedisBlobs
from sd_api.storage.cluster.contents import IN_REDIS, open_contents
from sd_api.storage.cluster.tasks import RedisTasks
from sd_api.storage.cluster.users import RedisUsers
from sd_api.storage.database import Database
from sd_api.storage.files import ContentFiles
from sd_api.storage.protocols import BlobStore, TaskStore, UserStore
from sd_api.storage.tasks import SqlTasks
from sd_api.storage.users import SqlUsers
from sd_api.tasks.announcements import Announcements, LocalAnnouncements
from sd_api.tasks.cluster.announcements import RedisAnnouncements
from sd_api.tasks.cluster.turns import RedisTurns
from sd_api.tasks.turns import LocalTurns, TaskTurns


@dataclass(frozen=True)
class Stores:
    """What one process keeps things with.

    Attributes:
        make_turns: makes turns with so many tasks ahead.
    """

    users: UserStore
    tasks: TaskStore
    blobs: BlobStore
    announcements: Announcements
    make_turns: Callable[[int], TaskTurns]


@contextmanager
def sql_stores(folder: Path, limits: Limits) -> Iterator[Stores]:
    """Those of the one-process server, in a folder."""
    with closing(Database(folder / "server.sqlite")) as database:
        tasks = SqlTasks(database)
        yield Stores(
            SqlUsers(database),
            tasks,
            SqlBlobs(database, ContentFiles(folder / "blobs"), limits),
            LocalAnnouncements(),
            lambda ahead: LocalTurns(tasks.alive, ahead),
        )


@contextmanager
def redis_stores(server: RedisServer, limits: Limits, blobs: str = IN_REDIS) -> Iterator[Stores]:
    """Those of one API process of many; each call is another process."""
    with ExitStack() as stack:
        client = stack.enter_context(connect(server.cluster))
        subscriber = stack.enter_context(connect(server.cluster, attempts=0))
        tasks = RedisTasks(client)
        announcements = RedisAnnouncements(client, subscriber, tasks)
        announcements.start()
        stack.callback(announcements.stop, 10)
        yield Stores(
            RedisUsers(client),
            tasks,
            RedisBlobs(client, open_contents(blobs, client), limits),
            announcements,
            lambda ahead: RedisTurns(client, ahead),
        )
