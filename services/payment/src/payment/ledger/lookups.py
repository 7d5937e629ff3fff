"""One payment, one bill, the refunds and the late money of a payment: reads by id."""

from collections.abc import Sequence

from sqlalchemy import Connection, RowMapping, bindparam, select

from payment.core.errors import BillNotFound, LateMoneyNotFound, PaymentNotFound
from payment.ledger.records import Bill
from payment.ledger.rows import BILLS
from payment.storage.tables import bills, late_money, payments, refunds

# built once, as the hot paths run them
BILLS_OF_ORDERS = select(bills).where(bills.c.order_id.in_(bindparam("order_ids", expanding=True)))
PAYMENTS_BY_ID = select(payments).where(payments.c.id.in_(bindparam("ids", expanding=True)))
LATE_MONEY_OF_PAYMENTS = select(late_money).where(
    late_money.c.payment_id.in_(bindparam("ids", expanding=True))
)


def find_payments(connection: Connection, payment_ids: Sequence[int]) -> list[RowMapping | None]:
    """Return the row of each payment in the order of the ids, None where there is none."""
    rows = connection.execute(PAYMENTS_BY_ID, {"ids": payment_ids}).mappings()
    found = {row["id"]: row for row in rows}
    return [found.get(payment_id) for payment_id in payment_ids]


def check_payment(connection: Connection, payment_id: int) -> None:
    """Check that there is such a payment.

    Raises:
        PaymentNotFound: there is none.
    """
    if find_payments(connection, [payment_id]) == [None]:
        raise PaymentNotFound


def find_bill(connection: Connection, order_id: int) -> Bill:
    """Return the bill of an order.

    Raises:
        BillNotFound: nothing was ever to be paid for it.
    """
    row = connection.execute(BILLS_OF_ORDERS, {"order_ids": [order_id]}).first()
    if row is None:
        raise BillNotFound(order_id=order_id)
    return BILLS.from_row(row)


def find_refunds(
    connection: Connection, payment_id: int, refund_id: int | None = None
) -> Sequence[RowMapping]:
    """Return the refunds of a payment, oldest first, or this one of them.

    Raises:
        PaymentNotFound: there is no such payment.
    """
    query = select(refunds).where(refunds.c.payment_id == payment_id).order_by(refunds.c.refunded_before)
    if refund_id is not None:
        query = query.where(refunds.c.id == refund_id)
    rows = connection.execute(query).mappings().all()
    if not rows:
        check_payment(connection, payment_id)
    return rows


def find_late_money(connection: Connection, payment_id: int) -> RowMapping:
    """Return the row of a payment's late money.

    Raises:
        PaymentNotFound: there is no such payment.
        LateMoneyNotFound: none of it came late.
    """
    row = connection.execute(LATE_MONEY_OF_PAYMENTS, {"ids": [payment_id]}).mappings().first()
    if row is None:
        check_payment(connection, payment_id)
        raise LateMoneyNotFound(payment_id=payment_id)
    return row
