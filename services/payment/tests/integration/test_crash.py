"""The promise under SIGKILL: every 201 is booked exactly once and told to both."""

import os
import random
import threading
import time
from collections.abc import Callable
from functools import partial

import httpx
from sqlalchemy import make_url, text

from payment.storage.opening import open_database
from processes import Service, Stub, http_client, wait_for

KILLS = 30
CLIENTS = 8


class Guest(threading.Thread):
    """A restaurant's back end: pays order after order, each with its own key, until it is answered.

    After a lost connection it asks again with the same key, as the API's documentation says.
    """

    def __init__(self, service: Service, first_order_id: int, step: int, done: threading.Event) -> None:
        super().__init__(daemon=True)
        self._service = service
        self._order_id = first_order_id
        self._step = step
        self._done = done
        self.acknowledged: dict[int, int] = {}  # order -> payment
        self.unexpected: list[str] = []

    def run(self) -> None:
        """Pay until it is enough."""
        with http_client(timeout_s=5) as http:
            while not self._done.is_set():
                self._pay(http)
                self._order_id += self._step
                time.sleep(0.01)  # a load, not the most that the machine can do

    def _pay(self, http: httpx.Client) -> None:
        while True:
            try:
                answer = http.post(
                    f"{self._service.url}/payments",
                    json={"order_id": self._order_id, "user_id": self._order_id, "amount": 20_000},
                    headers={"Idempotency-Key": f"order-{self._order_id}"},
                )
            except httpx.TransportError:
                time.sleep(0.05)
                continue
            if answer.status_code == 201:
                self.acknowledged[self._order_id] = answer.json()["payment_id"]
            elif answer.status_code == 503:
                continue
            else:
                self.unexpected.append(f"{self._order_id}: {answer.status_code} {answer.text}")
            return


def knows(stub: Stub, acknowledged: dict[int, int]) -> bool:
    return stub.states().keys() >= acknowledged.keys()


def test_every_201_survives_sigkill_at_random_moments(
    start: Callable[..., Service], order: Stub, user: Stub, database_url: str
) -> None:
    seed = int(os.environ.get("CRASH_SEED", random.randrange(2**32)))
    dice = random.Random(seed)
    print(f"CRASH_SEED={seed}")  # noqa: T201  # to repeat a failure
    order.fault(slow_ms=5)  # deliveries are in flight when the kill comes
    user.fault(slow_ms=5)
    service = start(LEASE_S="1", RESEND_AFTER_S="1")
    done = threading.Event()
    guests = [Guest(service, n, CLIENTS, done) for n in range(1, CLIENTS + 1)]
    for guest in guests:
        guest.start()
    for _ in range(KILLS):
        time.sleep(dice.uniform(0.02, 0.3))  # the random moment
        service.process.kill()
        service.start()
    wait_for(lambda: sum(len(guest.acknowledged) for guest in guests) > KILLS, 60, "a slow machine pays too")
    done.set()
    for guest in guests:
        guest.join(30)

    acknowledged = {key: value for guest in guests for key, value in guest.acknowledged.items()}
    assert [line for guest in guests for line in guest.unexpected] == []

    for stub in (order, user):
        stub.heal()
        wait_for(partial(knows, stub, acknowledged), 60, f"{stub.name} knows all")
        assert {stub.states()[order_id] for order_id in acknowledged} == {"paid"}

    database = open_database(make_url(database_url))
    with database.read() as connection:

        def count(rows: str) -> int:
            return int(connection.execute(text(f"SELECT count(*) FROM {rows}")).scalar_one())

        booked = [tuple(row) for row in connection.execute(text("SELECT order_id, id FROM payments"))]
        bills, keys = count("bills WHERE paid = total"), count("idempotency_keys")
        dead = count("notifications WHERE state = 'dead'")
    database.close()
    assert dict(booked) == acknowledged, "lost or invented"
    assert len(booked) == len(acknowledged) == bills == keys, "doubled"
    assert dead == 0
    print(f"kills {KILLS}, acknowledged {len(acknowledged)}, lost 0, doubled 0, untold 0")  # noqa: T201  # the figures
