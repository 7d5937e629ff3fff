"""Notifications as the API needs them: listed, sent again, and what each neighbour has not been told."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from sqlalchemy import Connection, RowMapping

from payment.core.cause import Cause
from payment.core.errors import NotificationNotFound, NotificationSettled
from payment.core.neighbours import NEIGHBOURS
from payment.core.states import Outcome, State
from payment.ledger import outbox
from payment.ledger.backlog import Backlog, find_backlog
from payment.ledger.feed import Read
from payment.ledger.lookups import check_payment
from payment.ledger.resending import Resending

Result = TypeVar("Result")


class Write(Protocol):
    """Runs what may write, a transaction off the event loop; raises `Unavailable` if the database is away."""

    async def __call__(self, work: Callable[[Connection], Result]) -> Result:
        """Run it."""
        ...


class Notifications:
    """What Order and User were told, or are to be. Every method runs on the event loop.

    Args:
        read: runs a query.
        write: runs what may write.
        sent_again: called after each commit that sent something again.
    """

    def __init__(self, read: Read, write: Write, *, sent_again: Callable[[], None]) -> None:
        self._read = read
        self._write = write
        self._sent_again = sent_again

    async def page(
        self,
        *,
        service: str | None,
        state: State | None,
        failed_by: Outcome | None,
        before_id: int | None,
        limit: int,
    ) -> Sequence[RowMapping]:
        """Return notifications, newest first; see `outbox.find_notifications`.

        Raises:
            Unavailable: the database does not answer.
        """
        return await self._read(
            lambda connection: outbox.find_notifications(
                connection,
                service=service,
                state=state,
                failed_by=failed_by,
                before_id=before_id,
                limit=limit,
            )
        )

    async def of_payment(self, payment_id: int) -> Sequence[RowMapping]:
        """Return what each neighbour was told of a payment, newest first.

        Raises:
            PaymentNotFound: there is no such payment.
            Unavailable: the database does not answer.
        """

        def find(connection: Connection) -> Sequence[RowMapping]:
            check_payment(connection, payment_id)
            return outbox.find_notifications(connection, payment_id=payment_id)

        return await self._read(find)

    async def send_again(self, notification_id: int, cause: Cause) -> RowMapping:
        """Send a notification again that is dead, or try one at once that waits.

        Raises:
            NotificationNotFound: there is none with this id.
            NotificationSettled: it is neither dead nor waiting.
            Unavailable: the database does not answer.
        """

        def send(connection: Connection) -> RowMapping:
            sent = outbox.send_again(connection, _now_us(), cause, [notification_id])
            row = outbox.find_notification(connection, notification_id)
            if row is None:
                raise NotificationNotFound
            if not sent:
                raise NotificationSettled(id=notification_id, state=row["state"])
            return row

        row = await self._write(send)
        self._sent_again()
        return row

    async def send_all_again(self, cause: Cause, *, service: str | None, failed_by: Outcome | None) -> int:
        """Send all again that are dead now, of one neighbour or of all; return how many.

        Args:
            cause: who wants it.
            service: only those of the neighbour with this name.
            failed_by: only those whose last attempt failed by this.

        Raises:
            Unavailable: the database does not answer; some may have been sent again.
        """
        resending, number = Resending(cause, service=service, failed_by=failed_by), 0
        while sent := await self._write(lambda connection: resending.send_some(connection, _now_us())):
            number += sent
            self._sent_again()
        return number

    async def backlogs(self) -> Sequence[Backlog]:
        """Return what each neighbour has not been told.

        Raises:
            Unavailable: the database does not answer.
        """
        return await self._read(
            lambda connection: [find_backlog(connection, service) for service in NEIGHBOURS]
        )


def _now_us() -> int:
    return time.time_ns() // 1000
