"""The file, its transactions and its schema."""

import sqlite3
from contextlib import suppress
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sample_tasks import make_task, sample_event
from sqlalchemy import text

from sd_api.errors import ConfigurationError, DiskFull
from sd_api.settings import Limits
from sd_api.storage.database import Database
from sd_api.storage.tables import metadata
from sd_api.storage.tasks import SqlTasks

INSERT = "INSERT INTO users (id, name, password_hash) VALUES"


def test_the_migrations_make_what_the_tables_say(database: Database) -> None:
    with database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_what_is_written_is_there_after_opening_again(tmp_path: Path) -> None:
    path = tmp_path / """100% mine? #1&a=b 'x' "y" é%20.sqlite"""
    for _ in range(2):
        database = Database(path)
        with database.writing() as connection:
            connection.execute(
                text(
                    "INSERT INTO users (id, name, password_hash) VALUES (hex(randomblob(16)), hex(randomblob(16)), 'x')"
                )
            )
        database.close()
    with sqlite3.connect(path) as plain:
        assert plain.execute("SELECT count(*) FROM users").fetchone() == (2,)
        assert plain.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    plain.close()


def test_commits_wait_for_the_disk_and_references_are_kept(database: Database) -> None:
    with database.reading() as connection:
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1


def test_a_block_that_raises_has_not_happened(database: Database) -> None:
    with suppress(ZeroDivisionError), database.writing() as connection:
        connection.execute(text(f"{INSERT} ('1', 'a', 'x')"))
        raise ZeroDivisionError
    with database.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM users")).scalar() == 0


def test_a_full_disk_is_reported_and_costs_nothing(database: Database) -> None:
    def insert(name: str, size: int) -> None:
        with database.writing() as connection:
            # SQLite's own limit, which it reports as it does a full disk; for this connection alone.
            connection.execute(text(f"PRAGMA max_page_count = {pages}"))
            connection.execute(text(f"{INSERT} ('{name}', '{name}', hex(zeroblob({size})))"))

    with database.reading() as connection:
        pages = connection.execute(text("PRAGMA page_count")).scalar()
    with pytest.raises(DiskFull, match="is full"):
        insert("1", 1_000_000)
    insert("2", 10)
    with database.reading() as connection:
        assert connection.execute(text("SELECT id FROM users")).scalars().all() == ["2"]


def test_readers_do_not_wait_for_a_writer(database: Database) -> None:
    with database.writing() as writer:
        writer.execute(text(f"{INSERT} ('1', 'a', 'x')"))
        with database.reading() as reader:
            assert reader.execute(text("SELECT count(*) FROM users")).scalar() == 0


def test_a_newer_versions_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "server.sqlite"
    Database(path).close()
    with sqlite3.connect(path) as plain:
        plain.execute("UPDATE alembic_version SET version_num = '9999'")
    plain.close()
    with pytest.raises(ConfigurationError, match="was written by a newer version"):
        Database(path)


def test_what_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "server.sqlite"
    path.write_bytes(b"something else, and long enough to be looked at" * 100)
    with pytest.raises(ConfigurationError, match=r"data: .*server.sqlite cannot be used: file is not a database"):
        Database(path)


def test_what_has_not_ended_is_listed_in_the_order_in_which_it_came(database: Database) -> None:
    tasks = SqlTasks(database, Limits())
    for number in ("2", "1", "3"):
        tasks.add(make_task(number), sample_event("pending"))
    tasks.record(make_task("2"), "started", sample_event("started"))
    tasks.record(make_task("1"), "cancelled", sample_event("cancelled"))
    assert [(task.id, task.state) for task in tasks.unfinished()] == [("2", "started"), ("3", "pending")]
