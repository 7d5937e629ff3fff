"""The end of an outage: what failed during it becomes due before its own backoff is over.

Doing so is called hurrying. A target that the neighbour always fails at causes small outages of its own. If
it were due at once at the end of each of them, it would always come before fresh news. So the column
`hurried` counts how often a notification was hurried, and each time it is due later: after n*n*n steps. In
the end its own backoff is sooner.
"""

from functools import cache

from sqlalchemy import BigInteger, Connection, bindparam, case, func, select, update
from sqlalchemy.sql.dml import Update

from payment.core.neighbours import Neighbour
from payment.core.states import OUTAGES
from payment.ledger.claims import WAITING
from payment.storage.tables import notifications

_row = notifications.c
_NOW_US = bindparam("now_us", type_=BigInteger)

HURRY_STEP_US = 250_000
"""What was hurried n times before is due n*n*n of these after the end of the next outage."""


def end_outage(connection: Connection, neighbour: Neighbour, now_us: int) -> int:
    """Make due what failed during an outage, but nothing before the neighbour wants it; return how many.

    Call it in a transaction of its own: it waits for rows that other workers write, so it must hold none.
    """
    which = {"of_service": neighbour.name, "now_us": now_us}
    return connection.execute(_hurry(), which).rowcount


@cache
def _hurry() -> Update:
    due_us = _NOW_US + HURRY_STEP_US * _row.hurried * _row.hurried * _row.hurried
    asked_us = func.coalesce(_row.not_before_us, 0)
    hurried_us = case((asked_us > due_us, asked_us), else_=due_us)
    failed = (
        select(_row.id)
        .where(WAITING, _row.next_attempt_us > hurried_us, _row.last_outcome.in_(OUTAGES))
        .order_by(_row.id)
        .with_for_update()
    )
    return (
        update(notifications)
        .where(_row.id.in_(failed))
        .values(next_attempt_us=hurried_us, hurried=_row.hurried + 1)
    )
