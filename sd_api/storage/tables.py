"""The tables of the database. A change here needs a step in ``migrations/versions``; a test compares the two."""

from sqlalchemy import (
    JSON,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

# Constraints have names, so that a migration can drop them.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

users = Table(
    "users",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("password_hash", Text, nullable=False),
    # See ``storage.names``. Not unique, because earlier versions took names that differ in case only.
    Column("folded", Text, nullable=False, server_default=""),
    Index(None, "folded"),
)

tasks = Table(
    "tasks",
    metadata,
    # The order in which tasks were accepted; two may have the same time.
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("id", String(32), nullable=False, unique=True),
    Column("owner", Text, nullable=False),
    Column("parameters", JSON, nullable=False),
    Column("state", String(16), nullable=False),
    Column("created", Float, nullable=False),
    Column("ended", Float),
    # See ``owners.client_of``.
    Column("client", Text, nullable=False, server_default=""),
    Index(None, "state", "client"),
    Index(None, "owner", "number"),
    Index(None, "state", "number"),
    sqlite_autoincrement=True,
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("task_id", String(32), ForeignKey("tasks.id", ondelete="CASCADE"), nullable=False),
    Column("owner", Text, nullable=False),
    Column("content", JSON, nullable=False),
    Index(None, "owner", "id"),
    Index(None, "task_id", "id"),
    # The id of a deleted event is not used again, because clients ask for the events after an id that they know.
    sqlite_autoincrement=True,
)

blobs = Table(
    "blobs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("owner", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size", Integer, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("created", Float, nullable=False),
    Column("expires", Float, nullable=False),
    # See ``owners.client_of``. The index has all that sizes are summed up by.
    Column("client", Text, nullable=False, server_default=""),
    Index(None, "client", "expires", "size"),
    Index(None, "owner"),
    Index(None, "sha256"),
    Index(None, "expires"),
)
