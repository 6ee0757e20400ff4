"""The SQLite database: its transactions, and the migration of its schema."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from sd_api.errors import ConfigurationError, DiskFull
from sd_api.storage.disk import Reserve, disk_full

# Milliseconds that a transaction waits for the end of another one.
BUSY_TIMEOUT = 30_000

_WRITING = "sd_api_writing"

# What SQLite makes of a disk that is full (its own word for it is one of them), read-only or broken.
_DISK_FAULTS = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)

Answer = TypeVar("Answer")


class Database:
    """A database file that several threads share, and that only its owner can read.

    Args:
        path: the file; it is created if it does not exist, and migrated if an older version has written it.

    Attributes:
        reserve: the room that deletions have on a full disk; additions of files beside the database respect it.

    Raises:
        ConfigurationError: the file is no database, cannot be written, or has been written by a newer version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine = _make_engine(path)
        try:
            # SQLite gives its other files the rights of this one.
            path.touch(mode=0o600)
            self.reserve = Reserve(path.with_name("reserve"))
            self.deleting(self._migrate)
            # Without room for the reserve, the server starts all the same: images can be read and deleted.
            with suppress(DiskFull), self.reserve.adding():
                pass
        except CommandError as error:
            self.close()
            raise ConfigurationError(
                [f"data: {path} was written by a newer version of this server ({error}); use that, or another folder"]
            ) from None
        except DiskFull:
            self.close()
            raise ConfigurationError([f"data: {path} cannot be used: the disk is full or cannot be written"]) from None
        except DBAPIError as error:
            self.close()
            raise ConfigurationError([f"data: {path} cannot be used: {error.orig}"]) from None
        except OSError as error:
            self.close()
            raise ConfigurationError([f"data: {path} cannot be used: {error.strerror}"]) from None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A read transaction: it sees one state of the database and does not wait for others.

        Raises:
            DiskFull: SQLite's own files cannot be written.
        """
        with _translate_errors(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A write transaction: it is on the disk once the block has ended, and rolled back if the block raises.

        Raises:
            DiskFull: the disk is full or cannot be written.
        """
        with self.reserve.adding(), self._transaction() as connection:
            yield connection

    def deleting(self, change: Callable[[Connection], Answer]) -> Answer:
        """Make a change that frees room, or hardly takes any, in a write transaction.

        Where the disk is full, ``change`` is called again with the room of the reserve.

        Raises:
            DiskFull: the disk cannot be written, or others have taken that room.
        """
        try:
            with self._transaction() as connection:
                return change(connection)
        except DiskFull:
            self.reserve.give_up()
        with self._transaction() as connection:
            return change(connection)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        options = {_WRITING: True}
        with (
            _translate_errors(),
            self._engine.connect().execution_options(**options) as connection,
            connection.begin(),
        ):
            yield connection

    def _migrate(self, connection: Connection) -> None:
        config = Config()
        # "%" would begin an interpolation.
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        # Extended codes have the kind of the fault in their last byte.
        if getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _DISK_FAULTS:
            raise disk_full(error.orig or error) from None
        raise


def _make_engine(path: Path) -> Engine:
    # Not as text, in which "?" and "%" have a meaning.
    engine = create_engine(URL.create("sqlite", database=str(path)))

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: object) -> None:
        # Transactions are begun below, not by the driver: its transactions begin with a read, and cannot write
        # afterwards if another transaction has written in between.
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
        connection.execute("PRAGMA journal_mode = WAL")
        # NORMAL survives a crash of the process, but a power failure could lose tasks whose ids
        # clients have. There are a few commits for each picture, so the cost is small.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        # Not in the system's folder for temporary files, which may be full.
        connection.execute("PRAGMA temp_store = MEMORY")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writing = connection.get_execution_options().get(_WRITING)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine
