"""What a database does for us. `sqlite` and `postgres` say how each of the two keeps its word.

`write()` is one transaction that may write, `read()` one that only reads; `run_write` and `run_read` are the
same for the event loop. All give a SQLAlchemy Core connection. A batch has a transaction of its own kind.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.engine import URL

from payment.storage.batch import BatchTransaction, ThreadBatch
from payment.storage.copy_side import Side
from payment.storage.migrate import is_current, schema_revision, upgrade
from payment.storage.moves import refuse_moved

Result = TypeVar("Result")


class Database(ABC):
    """One database, with its connections."""

    migrates_itself: bool
    """True if a start brings the schema up to date; else it refuses an old one."""

    _batch: type[BatchTransaction] = ThreadBatch
    """What books a batch in a thread."""

    def __init__(self, url: URL) -> None:
        self.url = url

    @abstractmethod
    def write(self) -> AbstractContextManager[Connection]:
        """Open a transaction that may write; committed at the end, rolled back on an error."""

    @abstractmethod
    def read(self) -> AbstractContextManager[Connection]:
        """Open a transaction that only reads."""

    @contextmanager
    def batch(self) -> Iterator[BatchTransaction]:
        """Open a transaction that books a batch, for a thread; `run_batch` is for the event loop."""
        with self.write() as connection:
            yield self._batch(connection)
            connection.rollback()  # does nothing if it was committed

    @abstractmethod
    def migrating(self) -> AbstractContextManager[Connection]:
        """Give the connection on which the schema may be changed; one at a time, the others wait."""

    @abstractmethod
    def copying(self) -> AbstractContextManager[Side]:
        """Give this database as one side of a copy; one at a time, the others wait.

        Raises:
            Migrating: another process migrates or copies, and takes long.
        """

    @abstractmethod
    async def run_write(self, work: Callable[[Connection], Result]) -> Result:
        """Run `work` in a transaction that may write, off the event loop."""

    @abstractmethod
    async def run_batch(self, work: Callable[[BatchTransaction], Result]) -> Result:
        """Run `work` in a transaction that books a batch; made for many, one at a time."""

    @abstractmethod
    async def run_read(self, work: Callable[[Connection], Result], *, is_short: bool = False) -> Result:
        """Run `work`, which only reads, off the event loop; short reads do not wait for long ones."""

    @abstractmethod
    def announce(self) -> None:
        """Tell the workers of other processes that something was booked, soon; called on the event loop.

        It may get lost: workers look now and then.
        """

    @abstractmethod
    def listen(self, heard: Callable[[], None], stop: threading.Event) -> None:
        """Call `heard` whenever another process has booked something, until `stop`; returns at once."""

    @abstractmethod
    def why_read_only(self, connection: Connection) -> str | None:
        """Return why nothing can be written, None if something can."""

    @abstractmethod
    def refuse_foreign(self) -> None:
        """Refuse a database that belongs to another program, or that cannot keep what we would write.

        Raises:
            ForeignDatabase: it does.
            UnfitDatabase: it cannot.
        """

    @abstractmethod
    def close(self) -> None:
        """Close every connection that `write` and `read` opened."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close every connection, those of the event loop too."""

    def refuse_moved(self) -> None:
        """Refuse a database whose payments are in another one, or are not all there yet.

        Raises:
            NotServed: it is one.
        """
        with self.read() as connection:
            refuse_moved(connection)

    def schema_revision(self) -> str | None:
        """Return the migration that the database is at, None if it is empty."""
        with self.read() as connection:
            return schema_revision(connection)

    def migrate(self) -> bool:
        """Bring the schema to the newest migration, safely beside another process that does the same.

        Returns:
            True if there was something to do.

        Raises:
            ForeignDatabase: it belongs to another program.
            Migrating: another process migrates, and takes long.
            NotServed: its payments are in another one, or not all there.
        """
        self.refuse_foreign()
        self.refuse_moved()
        if is_current(self.schema_revision()):
            return False
        with self.migrating() as connection:
            upgrade(connection)
        return True
