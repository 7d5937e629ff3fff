"""The list of bills: all, or those that are open, the newest order first, a page at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from payment.ledger.records import Bill
from payment.ledger.rows import BILLS
from payment.storage.tables import IS_OPEN, bills


@dataclass(frozen=True, slots=True)
class BillPage:
    """Some bills, the highest order first.

    Attributes:
        bills: these.
        following: after which order the next page begins; None if this is the last one.
    """

    bills: Sequence[Bill]
    following: int | None


def find_bill_page(
    connection: Connection, after_order_id: int | None, limit: int, *, only_open: bool
) -> BillPage:
    """Return a page of bills, along an index by order.

    Args:
        connection: to read from.
        after_order_id: where the page before ended; None for the first.
        limit: the most bills.
        only_open: those of which something is paid or waits, and something is left to pay.
    """
    query = select(bills).order_by(bills.c.order_id.desc()).limit(limit + 1)
    if only_open:
        query = query.where(IS_OPEN)
    if after_order_id is not None:
        query = query.where(bills.c.order_id < after_order_id)
    found = [BILLS.from_row(row) for row in connection.execute(query)]
    return BillPage(found[:limit], found[limit - 1].order_id if len(found) > limit else None)
