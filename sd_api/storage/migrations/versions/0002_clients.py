"""The clients of tasks and images, by which limits count, and the folded names of users."""

import sqlalchemy as sa
from alembic import op

from sd_api.owners import client_of
from sd_api.storage.names import folded

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Bring the schema from the revision before to this one."""
    connection = op.get_bind()
    for name in ("tasks", "blobs"):
        op.add_column(name, sa.Column("client", sa.Text(), nullable=False, server_default=""))
        table = sa.table(name, sa.column("owner"), sa.column("client"))
        for (owner,) in connection.execute(sa.select(table.c.owner).distinct()).all():
            connection.execute(sa.update(table).where(table.c.owner == owner).values(client=client_of(owner)))
    op.create_index("ix_tasks_state_client", "tasks", ["state", "client"])
    op.create_index("ix_blobs_client_expires_size", "blobs", ["client", "expires", "size"])

    op.add_column("users", sa.Column("folded", sa.Text(), nullable=False, server_default=""))
    users = sa.table("users", sa.column("id"), sa.column("name"), sa.column("folded"))
    for user_id, name in connection.execute(sa.select(users.c.id, users.c.name)).all():
        connection.execute(sa.update(users).where(users.c.id == user_id).values(folded=folded(name)))
    # Not unique: earlier versions took names that differ in case only.
    op.create_index("ix_users_folded", "users", ["folded"])
