"""What goes wrong with a database, and whether it can be tried again."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import Connection
from sqlalchemy.exc import DataError, DBAPIError, SQLAlchemyError

from payment.storage.postgres_session import AsyncSession, NoAnswer


class StandbyAway(SQLAlchemyError):
    """A commit still waits for the synchronous standby, so another one would wait behind it."""


class Migrating(SQLAlchemyError):
    """Another process migrates, and takes long."""


MOVED_TO = "Pembayaran sudah pindah / the payments have moved to"
NOT_WHOLE = "Belum selesai disalin / not copied to the end from"


class NotServed(SQLAlchemyError):
    """The payments are in another database, or are still being copied into this one.

    Its text begins with MOVED_TO or NOT_WHOLE, also where a trigger says it (`moves`).
    """


class UnfitDatabase(SQLAlchemyError):
    """It cannot keep what we would write."""


class NotBegun(SQLAlchemyError):
    """The connection was gone before anything was written: it can be tried again on another."""


class ReadTooEarly(SQLAlchemyError):
    """What was read before anything was locked has changed; nothing was written."""


def can_be_repeated(error: BaseException) -> bool:
    """Say whether nothing was written, for a reason that is gone when it is tried again."""
    conflicts = psycopg.errors.SerializationFailure | psycopg.errors.DeadlockDetected
    return isinstance(error, NotBegun | ReadTooEarly) or isinstance(getattr(error, "orig", None), conflicts)


def refuses_data(error: BaseException) -> bool:
    """Say whether the database or its driver refuses what a row holds: nothing was written.

    An error of a constraint is none of these (IntegrityError).
    """
    of_postgres = psycopg.errors.ProgramLimitExceeded | psycopg.errors.RaiseException  # an index; a trigger
    return isinstance(error, DataError | UnicodeError | OverflowError) or isinstance(
        getattr(error, "orig", None), of_postgres
    )


def was_gone(error: DBAPIError) -> bool:
    """Say whether a connection had been lost, as all are when the server was restarted."""
    return error.connection_invalidated and not isinstance(error.orig, NoAnswer)


@contextmanager
def before_the_first_write() -> Iterator[None]:
    """Raise NotBegun if the connection is found to be gone: so far, nothing was written on it."""
    try:
        yield
    except DBAPIError as error:
        if was_gone(error):
            raise NotBegun from error
        raise


@contextmanager
def as_sqlalchemy_raises(
    connection: Connection, session: AsyncSession, said: tuple[str, Mapping[str, Any]]
) -> Iterator[None]:
    """Raise psycopg's errors as SQLAlchemy does, and drop the connection if it is gone.

    Args:
        connection: SQLAlchemy's.
        session: psycopg's, past which the statement goes to the database.
        said: the statement and its parameters.
    """
    try:
        yield
    except BaseException as error:  # a wait that was cancelled has closed it too
        is_gone = session.closed
        if is_gone:
            connection.invalidate(error)
        if not isinstance(error, psycopg.Error):
            raise
        raise DBAPIError.instance(
            *said, error, psycopg.Error, dialect=connection.dialect, connection_invalidated=is_gone
        ) from error
