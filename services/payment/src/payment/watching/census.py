"""The census: what the database knows of how things stand, for metrics. It reads few rows, however many."""

import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from sqlalchemy import ColumnElement, Subquery, Table, func, literal, select
from sqlalchemy.exc import SQLAlchemyError

from payment.core.logs import facts_of, get_logger
from payment.core.neighbours import NEIGHBOURS
from payment.core.states import State, Status
from payment.ledger import backlog
from payment.storage.base import Database
from payment.storage.event_order import events_behind
from payment.storage.literals import written
from payment.storage.migrate import is_current, schema_revision
from payment.storage.tables import late_money, payments

LOOKS_APART_S = 2.0
LOOK_MAX_S = 2.0
"""A database that takes longer than this cannot book either."""

GOOD_FOR_S = 90.0
"""What was seen longer ago is not shown: a look that took too long for one scrape is shown to the next."""

_log = get_logger()


@dataclass(frozen=True, slots=True)
class Census:
    """How things stood.

    Attributes:
        is_ready: payments could be booked. If not, nothing else is known.
        notifications: how many are in a state, by neighbour and state.
        oldest_undelivered_us: when the oldest that waits was made, by neighbour; None if none waits.
        pending: how many payments wait to be settled.
        oldest_pending_us: when the oldest of them was made.
        first_expires_us: when the first of them is to fail, or should have; None if none says.
        late: how many payments have late money that nobody has said of what became of it.
        oldest_late_us: when the first of it came.
        events_behind: how many events are written and not shown by the feed yet.
    """

    is_ready: bool
    notifications: Mapping[tuple[str, State], int]
    oldest_undelivered_us: Mapping[str, int | None]
    pending: int = 0
    oldest_pending_us: int | None = None
    first_expires_us: int | None = None
    late: int = 0
    oldest_late_us: int | None = None
    events_behind: int = 0


NOT_READY = Census(is_ready=False, notifications={}, oldest_undelivered_us={})


def take_census(database: Database) -> Census:
    """Return how things stand.

    Raises:
        SQLAlchemyError: the database does not answer.
    """
    with database.read() as connection:
        why_read_only = database.why_read_only(connection)  # first: a missing table ends the transaction
        if why_read_only or not is_current(schema_revision(connection)):
            return NOT_READY
        return Census(
            is_ready=True,
            notifications={
                (service, state): backlog.count_notifications(connection, service, state)
                for service in NEIGHBOURS
                for state in (State.WAITING, State.DEAD)
            },
            oldest_undelivered_us={
                service: backlog.oldest_waiting_us(connection, service) for service in NEIGHBOURS
            },
            pending=connection.execute(
                select(func.count()).select_from(_some(payments, *_IS_PENDING))
            ).scalar_one(),
            oldest_pending_us=connection.execute(
                select(func.min(payments.c.created_us)).where(*_IS_PENDING)
            ).scalar_one(),
            first_expires_us=connection.execute(
                select(func.min(payments.c.expires_us)).where(payments.c.status == written(Status.PENDING))
            ).scalar_one(),
            late=connection.execute(
                select(func.count()).select_from(_some(late_money, _IS_OPEN))
            ).scalar_one(),
            oldest_late_us=connection.execute(
                select(func.min(late_money.c.came_us)).where(_IS_OPEN)
            ).scalar_one(),
            events_behind=events_behind(connection),
        )


# as the partial index of `payments` says it
_IS_PENDING = (payments.c.status != written(Status.PAID), payments.c.status == written(Status.PENDING))

_IS_OPEN = late_money.c.resolution.is_(None)


def _some(table: Table, *conditions: ColumnElement[bool]) -> Subquery:
    """Return rows of a table, no more than are counted."""
    return select(literal(1)).select_from(table).where(*conditions).limit(backlog.COUNTED_MAX).subquery()


class CensusTaker:
    """Takes the census when somebody asks and the last one is old; whoever asks need not wait for it.

    Args:
        database: of which.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        # All under the lock: what was seen and when, and the look that is being taken, and since when.
        self._seen: Census | None = None
        self._seen_s = float("-inf")
        self._looking: Future[None] | None = None
        self._looking_s = 0.0

    def families(self) -> list[Metric]:
        """Return what is known as metrics."""
        now_s = time.monotonic()
        with self._lock:
            census = self._seen if now_s - self._seen_s <= GOOD_FOR_S else None
            if self._looking is not None and now_s - self._looking_s > LOOK_MAX_S:
                census = NOT_READY
        return [] if census is None else list(_families_of(census, time.time_ns() // 1000))

    def look(self) -> Future[None]:
        """Look at the database if that is due; what is returned is done once the census is fresh."""
        with self._lock:
            if self._looking is not None:
                return self._looking
            ended = Future[None]()
            now_s = time.monotonic()
            if now_s - self._seen_s < LOOKS_APART_S:
                ended.set_result(None)
                return ended
            self._looking, self._looking_s = ended, now_s
        threading.Thread(target=self._take, args=[ended], name="census", daemon=True).start()
        return ended

    def _take(self, ended: Future[None]) -> None:
        began_s, census = time.monotonic(), NOT_READY
        try:
            census = take_census(self._database)
        except SQLAlchemyError as error:
            _log.warning("no census", **facts_of(error))
        finally:
            with self._lock:
                self._looking = None
                self._seen, self._seen_s = census, began_s
            ended.set_result(None)


def _families_of(census: Census, now_us: int) -> Iterator[Metric]:
    """Yield the metrics that a census is shown as."""
    yield GaugeMetricFamily("payment_ready", "1 if payments could be booked.", value=float(census.is_ready))
    if not census.is_ready:
        return
    counted = GaugeMetricFamily(
        "payment_notifications",
        f"Notifications that were not delivered; at most {backlog.COUNTED_MAX} are counted.",
        labels=["service", "state"],
    )
    for (service, state), number in census.notifications.items():
        counted.add_metric([service, state], number)
    yield counted
    oldest = GaugeMetricFamily(
        "payment_oldest_undelivered_seconds",
        "Age of the oldest notification that waits; 0 if none does.",
        labels=["service"],
    )
    for service, created_us in census.oldest_undelivered_us.items():
        oldest.add_metric([service], _age_s(created_us, now_us))
    yield oldest
    yield GaugeMetricFamily(
        "payment_pending",
        f"Payments that wait to be settled; at most {backlog.COUNTED_MAX} are counted.",
        value=census.pending,
    )
    yield GaugeMetricFamily(
        "payment_oldest_pending_seconds",
        "Age of the oldest payment that waits to be settled; 0 if none does.",
        value=_age_s(census.oldest_pending_us, now_us),
    )
    yield GaugeMetricFamily(
        "payment_overdue_seconds",
        "For how long a payment waits that should have expired; 0 if none does.",
        value=_age_s(census.first_expires_us, now_us),
    )
    yield GaugeMetricFamily(
        "payment_late",
        "Payments whose money came late, of which nobody has said what became of it; "
        f"at most {backlog.COUNTED_MAX} are counted.",
        value=census.late,
    )
    yield GaugeMetricFamily(
        "payment_oldest_late_seconds",
        "How long ago the first of that money came; 0 if there is none.",
        value=_age_s(census.oldest_late_us, now_us),
    )
    yield GaugeMetricFamily(
        "payment_events_behind",
        "Events that are written and that the feed does not show yet.",
        value=census.events_behind,
    )


def _age_s(created_us: int | None, now_us: int) -> float:
    return 0.0 if created_us is None else max(0, now_us - created_us) / 1e6
