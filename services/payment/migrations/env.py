"""How Alembic reaches the database: over the connection that the service gives it."""

from alembic import context
from sqlalchemy import Connection

from payment.core.settings import read_settings
from payment.storage.opening import open_database
from payment.storage.tables import metadata


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        transactional_ddl=True,  # SQLite can, since we say BEGIN ourselves
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:  # the alembic command, for a developer
    with open_database(read_settings().database_url).migrating() as opened:
        migrate(opened)
