"""Old payments that nothing depends on any more are written to an archive and deleted, with their refunds.

Bills are never deleted: they are what says that an order is paid, however long ago (docs/decisions/0023). Nor
are payments whose order still owes something, which wait to be settled or told of, whose money came late, or
whose deletion would make an older payment of the same guest its newest, as User is told of the newest.
"""

from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    delete,
    exists,
    func,
    not_,
    or_,
    select,
    update,
)

from payment.core.states import State, Status
from payment.ledger.archive import Archive
from payment.storage.ids import keep_ids_above, last_id
from payment.storage.statements import is_postgres, lock_query
from payment.storage.tables import bills, late_money, notifications, payment_log, payments, refunds

_row = payments.c
_other = payments.alias("other")


@dataclass(frozen=True, slots=True)
class PaymentPruning:
    """Which payments are old, and where they go.

    Attributes:
        before_us: those to which nothing has happened since then, microseconds since the epoch.
        archive: they are on disk there before they are deleted; None only to count.
        notifications_before_us: notifications that were settled before this are deleted first.
    """

    before_us: int
    archive: Archive | None
    notifications_before_us: int

    def count(self, connection: Connection, *within: ColumnElement[bool]) -> tuple[int, int]:
        """Return how many payments would be deleted, and how many refunds."""
        ids = select(_row.id).where(*within, *self._nothing_depends_on_it())
        return _number(connection, ids), _number(connection, select(refunds.c.id).where(_of(ids)))

    def run(self, connection: Connection, *within: ColumnElement[bool]) -> tuple[int, int]:
        """Delete payments, in a transaction; return how many, and how many refunds of them.

        Raises:
            OSError: the archive cannot be written. The transaction must not be committed.
        """
        assert self.archive is not None
        wanted = select(_row.order_id).where(*within, *self._nothing_depends_on_it())
        order_ids = connection.execute(wanted).scalars().all()
        if not order_ids:
            return 0, 0
        if is_postgres(connection):  # nobody settles or refunds them meanwhile; SQLite has one writer
            connection.execute(*lock_query(set(order_ids)))
        of_orders = _row.order_id.in_(order_ids)
        old = select(payments).where(*within, of_orders, *self._nothing_depends_on_it()).order_by(_row.id)
        gone = connection.execute(old).mappings().all()
        ids = [row["id"] for row in gone]
        given_back = connection.execute(select(refunds).where(refunds.c.payment_id.in_(ids))).mappings().all()
        self.archive.keep("payments", gone)
        self.archive.keep("refunds", given_back)
        self.archive.sync()
        for column in (_row.id, refunds.c.id):  # the largest may be among them
            keep_ids_above(connection, column, last_id(connection, column))
        connection.execute(delete(refunds).where(refunds.c.payment_id.in_(ids)))
        connection.execute(delete(payments).where(_row.id.in_(ids)))
        if ids:
            _begin_log(connection, self.before_us)
        return len(gone), len(given_back)

    def _nothing_depends_on_it(self) -> tuple[ColumnElement[bool], ...]:
        """Return the conditions under which a payment may go."""
        bill = bills.c
        nothing_owed = or_(bill.paid >= bill.total, and_(bill.paid == 0, bill.pending == 0))
        stays = [notifications.c.payment_id == _row.id]
        if self.archive is None:  # the others are deleted first
            is_needed = notifications.c.state.in_([State.WAITING, State.DEAD])
            stays.append(or_(is_needed, notifications.c.settled_us >= self.notifications_before_us))
        of_guest = _other.c.user_id == _row.user_id
        is_newest = not_(exists().where(of_guest, _other.c.id > _row.id))
        has_older = exists().where(of_guest, _other.c.id < _row.id)
        return (
            _row.updated_us < self.before_us,
            _row.status != Status.PENDING,
            exists().where(bill.order_id == _row.order_id, nothing_owed),
            not_(exists().where(*stays)),
            not_(exists().where(late_money.c.payment_id == _row.id)),
            not_(and_(is_newest, has_older)),
        )


def payments_begin_us(connection: Connection) -> int | None:
    """Return since when payments are kept, microseconds since the epoch; None if none was ever deleted."""
    begins_us: int | None = connection.execute(select(func.max(payment_log.c.begins_us))).scalar()
    return begins_us


def _begin_log(connection: Connection, begins_us: int) -> None:
    """Note that payments to which nothing has happened since then may be gone."""
    before = payments_begin_us(connection)
    if before is None:
        connection.execute(payment_log.insert().values(begins_us=begins_us))
    elif before < begins_us:
        connection.execute(update(payment_log).values(begins_us=begins_us))


def _of(ids: Select[tuple[int]]) -> ColumnElement[bool]:
    return refunds.c.payment_id.in_(ids)


def _number(connection: Connection, ids: Select[tuple[int]]) -> int:
    number: int = connection.execute(select(func.count()).select_from(ids.subquery())).scalar_one()
    return number
