"""While PostgreSQL's synchronous standby is away, commits hang. Nothing more is written meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, text
from sqlalchemy.exc import DatabaseError

from payment.storage.errors import StandbyAway
from payment.storage.postgres_session import NoAnswer

HUNG_COMMIT = text("""
    SELECT 1 FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event = 'SyncRep'
        AND query_start < clock_timestamp() - interval '1 second'
    LIMIT 1
""")


class HungCommits:
    """Whether a commit of ours may hang.

    Attributes:
        _may_hang: a write had no answer, so its commit may still wait. Every thread that writes and the event
            loop set it, read it when they begin to write, and clear it when they find that no commit hangs.
    """

    def __init__(self) -> None:
        self._may_hang = False

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Remember it if a write has no answer."""
        try:
            yield
        except DatabaseError as error:
            self._may_hang = self._may_hang or isinstance(error.orig, NoAnswer)
            raise

    def refuse_behind_one(self, connection: Connection) -> None:
        """Refuse to write while a commit is known to hang: each more would hold a connection.

        Raises:
            StandbyAway: one does.
        """
        if self._may_hang:
            if connection.execute(HUNG_COMMIT).first():
                raise StandbyAway("a commit still waits for the synchronous standby")
            self._may_hang = False
