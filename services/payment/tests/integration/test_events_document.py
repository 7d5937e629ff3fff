"""The consumer that docs/events.md shows, as a process of its own: killed at any moment, it counts right."""

import random
import re
import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from described import ROOT
from key_holders import holder, let_in
from payment_life import PENDING, booked, every_payment
from ports import free_port
from processes import Service, wait_for
from programs import Process

PAYERS = 4
STRIDE_MAX = 40
"""At most so many payments more are in its till when it is killed the next time."""

Till = dict[int, int]
Seen = tuple[str | None, Till]


def code() -> str:
    """Return the Python of docs/events.md."""
    text = (ROOT / "docs" / "events.md").read_text()
    (found,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.fixture
def consume(end: ExitStack, tmp_path: Path) -> Callable[..., Process]:
    """A function that starts the consumer beside a service."""
    file = tmp_path / "consumer.py"
    file.write_text(code())

    def consume(service: Service, key: str = "") -> Process:
        environment = {"PAYMENT_URL": service.url} | ({"PAYMENT_KEY": key} if key else {})
        process = Process([sys.executable, str(file)], environment, tmp_path)
        end.callback(process.kill)
        return process

    return consume


def look(folder: Path) -> Seen:
    """Return how far the consumer has read, and what is in its till, at one moment."""
    with closing(sqlite3.connect(folder / "till.db", timeout=20)) as db:
        try:
            rows = db.execute("SELECT cursor, payment_id, rupiah FROM reader LEFT JOIN till").fetchall()
        except sqlite3.OperationalError:  # it has not made its tables yet
            return None, {}
    return rows[0][0] if rows else None, {row[1]: row[2] for row in rows if row[1] is not None}


def till_of(payments: Iterator[dict[str, Any]]) -> Till:
    """Return what the service itself says is in the till."""
    return {
        payment["id"]: payment["amount"] - payment["amount_refunded"]
        for payment in payments
        if payment["status"] in {"paid", "refunded"}
    }


def every_event(service: Service) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    asked: dict[str, int | str] = {"limit": 200}
    while True:
        page = service.http.get("/events", params=asked).json()
        found += page["events"]
        asked["after"] = page["next_cursor"]
        if not page["events"]:
            return found


def live(service: Service, orders: Iterator[int], ends: threading.Event) -> None:
    """Pay, settle and give back until the end."""
    while not ends.is_set():
        order_id = next(orders)
        if order_id % 3 == 0:
            payment_id = booked(service.pay(order_id, fields=PENDING))
            service.settle(payment_id, "paid" if order_id % 2 else "failed").raise_for_status()
        else:
            payment_id = booked(service.pay(order_id))
        if order_id % 3 == 1:
            service.refund(payment_id, {"amount": 5_000}).raise_for_status()
        if order_id % 6 == 1:
            service.refund(payment_id).raise_for_status()


def check_moments(moments: list[Seen], events: list[dict[str, Any]]) -> None:
    """At every moment that was looked at, the till was what the events up to its cursor make of it."""
    tills: dict[str | None, Till] = {None: {}}
    till: Counter[int] = Counter()
    for event in events:
        data = event["data"]
        if event["type"] == "payment.paid":
            till[data["id"]] += data["amount"]
        elif event["type"] == "refund.created":
            till[data["payment_id"]] -= data["amount"]
        tills[event["id"]] = dict(till)
    for cursor, seen in moments:
        assert seen == tills[cursor], cursor


def test_a_consumer_that_is_killed_again_and_again_counts_each_event_once(
    start_keyed: Callable[..., Service], consume: Callable[..., Process], tmp_path: Path, rounds: range
) -> None:
    service = start_keyed()
    let_in(service, "admin")
    key = holder(service, "events:read").key
    chance = random.Random(len(rounds))
    orders, ends = count(1), threading.Event()
    moments: list[Seen] = []

    def has(payments: int) -> bool:
        moments.append(look(tmp_path))
        return len(moments[-1][1]) >= payments

    with ThreadPoolExecutor(PAYERS) as pool:
        lives = [pool.submit(live, service, orders, ends) for _ in range(PAYERS)]
        try:
            for _ in rounds:
                consumer = consume(service, key)
                due = len(look(tmp_path)[1]) + chance.randint(1, STRIDE_MAX)
                wait_for(partial(has, due), 30, "it has counted some more")
                consumer.kill()
                moments.append(look(tmp_path))
        finally:
            ends.set()
        for each in lives:
            each.result(30)

    events = every_event(service)
    last = consume(service, key)
    wait_for(lambda: look(tmp_path)[0] == events[-1]["id"], 30, "it has read all")
    assert last.poll() is None, "and waits for more"
    check_moments(moments, events)
    till = till_of(every_payment(service))
    assert look(tmp_path)[1] == till
    assert set(till.values()) == {0, 15_000, 20_000}
    print(f"{len(events)} events, {len(till)} payments, {len(rounds)} kills, {len(moments)} looks")  # noqa: T201  # the figures


def test_a_consumer_whose_cursor_is_gone_ends_and_says_so(
    start_alone: Service, consume: Callable[..., Process], tmp_path: Path
) -> None:
    """It neither begins anew by itself, which would count all twice, nor asks for ever."""
    booked(start_alone.pay(1))
    consumer = consume(start_alone)
    wait_for(lambda: look(tmp_path)[1] == {1: 20_000}, 20)
    consumer.kill()
    with closing(sqlite3.connect(tmp_path / "till.db")) as db, db:
        db.execute("UPDATE reader SET cursor = '9999' || ltrim(cursor, '0123456789')")
    consumer = consume(start_alone)
    assert consumer.wait(20) == 1
    assert consumer.lines[0].startswith('410: {"error":')
    assert look(tmp_path)[1] == {1: 20_000}


def test_a_consumer_waits_for_a_service_that_is_away(
    start: Callable[..., Service], consume: Callable[..., Process], tmp_path: Path
) -> None:
    service = start("serve", "--no-worker", PORT=str(free_port()))
    booked(service.pay(1))
    consume(service)
    wait_for(lambda: look(tmp_path)[1] == {1: 20_000}, 60, "it has read a page")
    service.kill()
    service.start()
    booked(service.pay(2))
    wait_for(lambda: look(tmp_path)[1] == {1: 20_000, 2: 20_000}, 60, "it goes on")


def test_of_two_consumers_of_one_database_one_ends(
    start_alone: Service, consume: Callable[..., Process], tmp_path: Path
) -> None:
    consumers = [consume(start_alone), consume(start_alone)]
    orders = count(1)

    def one_has_ended() -> bool:
        booked(start_alone.pay(next(orders)))
        return any(each.poll() is not None for each in consumers)

    wait_for(one_has_ended, 30)
    ended = next(each for each in consumers if each.poll() is not None)
    assert ended.wait(5) == 1
    assert ended.lines == ["another one reads into this database\n"]
    till = till_of(every_payment(start_alone))
    wait_for(lambda: look(tmp_path)[1] == till, 20, "the other goes on")
