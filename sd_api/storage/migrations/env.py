"""Runs the steps in ``versions`` on the connection that ``Database`` provides."""

from alembic import context

from sd_api.storage.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)

with context.begin_transaction():
    context.run_migrations()
