"""Payments that nobody settled in time: find them, and let them fail."""

import threading
import time
from collections.abc import Callable, Collection, Sequence

from sqlalchemy import Connection, select, union_all
from sqlalchemy.exc import SQLAlchemyError

from payment.core.cause import EXPIRY, Cause
from payment.core.logs import facts_of, get_logger
from payment.core.settings import Settings
from payment.core.states import Status
from payment.core.units import SECOND_US
from payment.ledger.batch import book, fails_alone
from payment.ledger.idempotency import BookedAnswer
from payment.ledger.requests import Settling
from payment.storage.base import Database
from payment.storage.literals import written
from payment.storage.tables import payments

BATCH_MAX = 64
"""The most payments that fail in one transaction."""

PAUSE_MAX_S = 2.0
"""The longest between two looks, each at one entry of an index: so long an order has no room for another
payment after the end of its provider's code."""


def find_expired(
    connection: Connection, now_us: int, waits_us: int, *, limit: int, but: Collection[int] = ()
) -> Sequence[int]:
    """Return the ids of payments that have waited too long to be settled, the longest overdue first.

    Args:
        connection: to read from.
        now_us: the time, microseconds since the epoch.
        waits_us: for how long those wait that do not say when they expire: a version before 0007 wrote them.
        limit: the most payments.
        but: ids to leave out.
    """
    row = payments.c
    waits = row.status == written(Status.PENDING), row.id.not_in(but)  # the first is the index's condition
    said = select(row.id, row.expires_us.label("due_us")).where(*waits, row.expires_us < now_us)
    unsaid = select(row.id, (row.created_us + waits_us).label("due_us")).where(
        *waits, row.expires_us.is_(None), row.created_us < now_us - waits_us
    )
    some = [each.order_by("due_us").limit(limit).subquery() for each in (said, unsaid)]
    either = union_all(*map(select, some)).subquery()
    return connection.execute(select(either.c.id).order_by(either.c.due_us).limit(limit)).scalars().all()


class Expirer:
    """Lets payments fail that nobody settled in time, a batch at a time, in a thread of its own.

    Args:
        database: where the payments are.
        settings: after how long they expire, and how often to look.
        stopping: ends the thread when it is set.
        expired: called in that thread when payments expired, because the neighbours have to hear of it.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        stopping: threading.Event,
        expired: Callable[[], None],
    ) -> None:
        self._database = database
        self._waits_us = round(settings.pending_expires_s * SECOND_US)
        self._pause_s = min(PAUSE_MAX_S, max(settings.poll_interval_s, settings.pending_expires_s / 10))
        self._stopping = stopping
        self._expired = expired
        self._refused: set[int] = set()  # payments that cannot be changed; only this thread touches it
        self._log = get_logger()
        self._thread = threading.Thread(target=self._run, name="expirer", daemon=True)

    def start(self) -> None:
        """Start looking."""
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait until what has begun is committed."""
        self._thread.join(timeout_s)

    def run_once(self, now_us: int) -> bool:
        """Let the oldest of them fail, one batch; return whether there may be more."""
        with self._database.read() as connection:
            too_old = find_expired(connection, now_us, self._waits_us, limit=BATCH_MAX, but=self._refused)
        if too_old:
            try:
                self._fail(too_old, now_us)
            except Exception as error:
                if not fails_alone(error):
                    raise
                for payment_id in too_old:  # one that cannot be changed must not stop the others
                    self._fail_alone(payment_id, now_us)
            self._expired()
        return len(too_old) == BATCH_MAX

    def _fail(self, payment_ids: Sequence[int], now_us: int) -> None:
        requests = [Settling(payment_id, Status.FAILED, cause=Cause(EXPIRY)) for payment_id in payment_ids]
        with self._database.batch() as transaction:
            results = book(transaction, requests, now_us)
        expired = sum(
            isinstance(result, BookedAnswer) for result in results
        )  # not what was settled meanwhile
        self._log.info("pending payments expired", count=expired)

    def _fail_alone(self, payment_id: int, now_us: int) -> None:
        try:
            self._fail([payment_id], now_us)
        except Exception as error:
            if not fails_alone(error):
                raise
            self._refused.add(payment_id)
            self._log.error("a payment cannot expire", payment=payment_id, **facts_of(error))

    def _run(self) -> None:
        while not self._stopping.is_set():
            has_more = False
            try:
                has_more = self.run_once(time.time_ns() // 1000)
            except SQLAlchemyError as error:  # another worker may have been at the same ones
                self._log.warning("nothing expires", **facts_of(error))
            except Exception:  # noqa: BLE001  # logged; a defect must not end the thread
                self._log.exception("expiry failed unexpectedly")
            if not has_more:
                self._stopping.wait(self._pause_s)
