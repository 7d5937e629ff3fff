"""Who comes to the restaurant on a day, when, and how they pay: drawn from a seed and the day. Pure.

A day has a seed of its own, so it is the same whichever days are before and after it.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from random import Random
from zoneinfo import ZoneInfo

from payment.core.business_day import BusinessDays
from payment.core.states import Method, Status
from payment.core.units import SECOND_US
from payment.demo.staff import BRIDGE, CASHIERS, OFFICE, WAITERS
from payment.demo.visits import GivenBack, Settled, Share, Visit

MINUTE_S, HOUR_S = 60.0, 3600.0
OPENS_S, CLOSES_S = 10 * HOUR_S, 21.75 * HOUR_S
LUNCH, DINNER = (12.4 * HOUR_S, 0.65 * HOUR_S), (19.1 * HOUR_S, 0.8 * HOUR_S)
"""When most come, and the spread around it."""

VISITS = (118, 114, 120, 124, 140, 158, 150)
"""From Monday to Sunday; there are about a tenth more payments."""

SATURDAY = 5
WALK_IN, GUESTS = 1, 420
"""The id of all whom nobody knows, and that of the last whom somebody knows."""

DISHES = (18, 20, 22, 25, 28, 30, 32, 35, 38, 42, 48, 55)
DRINKS = (0, 5, 6, 8, 10, 12, 15, 18)
"""Prices, thousands of rupiah; 0: they drink water."""

PEOPLE = {1: 26, 2: 34, 3: 16, 4: 14, 5: 6, 6: 4}
METHODS = {Method.QRIS: 36, Method.CASH: 30, Method.CARD: 14, Method.EWALLET: 14, Method.TRANSFER: 6}
"""How many in a hundred."""

THOUSAND, DEAREST = 1_000, 450_000
SHARES_MAX = 4

PART_REASONS = (
    "Sate ayam kurang matang",
    "Es teh tidak jadi diantar",
    "Salah hitung porsi",
    "Sup tumpah saat diantar",
    "Gado-gado habis, sudah dibayar",
    "Harga promo belum dipotong",
)
WHOLE_REASONS = (
    "Pesanan salah meja",
    "Tamu membatalkan pesanan",
    "Menu habis setelah dibayar",
    "Terbayar dua kali, tunai dan QRIS",
    "Menunggu lebih dari satu jam",
)


def visits_of(day: date, zone: ZoneInfo, seed: int, first_order_id: int) -> list[Visit]:
    """Return the visits of a day, in order of time.

    Args:
        day: in the restaurant's time zone.
        zone: that zone.
        seed: another seed makes another day.
        first_order_id: the first visit's order; the others follow.
    """
    draw = Random(f"{seed} {day}")  # noqa: S311  # no secret
    days = BusinessDays(zone)
    midnight_us = days.begins_us(day)
    tomorrow_us = days.ends_us(day)
    visits = [_visit(draw, midnight_us + _us(at_s), tomorrow_us) for at_s in _arrivals(draw, day.weekday())]
    visits.append(_catering(draw, midnight_us, tomorrow_us))
    visits.sort(key=lambda visit: visit.begins_us)
    return [replace(visit, order_id=first_order_id + number) for number, visit in enumerate(visits)]


def _us(seconds: float) -> int:
    return round(seconds * SECOND_US)


def _happens(draw: Random, chance: float) -> bool:
    return draw.random() < chance


def _arrivals(draw: Random, weekday: int) -> Iterator[float]:
    """Yield when each visit is paid, seconds after midnight, in no order."""
    lunch = 0.37 if weekday >= SATURDAY else 0.47
    for _ in range(round(draw.gauss(VISITS[weekday], 5))):
        at_s = CLOSES_S
        while not OPENS_S <= at_s < CLOSES_S:
            if _happens(draw, 0.14):
                at_s = draw.uniform(OPENS_S, CLOSES_S)
            else:
                at_s = draw.gauss(*(LUNCH if _happens(draw, lunch) else DINNER))
        yield at_s


def _visit(draw: Random, at_us: int, tomorrow_us: int) -> Visit:
    (people,) = draw.choices(list(PEOPLE), weights=list(PEOPLE.values()))
    eaten = sum(draw.choice(DISHES) + draw.choice(DRINKS) for _ in range(people)) * THOUSAND
    amount = min(DEAREST, eaten + (THOUSAND // 2 if _happens(draw, 0.05) else 0))
    user_id = WALK_IN if _happens(draw, 0.3) else draw.randint(WALK_IN + 1, GUESTS)
    if people > 1 and _happens(draw, 0.09):
        return Visit(user_id, _split(draw, at_us, amount, people), order_total=amount)
    share = _whole_bill(draw, at_us, amount, tomorrow_us)
    if share.settled is None or share.settled.status is Status.PAID:
        return Visit(user_id, (share,))
    again_us = share.settled.at_us + _us(draw.uniform(30, 150))  # the code failed: they pay in cash
    return Visit(user_id, (share, Share(again_us, amount, Method.CASH, draw.choice(CASHIERS))))


def _split(draw: Random, at_us: int, total: int, people: int) -> tuple[Share, ...]:
    """Return the shares of a split bill; now and then the last one is not paid."""
    number = min(SHARES_MAX, people)
    each = total // number // THOUSAND * THOUSAND
    shares = []
    for amount in (*[each] * (number - 1), total - each * (number - 1)):
        method = draw.choice((Method.CASH, Method.CARD, Method.EWALLET, Method.QRIS))
        share = Share(at_us, amount, method, draw.choice(CASHIERS))
        shares.append(_with_refund(draw, share, 0.07))
        at_us += _us(draw.uniform(15, 90))
    return tuple(shares[:-1] if _happens(draw, 0.12) else shares)


def _whole_bill(draw: Random, at_us: int, amount: int, tomorrow_us: int) -> Share:
    """Return the one payment of a bill."""
    (method,) = draw.choices(list(METHODS), weights=list(METHODS.values()))
    share = Share(at_us, amount, method, WAITERS if _happens(draw, 0.3) else draw.choice(CASHIERS))
    if method is Method.TRANSFER:
        share = replace(share, waits=True, settled=_transfer(draw, at_us, tomorrow_us))
    elif method is Method.QRIS and _happens(
        draw, 0.4
    ):  # a code on the till's screen, not the one on the table
        share = replace(share, waits=True, settled=_scan(draw, at_us))
    return _with_refund(draw, share, 0.022)


def _scan(draw: Random, at_us: int) -> Settled | None:
    """Return what became of a code on the screen; None if nobody scanned it."""
    if _happens(draw, 0.04):
        return None
    status = Status.FAILED if _happens(draw, 0.07) else Status.PAID
    return Settled(at_us + _us(draw.uniform(20, 110)), status, BRIDGE)


def _transfer(draw: Random, at_us: int, tomorrow_us: int) -> Settled | None:
    """Return when the office saw the money on its account; None if it never came."""
    if _happens(draw, 0.03):
        return None
    soon_us = at_us + _us(draw.uniform(4, 45) * MINUTE_S)
    next_morning_us = tomorrow_us + _us(draw.uniform(8.5, 9.8) * HOUR_S)
    return Settled(soon_us if _happens(draw, 0.7) else next_morning_us, Status.PAID, OFFICE)


def _with_refund(draw: Random, share: Share, chance: float) -> Share:
    """Return the share as it is, or given back in part or as a whole."""
    if share.paid_at_us is None or not _happens(draw, chance):
        return share
    at_us = share.paid_at_us + _us(draw.uniform(4, 35) * MINUTE_S)
    client = draw.choice(CASHIERS)
    if _happens(draw, 0.4):
        return replace(share, given_back=GivenBack(at_us, None, draw.choice(WHOLE_REASONS), client))
    amount = draw.randint(5, min(max(DISHES), share.amount // 2 // THOUSAND)) * THOUSAND
    return replace(share, given_back=GivenBack(at_us, amount, draw.choice(PART_REASONS), client))


def _catering(draw: Random, midnight_us: int, tomorrow_us: int) -> Visit:
    """Return the snacks of an office nearby. Its transfer is seen the next day, so one waits all night."""
    at_us = midnight_us + _us(draw.uniform(15.5, 16.5) * HOUR_S)
    seen = Settled(tomorrow_us + _us(draw.uniform(11, 11.5) * HOUR_S), Status.PAID, OFFICE)
    amount = draw.randint(12, 18) * 25 * THOUSAND
    return Visit(GUESTS, (Share(at_us, amount, Method.TRANSFER, CASHIERS[0], waits=True, settled=seen),))
