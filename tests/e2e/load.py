"""Guests who pay without a pause, and what must be true of all that they were answered."""

import threading
import time
from collections import Counter

import httpx

from described import check
from processes import wait_for
from stack import BACK_WITHIN_S, NEIGHBOURS, TAKEN_OVER_WITHIN_S, Stack


class Load:
    """Guests who pay order after order until `stop`, each asking again with its key until it is answered 201.

    Half of them keep their connection, half open a new one for each request.
    """

    GUESTS = 6
    PAUSE_S = 0.02

    def __init__(self, stack: Stack) -> None:
        self.answers: Counter[str] = Counter()
        self.booked: dict[int, int] = {}  # order -> payment
        self.slowest_s = 0.0
        self._url = stack.payment.base_url
        self._done = threading.Event()
        self._guests = [
            threading.Thread(target=self._pay, args=(number,), daemon=True)
            for number in range(1, self.GUESTS + 1)
        ]
        for guest in self._guests:
            guest.start()

    def _pay(self, order_id: int) -> None:
        connection = "keep-alive" if order_id % 2 else "close"
        with httpx.Client(
            base_url=self._url,
            headers={"Connection": connection},
            trust_env=False,
            timeout=20,
            event_hooks={"response": [check]},
        ) as client:
            while not self._done.is_set():
                self._pay_until_booked(client, order_id)
                order_id += self.GUESTS
                time.sleep(self.PAUSE_S)

    def _pay_until_booked(self, client: httpx.Client, order_id: int) -> None:
        while order_id not in self.booked:
            began_s = time.monotonic()
            try:
                answer = client.post(
                    "/payments",
                    json={"order_id": order_id, "user_id": order_id, "amount": 20_000},
                    headers={"Idempotency-Key": f"order-{order_id}"},
                )
            except (httpx.NetworkError, httpx.RemoteProtocolError):
                self.answers["lost connection"] += 1
                time.sleep(0.1)
                continue
            finally:
                self.slowest_s = max(self.slowest_s, time.monotonic() - began_s)
            self.answers[str(answer.status_code)] += 1
            if answer.status_code == 201:
                self.booked[order_id] = answer.json()["payment_id"]
            elif answer.status_code != 503:
                return  # never right: the counter shows it
            else:
                time.sleep(0.1)

    def wait_for_more(self, count: int = 100) -> None:
        """Return when so many more are booked."""
        enough = len(self.booked) + count
        wait_for(lambda: len(self.booked) >= enough, BACK_WITHIN_S, f"{count} more of {self.answers}")

    def stop(self) -> None:
        """Stop, once each guest is answered 201."""
        self._done.set()
        for guest in self._guests:
            guest.join(BACK_WITHIN_S)
            assert not guest.is_alive(), self.answers


def assert_nothing_lost_or_doubled(stack: Stack, load: Load) -> None:
    """Every 201 is booked exactly once, nothing else is; both neighbours know all of it and nothing else."""
    assert set(load.answers) <= {"201", "503", "lost connection"}, load.answers
    assert load.answers["201"] == len(load.booked)
    rows = stack.sql("SELECT order_id, id, amount, status FROM payments")
    assert len(rows) == len(load.booked), "lost or doubled"
    assert {int(order): int(payment) for order, payment, _, _ in rows} == load.booked
    assert {(amount, status) for _, _, amount, status in rows} == {("20000", "paid")}
    assert stack.count("bills WHERE paid = total") == stack.count("bills") == len(rows)
    for neighbour in NEIGHBOURS:
        stack.wait_until_told(neighbour, load.booked, TAKEN_OVER_WITHIN_S)
        assert {put["status"] for put in stack.received(neighbour)} == {"paid"}, "a wrong state on the way"
    assert stack.count("notifications WHERE state = 'dead'") == 0
    print(f"{dict(load.answers)}; slowest {load.slowest_s:.1f} s; lost 0, doubled 0, untold 0")  # noqa: T201  # the figures
