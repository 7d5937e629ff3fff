"""The schema's migrations: which one is the newest, which one a database is at, and how it gets there."""

from pathlib import Path

import psycopg
from sqlalchemy import Connection, text
from sqlalchemy.exc import DatabaseError, DBAPIError

from payment.storage.errors import can_be_repeated
from payment.storage.ownership import is_revision

MIGRATIONS = Path(__file__).parent / "migrations"
SCHEMA_REVISION = "0011"
"""The newest migration. A test holds it against `migrations/`, so that a start need not load Alembic."""

MIGRATION_TRIES = 5


class OldSchemaError(Exception):
    """The schema is older than the one that this version works with."""

    def __init__(self, revision: str | None) -> None:
        super().__init__(f"{revision or 'empty'}, not {SCHEMA_REVISION}")


def schema_revision(connection: Connection) -> str | None:
    """Return the migration that the database is at, None if it is empty."""
    try:
        row = connection.execute(text("SELECT version_num FROM alembic_version")).first()
    except DatabaseError as error:
        if isinstance(error.orig, psycopg.errors.UndefinedTable) or "no such table" in str(error.orig):
            return None
        raise
    return row[0] if row else None


def is_current(revision: str | None) -> bool:
    """Say whether this version works with a schema at `revision`: its own, or a newer one.

    A newer version migrates while this one runs, and may have to restart, beside it (docs/operations.md).
    """
    return revision is not None and is_revision(revision) and revision >= SCHEMA_REVISION


def upgrade(connection: Connection) -> None:
    """Bring the schema to the newest migration.

    Args:
        connection: see `Database.migrating`.
    """
    from alembic import command  # noqa: PLC0415  # 150 ms that a start seldom needs
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    for tries_left in reversed(range(MIGRATION_TRIES)):
        try:
            command.upgrade(config, "head")
            break
        except DBAPIError as error:  # what runs beside it locks the same tables in another order
            if not (can_be_repeated(error) and tries_left):
                raise
