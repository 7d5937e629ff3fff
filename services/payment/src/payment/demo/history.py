"""The sample days as a whole: those up to now, and what went wrong on them. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from payment.core.business_day import BusinessDays
from payment.core.neighbours import ORDER, USER
from payment.core.states import Method
from payment.core.units import SECOND_US
from payment.demo.guests import HOUR_S, MINUTE_S, visits_of
from payment.demo.mishaps import MAINTAINED, REFUSED, REJECTED, SILENT, STARTING, UNKNOWN_USER, Mishap
from payment.demo.staff import CASHIERS
from payment.demo.visits import Visit

DAYS, DAYS_MIN = 14, 3
"""Whole days before the one that is today; all kinds of mishaps lie within the fewest."""

FIRST_ORDER_ID, FIRST_NEW_GUEST_ID = 1001, 9001
FOREVER_US = 2**62

OUTAGE_AGO, OUTAGE_BEGINS_S = 2, 18.9 * HOUR_S
OUTAGE = ((SILENT, 3), (REFUSED, 14), (STARTING, 4))
"""How Order was away one evening: what it answered, and for how many minutes."""

UNKNOWN_AGO, UNKNOWN_VISIT = (11, 8, 4, 1), 30
"""Days ago on which a guest paid whom User has never heard of."""

REJECTED_AGO, REJECTED_VISIT, MENDED_VISIT = 3, 40, 60
"""Days ago on which Order took no news of two orders; one of them was told again the next morning."""

MAINTAINED_VISITS, WAITING_VISITS = 4, 3
"""Of so many of the last visits Order has not heard yet; so many pay by a code that waits to be scanned."""

SCAN_WITHIN_S = 30 * MINUTE_S


@dataclass(frozen=True, slots=True)
class ToldAgain:
    """Somebody sends the dead notification about an order again."""

    at_us: int
    order_id: int


@dataclass(frozen=True, slots=True)
class History:
    """All that happens until now.

    Attributes:
        begins_us: the midnight before the first day.
        visits: in order of time; some of their payments may lie after now.
    """

    begins_us: int
    now_us: int
    visits: Sequence[Visit]
    mishaps: Sequence[Mishap]
    told_again: Sequence[ToldAgain]


def history_until(now_us: int, zone: ZoneInfo, seed: int, days: int = DAYS) -> History:
    """Return some days and the part of today that is over.

    Args:
        now_us: the time, microseconds since the epoch.
        zone: the restaurant's time zone.
        seed: another one makes another history.
        days: how many before today, at least DAYS_MIN.
    """
    today = BusinessDays(zone).day_of(now_us)
    by_day: dict[int, list[Visit]] = {}
    order_id = FIRST_ORDER_ID
    for ago in range(days, -1, -1):
        visits = visits_of(today - timedelta(days=ago), zone, seed, order_id)
        order_id += len(visits)
        if ago in UNKNOWN_AGO:
            visits[UNKNOWN_VISIT] = replace(visits[UNKNOWN_VISIT], user_id=FIRST_NEW_GUEST_ID + ago)
        by_day[ago] = visits
    rejected, mended = (by_day[REJECTED_AGO][each] for each in (REJECTED_VISIT, MENDED_VISIT))
    told_again_us = _at(today - timedelta(days=REJECTED_AGO - 1), 8.6 * HOUR_S, zone)
    visits = [visit for ago in by_day for visit in by_day[ago] if visit.begins_us <= now_us]
    return History(
        begins_us=_at(today - timedelta(days=days), 0, zone),
        now_us=now_us,
        visits=[*visits[:-WAITING_VISITS], *_with_code(visits[-WAITING_VISITS:], now_us)],
        mishaps=[
            *_outage(today - timedelta(days=OUTAGE_AGO), zone),
            *(Mishap(USER, 0, FOREVER_US, UNKNOWN_USER, FIRST_NEW_GUEST_ID + ago) for ago in UNKNOWN_AGO),
            Mishap(ORDER, 0, FOREVER_US, REJECTED, rejected.order_id),
            Mishap(ORDER, 0, told_again_us, REJECTED, mended.order_id),
            Mishap(ORDER, visits[-MAINTAINED_VISITS].begins_us, FOREVER_US, MAINTAINED),
        ],
        told_again=[ToldAgain(told_again_us, mended.order_id)],
    )


def _at(day: date, at_s: float, zone: ZoneInfo) -> int:
    return BusinessDays(zone).begins_us(day) + round(at_s * SECOND_US)


def _outage(day: date, zone: ZoneInfo) -> Iterator[Mishap]:
    begins_us = _at(day, OUTAGE_BEGINS_S, zone)
    for answer, minutes in OUTAGE:
        ends_us = begins_us + round(minutes * MINUTE_S * SECOND_US)
        yield Mishap(ORDER, begins_us, ends_us, answer)
        begins_us = ends_us


def _with_code(visits: Sequence[Visit], now_us: int) -> Iterator[Visit]:
    """Yield the visits; those of the last minutes pay by a code that nobody has scanned yet."""
    for visit in visits:
        share = replace(visit.shares[0], method=Method.QRIS, client=CASHIERS[0], waits=True)
        is_fresh = now_us - visit.begins_us <= SCAN_WITHIN_S * SECOND_US
        waiting = replace(share, settled=None, given_back=None)
        yield replace(visit, shares=(waiting,)) if is_fresh else visit
