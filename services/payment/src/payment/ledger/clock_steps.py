"""Clocks that were set back: what they had put off until a time that is now far away becomes due.

News that was never tried is due when it is written; a repeat waits RESEND_AFTER_S at most, what failed
RETRY_MAX_S or what the neighbour asked for. What waits longer was written by a clock that was ahead.
"""

from functools import cache

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    bindparam,
    case,
    select,
    update,
)
from sqlalchemy.sql.dml import Update

from payment.core.neighbours import Neighbour
from payment.ledger.claims import WAITING
from payment.storage.tables import notifications

SLACK_US = 2_000_000
"""Clocks of several machines may differ by as much without a word."""

_row = notifications.c
_NOW_US = bindparam("now_us", type_=BigInteger)
_REPEAT_US = bindparam("repeat_us", type_=BigInteger)
_LONGEST_US = bindparam("longest_us", type_=BigInteger)


def is_put_off(
    connection: Connection, neighbour: Neighbour, now_us: int, *, repeat_us: int, longest_us: int
) -> bool:
    """Say whether something waits for longer than anything may.

    Args:
        connection: a transaction that may read.
        neighbour: for whom.
        now_us: the time, microseconds since the epoch.
        repeat_us: the longest that what is told once more waits, microseconds.
        longest_us: the longest that what failed waits, microseconds.
    """
    which = _which(neighbour, now_us, repeat_us, longest_us)
    return connection.execute(_put_off().limit(1), which).first() is not None


def make_due(
    connection: Connection, neighbour: Neighbour, now_us: int, *, repeat_us: int, longest_us: int
) -> int:
    """Make that due now; return how many. The arguments are those of `is_put_off`.

    Call it in a transaction of its own: it waits for rows that other workers write, so it must hold none.
    """
    return connection.execute(_make_due(), _which(neighbour, now_us, repeat_us, longest_us)).rowcount


def _which(neighbour: Neighbour, now_us: int, repeat_us: int, longest_us: int) -> dict[str, int | str]:
    return {
        "of_service": neighbour.name,
        "now_us": now_us,
        "repeat_us": repeat_us,
        "longest_us": longest_us,
    }


@cache
def _put_off() -> Select[int]:
    return select(_row.id).where(WAITING, _row.next_attempt_us > _NOW_US, _is_too_long())


def _is_too_long() -> ColumnElement[bool]:
    may_wait_us = case((_row.last_outcome.is_not(None), _LONGEST_US), (_row.is_repeat, _REPEAT_US), else_=0)
    return _row.next_attempt_us > _NOW_US + may_wait_us + SLACK_US


@cache
def _make_due() -> Update:
    which = _put_off().order_by(_row.id).with_for_update()
    return update(notifications).where(_row.id.in_(which)).values(next_attempt_us=_NOW_US, not_before_us=None)
