"""Runs inside Alembic: migrate over the connection that `store.migrate` hands in, in its transaction."""

from alembic import context

from trimtab.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
