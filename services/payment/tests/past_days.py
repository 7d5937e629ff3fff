"""What was booked on other days: rows as the API writes them, at times of a test's choice."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, make_url, select

from payment.core.states import Status
from payment.storage.opening import open_current
from payment.storage.tables import bills, payments, refunds

METHODS = ["cash", "card", "qris", "transfer", "ewallet"]
NOTHING = {"payments": 0, "gross": 0, "refunds": 0, "net": 0}


def us(text: str) -> int:
    """Return a UTC time as microseconds since the epoch."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000_000)


class Past:
    """What was booked on other days: the same rows as the API writes, at times of our choice."""

    def __init__(self, database_url: str) -> None:
        self.database = open_current(make_url(database_url))
        self._next_order = 1_000

    def close(self) -> None:
        """Let the database go."""
        self.database.close()

    def pay(self, at: str, amount: int, method: str = "cash", **columns: Any) -> int:
        """Book a payment; return its id."""
        self._next_order += 1
        row = {"status": Status.PAID, "user_id": 1, "updated_us": us(at), "settled_us": None} | columns
        row["amount_refunded"] = amount if row["status"] is Status.REFUNDED else 0
        with self.database.write() as connection:
            connection.execute(
                bills.insert().values(
                    order_id=self._next_order,
                    total=amount,
                    paid=amount if row["status"] is Status.PAID else 0,
                    pending=amount if row["status"] is Status.PENDING else 0,
                )
            )
            payment_id: int = connection.execute(
                payments.insert()
                .values(order_id=self._next_order, amount=amount, method=method, created_us=us(at), **row)
                .returning(payments.c.id)
            ).scalar_one()
        return payment_id

    def refund(self, payment_id: int, at: str, amount: int) -> None:
        """Give money back."""
        with self.database.write() as connection:
            of_payment = refunds.c.payment_id == payment_id
            before = select(func.coalesce(func.sum(refunds.c.amount), 0)).where(of_payment)
            connection.execute(
                refunds.insert().values(
                    payment_id=payment_id,
                    amount=amount,
                    refunded_before=before.scalar_subquery(),
                    created_us=us(at),
                )
            )

    def many(self, at: str, amount: int, count: int) -> None:
        """Book many payments of one amount."""
        with self.database.write() as connection:
            connection.execute(bills.insert().values(order_id=1, total=amount, paid=amount, pending=0))
            row = {"order_id": 1, "user_id": 1, "amount": amount, "status": "paid", "method": "cash"}
            rows = [row | {"created_us": us(at), "updated_us": us(at)}] * count
            connection.execute(payments.insert(), rows)
