"""Leases: who tells a target right now.

One lease on (neighbour, target) makes one PUT at a time, across all workers. A lease that ran out was left by
a worker that died; whoever claims next takes it over. The database's clock judges them, as those of workers
may differ. A lease that ends much later than one that is taken now was taken before that clock was set back:
it ran out too.
"""

from collections.abc import Iterable, Sequence
from functools import cache

from sqlalchemy import BigInteger, Connection, Text, and_, bindparam, delete, or_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningInsert

from payment.core.neighbours import Neighbour
from payment.storage.database_clock import DatabaseNow
from payment.storage.statements import insert
from payment.storage.tables import leases

APART_US = 2_000_000
"""By less than this a lease may end later than ours though no clock was set: its statement began a moment
after ours, and came to the row before it."""

_NOW_US = bindparam("now_us", type_=BigInteger)
_LEASE_US = bindparam("lease_us", type_=BigInteger)
_UNTIL_US = DatabaseNow() + _LEASE_US
IS_HELD = and_(leases.c.until_us > DatabaseNow(), leases.c.until_us <= _UNTIL_US + APART_US)
"""A lease that has not run out; the parameter `lease_us` says how long leases last."""

_OURS = and_(
    leases.c.service == bindparam("of_service", type_=Text),
    leases.c.owner == bindparam("of_owner", type_=Text),
    leases.c.target_id.in_(bindparam("ids", type_=BigInteger, expanding=True)),
)
_RENEW = update(leases).where(_OURS).values(until_us=_UNTIL_US)
_RELEASE = delete(leases).where(_OURS).returning(leases.c.target_id)


def take(
    connection: Connection,
    neighbour: Neighbour,
    target_ids: Sequence[int],
    owner: str,
    now_us: int,
    until_us: int,
) -> dict[int, bool]:
    """Lease those of the targets that nobody has a lease on; times are the database's.

    Returns:
        The targets that are ours now, each with True if it was taken over from a dead worker.
    """
    if not target_ids:
        return {}
    rows = connection.execute(
        _take(insert(connection, leases)),
        [
            {
                "service": neighbour.name,
                "target_id": target_id,
                "owner": owner,
                "until_us": until_us,
                "taken_over": False,
                "now_us": now_us,
            }
            for target_id in target_ids
        ],
    )
    return {row.target_id: row.taken_over for row in rows}


@cache
def _take(new: sqlite.Insert | postgresql.Insert) -> ReturningInsert[int, bool]:
    return new.on_conflict_do_update(
        index_elements=[leases.c.service, leases.c.target_id],
        set_={
            "owner": new.excluded.owner,
            "until_us": new.excluded.until_us,
            "taken_over": True,
        },
        where=or_(leases.c.until_us <= _NOW_US, leases.c.until_us > new.excluded.until_us + APART_US),
    ).returning(leases.c.target_id, leases.c.taken_over)


def renew(
    connection: Connection, neighbour: Neighbour, owner: str, target_ids: Iterable[int], lease_us: int
) -> None:
    """Keep the leases of deliveries that are still in hand, for `lease_us` microseconds from now on."""
    which = {"of_service": neighbour.name, "of_owner": owner, "ids": list(target_ids)}
    connection.execute(_RENEW, which | {"lease_us": lease_us})


def release(connection: Connection, neighbour: Neighbour, owner: str, target_ids: Iterable[int]) -> set[int]:
    """Give leases back; return the targets whose lease was still ours."""
    ids = list(target_ids)
    if not ids:
        return set()
    which = {"of_service": neighbour.name, "of_owner": owner, "ids": ids}
    return set(connection.execute(_RELEASE, which).scalars())
