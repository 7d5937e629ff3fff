"""Guests who pay all the time, and what was booked of it."""

import threading
import time
from collections import Counter

import httpx
from sqlalchemy import make_url, text

from payment.storage.opening import open_database
from processes import http_client, wait_for


class Load:
    """Guests who pay until `stop`, over a connection each; counts what they were answered.

    Args:
        url: where.
        guests: how many at a time.
        user_id: the same for all, else each payment's is another.
        closing: how many of them make a connection for each payment.

    Attributes:
        answers: how often each status, or each trouble of a connection, was the answer. The guests write it.
        booked: the payment of each order that was answered 201. The same.
        slowest_s: how long the slowest answer took.
    """

    def __init__(self, url: str, guests: int = 8, user_id: int | None = None, closing: int = 0) -> None:
        self.answers: Counter[int | str] = Counter()
        self.booked: dict[int, int] = {}
        self.slowest_s = 0.0
        self._url = url
        self._user_id = user_id
        self._done = threading.Event()
        self._threads = [
            threading.Thread(target=self._pay, args=(1 + n, guests, n < closing), daemon=True)
            for n in range(guests)
        ]
        for thread in self._threads:
            thread.start()

    def _pay(self, order_id: int, step: int, is_closing: bool) -> None:  # noqa: FBT001  # a thread's argument
        headers = {"Connection": "close"} if is_closing else {}
        with http_client(self._url, timeout_s=20, headers=headers) as http:
            while not self._done.is_set():
                body = {"order_id": order_id, "user_id": self._user_id or order_id, "amount": 20_000}
                key = {"Idempotency-Key": f"order-{order_id}"}
                began_s = time.monotonic()
                try:
                    answer = http.post("/payments", json=body, headers=key)
                except httpx.TransportError as error:
                    self.answers[type(error).__name__] += 1
                    time.sleep(0.05)
                    continue
                self.slowest_s = max(self.slowest_s, time.monotonic() - began_s)
                self.answers[answer.status_code] += 1
                if answer.status_code == 201:
                    self.booked[order_id] = answer.json()["payment_id"]
                if answer.status_code in {201, 409}:  # one that somebody else has paid is never ours
                    order_id += step
                time.sleep(0.05)  # a load, not the most that the machine can do

    def wait_for_more(self, payments: int = 60) -> None:
        """Return when so many more were booked."""
        wanted = len(self.booked) + payments
        wait_for(lambda: len(self.booked) >= wanted, 60, f"{payments} more payments")

    def stop(self) -> None:
        """Stop, once each guest has its answer."""
        self._done.set()
        for thread in self._threads:
            thread.join(30)


def payments_of(database_url: str) -> dict[int, int]:
    """Return the payments in the database, by their orders; each order has one."""
    database = open_database(make_url(database_url))
    with database.read() as connection:
        rows = connection.execute(text("SELECT order_id, id FROM payments")).all()
    database.close()
    assert len(rows) == len({row[0] for row in rows}), "an order was paid twice"
    return {row[0]: row[1] for row in rows}
