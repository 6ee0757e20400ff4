"""The SQLite database: its transactions, and the migration of its schema."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, OperationalError

from sd_api.errors import ConfigurationError, StoreUnavailable
from sd_api.storage.files import DISK_FULL

# Milliseconds that a transaction waits for the end of another one.
BUSY_TIMEOUT = 30_000

_WRITING = "sd_api_writing"


class Database:
    """A database file that several threads share.

    Args:
        path: the file; it is created if it does not exist, and migrated if an older version has written it.

    Raises:
        ConfigurationError: the file is no database, cannot be written, or has been written by a newer version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine = _make_engine(path)
        try:
            self._migrate()
        except CommandError as error:
            self.close()
            raise ConfigurationError(
                [f"data: {path} was written by a newer version of this server ({error}); use that, or another folder"]
            ) from None
        except StoreUnavailable:
            self.close()
            raise ConfigurationError([f"data: {path} cannot be used: the disk is full"]) from None
        except DBAPIError as error:
            self.close()
            raise ConfigurationError([f"data: {path} cannot be used: {error.orig}"]) from None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A read transaction: it sees one state of the database and does not wait for others."""
        with self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A write transaction: it is on the disk once the block has ended, and rolled back if the block raises.

        Raises:
            StoreUnavailable: the disk is full.
        """
        try:
            with self._engine.connect().execution_options(**{_WRITING: True}) as connection, connection.begin():
                yield connection
        except OperationalError as error:
            if "disk is full" in str(error.orig):
                raise StoreUnavailable(DISK_FULL) from None
            raise

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _migrate(self) -> None:
        config = Config()
        # "%" would begin an interpolation.
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        with self.writing() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _make_engine(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}")

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

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writing = connection.get_execution_options().get(_WRITING)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine
