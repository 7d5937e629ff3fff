"""Opening the database that a URL names."""

from contextlib import ExitStack

from sqlalchemy.engine import URL

from payment.storage.base import Database
from payment.storage.migrate import OldSchemaError, is_current
from payment.storage.postgres import Postgres
from payment.storage.sqlite import Sqlite


def open_database(url: URL, listen_url: URL | None = None) -> Database:
    """Return the database that the URL names; nothing is connected yet.

    Args:
        url: names it.
        listen_url: leads to the same PostgreSQL past its pooler.
    """
    return Sqlite(url) if url.get_backend_name() == "sqlite" else Postgres(url, listen_url)


def open_current(url: URL, listen_url: URL | None = None) -> Database:
    """Return the database that `open_database` does, its schema current, or newer: see `is_current`.

    Raises:
        OldSchemaError: it is older, and this database does not migrate itself.
        ForeignDatabase: it belongs to another program.
        NotServed: its payments are in another one, or not all there.
    """
    database = open_database(url, listen_url)
    with ExitStack() as failed:
        failed.callback(database.close)
        if database.migrates_itself:
            database.migrate()
        database.refuse_foreign()
        database.refuse_moved()
        if not is_current(revision := database.schema_revision()):
            raise OldSchemaError(revision)
        failed.pop_all()
    return database
