"""One SQLite file, its transactions, and its schema brought up to date."""

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

# Milliseconds that a transaction waits for another one's end.
BUSY_TIMEOUT = 30_000

_WRITING = "sd_api_writing"


class Database:
    """A database file that several threads share.

    Args:
        path: the file; it is made if it is not there, and brought up to date if it is an older version's.

    Raises:
        ConfigurationError: it is no database, it cannot be written, or it is a newer version's.
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
        """A transaction that sees one state of the database and waits for nobody."""
        with self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is on the disk when the block has ended, or has not happened if it raises.

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
        # "%" begins an interpolation there.
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        with self.writing() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _make_engine(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}")

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: object) -> None:
        # Transactions are begun below, not by the driver, which would begin with a read and could then not
        # go on to write if another one had written in between.
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
        connection.execute("PRAGMA journal_mode = WAL")
        # NORMAL would survive the end of the process, but not that of the machine: what clients were promised
        # would be gone after a power failure. There are a few commits for each picture, so the price is small.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writing = connection.get_execution_options().get(_WRITING)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine
