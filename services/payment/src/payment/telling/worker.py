"""The worker: one lane for each neighbour, and what expires."""

import threading
import time
from collections.abc import Callable, Sequence

from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from payment.core.logs import facts_of, get_logger
from payment.core.neighbours import NEIGHBOURS
from payment.core.settings import Settings
from payment.core.states import Status
from payment.core.units import SECOND_US
from payment.ledger.booking import Settling
from payment.ledger.idempotency import Answer
from payment.ledger.ledger import Undecided, book, find_expired
from payment.storage.database import Database
from payment.telling.downstream import client_of
from payment.telling.lane import STOP_WITHIN_S, Lane

EXPIRY_BATCH_MAX = 64
EXPIRY_PAUSE_MAX_S = 30.0


class Expirer:
    """Lets payments fail that nobody settled in time, a few at a time.

    Args:
        database: where they are.
        settings: after how long.
        stopping: ends it when set.
        expired: called when some did, as others have to hear of it.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        stopping: threading.Event,
        expired: Callable[[], None],
    ) -> None:
        self._database = database
        self._expires_us = round(settings.pending_expires_s * SECOND_US)
        self._pause_s = min(
            EXPIRY_PAUSE_MAX_S, max(settings.poll_interval_s, settings.pending_expires_s / 10)
        )
        self._stopping = stopping
        self._expired = expired
        self._refused: set[int] = set()
        self._log = get_logger()
        self._thread = threading.Thread(target=self._run, name="expirer", daemon=True)

    def start(self) -> None:
        """Start looking."""
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait until what has begun is committed."""
        self._thread.join(timeout_s)

    def run_once(self, now_us: int) -> bool:
        """Let one batch fail; return whether there may be more."""
        with self._database.read() as connection:
            too_old = find_expired(
                connection, now_us - self._expires_us, limit=EXPIRY_BATCH_MAX, but=self._refused
            )
        if too_old:
            try:
                self._fail(too_old, now_us)
            except (IntegrityError, Undecided):  # one that cannot be changed must not keep the others
                for payment_id in too_old:
                    self._fail_alone(payment_id, now_us)
            self._expired()
        return len(too_old) == EXPIRY_BATCH_MAX

    def _fail(self, payment_ids: Sequence[int], now_us: int) -> None:
        requests = [Settling(payment_id, Status.FAILED) for payment_id in payment_ids]
        with self._database.write() as connection:
            outcomes = book(connection, requests, now_us)
        expired = sum(isinstance(outcome, Answer) for outcome in outcomes)  # not what was settled meanwhile
        self._log.info("pending payments expired", count=expired)

    def _fail_alone(self, payment_id: int, now_us: int) -> None:
        try:
            self._fail([payment_id], now_us)
        except (IntegrityError, Undecided) as error:
            self._refused.add(payment_id)
            self._log.error("a payment cannot expire", payment=payment_id, **facts_of(error))

    def _run(self) -> None:
        while not self._stopping.is_set():
            has_more = False
            try:
                has_more = self.run_once(_now_us())
            except SQLAlchemyError as error:  # another worker may have been at the same ones
                self._log.warning("nothing expires", **facts_of(error))
            except Exception:  # noqa: BLE001  # logged; a defect must not end the thread
                self._log.exception("expiry failed unexpectedly")
            if not has_more:
                self._stopping.wait(self._pause_s)


class Worker:
    """The lanes of all neighbours, and what expires."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._stopping = threading.Event()
        self._stop_by_s: float | None = None
        self._lanes = [
            Lane(neighbour, client_of(neighbour, settings), database, settings)
            for neighbour in NEIGHBOURS.values()
        ]
        self._expirer = Expirer(database, settings, self._stopping, expired=self.wake)

    def start(self) -> None:
        """Start telling."""
        for lane in self._lanes:
            lane.start()
        self._expirer.start()
        self._database.listen(self.wake, self._stopping)

    def wake(self) -> None:
        """Something was booked: look for news now."""
        for lane in self._lanes:
            lane.wake()

    def begin_stop(self) -> None:
        """Take nothing new."""
        self._stop_by_s = self._stop_by_s or time.monotonic() + STOP_WITHIN_S
        self._stopping.set()
        for lane in self._lanes:
            lane.stop()

    def stop(self) -> None:
        """Finish what is in flight, give the rest back; returns within STOP_WITHIN_S of `begin_stop`."""
        self.begin_stop()
        assert self._stop_by_s is not None
        for lane in self._lanes:
            lane.join(max(0.0, self._stop_by_s - time.monotonic()))
        self._expirer.join(max(0.0, self._stop_by_s - time.monotonic()))


def _now_us() -> int:
    return time.time_ns() // 1000
