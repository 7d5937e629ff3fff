"""All that are dead, sent again: some in each transaction, so that no payment waits for more than that."""

import time
from collections.abc import Iterator

from sqlalchemy import ColumnElement, Connection, and_, func, select

from payment.core.cause import Cause
from payment.core.neighbours import NEIGHBOURS
from payment.core.states import Outcome, State
from payment.ledger.outbox import HAS_FAILED, NOT_DELIVERED, send_again
from payment.storage.base import Database
from payment.storage.literals import written
from payment.storage.tables import notifications

_row = notifications.c

AT_ONCE_MAX = 1000
"""The most that are sent again in one transaction."""


class Resending:
    """Sends what is dead again, each once: what dies again meanwhile, or only now, is left for the next time.

    Args:
        cause: who wants it.
        service: only those of the neighbour with this name.
        failed_by: only those whose last attempt failed by this.
    """

    def __init__(self, cause: Cause, *, service: str | None = None, failed_by: Outcome | None = None) -> None:
        self._cause = cause
        self._failed_by = failed_by
        self._services = [service] if service else list(NEIGHBOURS)  # those that are not done
        self._after_id = 0  # of the first of them, so far is done
        self._last_id: int | None = None  # and this was its newest dead one at the beginning

    def send_some(self, connection: Connection, now_us: int) -> int:
        """Send some again; return how many: 0 once there are no more.

        Args:
            connection: a transaction that may write.
            now_us: the time, microseconds since the epoch.
        """
        while self._services:
            which = is_dead(self._services[0], self._failed_by)
            if self._last_id is None:
                newest = select(func.max(_row.id)).where(which)
                self._last_id = connection.execute(newest).scalar_one() or 0
            within = _row.id > self._after_id, _row.id <= self._last_id
            some = select(_row.id).where(which, *within).order_by(_row.id).limit(AT_ONCE_MAX)
            # one that somebody else is sending again is waited for, and is then no longer dead
            if ids := connection.execute(some.with_for_update()).scalars().all():
                self._after_id = ids[-1]
                return len(send_again(connection, now_us, self._cause, ids))
            del self._services[0]
            self._after_id, self._last_id = 0, None
        return 0


def is_dead(service: str, failed_by: Outcome | None) -> ColumnElement[bool]:
    """Say which of a neighbour's notifications are dead, as one range of an index."""
    dead = and_(_row.service == service, _row.state == written(State.DEAD))
    if failed_by is None:
        return and_(NOT_DELIVERED, dead)
    return and_(HAS_FAILED, _row.last_outcome == written(failed_by), dead)


def count_dead(connection: Connection, *, service: str | None, failed_by: Outcome | None) -> int:
    """Return how many are dead: of all neighbours or of this one, and by this cause if one is said."""
    services = [service] if service else list(NEIGHBOURS)
    counts = (select(func.count()).where(is_dead(each, failed_by)) for each in services)
    return sum(connection.execute(count).scalar_one() for count in counts)


def send_all_again(database: Database, resending: Resending) -> Iterator[int]:
    """Send all again; yield how many each transaction did. After each is a pause as long, for payments."""
    while True:
        began_s = time.monotonic()
        with database.write() as connection:
            sent = resending.send_some(connection, time.time_ns() // 1000)
        if not sent:
            return
        yield sent
        time.sleep(time.monotonic() - began_s)
