"""Late money in races: the bill never passes its total, and no money is forgotten."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from threading import Barrier

import httpx
import pytest
from sqlalchemy import make_url

from conftest import ALSO_POOLED
from payment.core.cause import EXPIRY, Cause
from payment.core.states import Status
from payment.core.units import DAY_US
from payment.ledger.batch import book
from payment.ledger.expiry import find_expired
from payment.ledger.requests import Settling
from payment.storage.base import Database
from payment.storage.opening import open_database
from payment_life import PENDING, bill_of, booked, status_of
from processes import Service

Start = Callable[..., Service]


@pytest.fixture
def processes(start: Start) -> list[Service]:
    """Two API processes over one database, which book in different ways on PostgreSQL."""
    return [start("serve", "--no-worker", BOOK_UNREAD=unread) for unread in ("always", "never")]


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """The same database, where this process lets payments expire as a worker does."""
    with closing(open_database(make_url(database_url))) as opened:
        yield opened


def together(*calls: Callable[[], httpx.Response | None]) -> list[httpx.Response]:
    """Make all calls at the same moment; return what those of HTTP were answered."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], httpx.Response | None]) -> httpx.Response | None:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [answer for answer in pool.map(run, calls) if answer is not None]


def let_expire(database: Database) -> None:
    """Let all fail that wait, as a worker does in two days."""
    now_us = time.time_ns() // 1000
    with database.read() as connection:
        expired = find_expired(connection, now_us + 2 * DAY_US, DAY_US, limit=10)
    with database.batch() as transaction:
        book(transaction, [Settling(each, Status.FAILED, cause=Cause(EXPIRY)) for each in expired], now_us)


@ALSO_POOLED
def test_whether_it_expires_or_is_paid_first_the_money_is_booked(
    processes: list[Service], database: Database, rounds: range
) -> None:
    ways: Counter[tuple[str, ...]] = Counter()
    for order in rounds:
        payment_id = booked(processes[0].pay(order, fields=PENDING))
        answers = together(
            partial(let_expire, database),
            *(partial(process.settle, payment_id, "paid") for process in processes),
        )
        assert [(each.status_code, each.json()["status"]) for each in answers] == [(200, "paid")] * 2
        assert status_of(processes[1], payment_id) == ("paid", 0)
        assert bill_of(processes[1], order) == (20_000, 20_000, 0, 0, True)
        events = processes[0].http.get(f"/payments/{payment_id}/events").json()["events"]
        ways[tuple(each["type"].rpartition(".")[2] for each in events)] += 1
    assert set(ways) <= {("created", "paid"), ("created", "failed", "paid")}
    assert not processes[0].http.get("/payments?late=true").json()["payments"]
    print(dict(ways))  # noqa: T201  # with -s: how often each was first


@ALSO_POOLED
def test_of_late_money_and_a_new_payment_one_has_the_room_and_the_other_is_not_forgotten(
    processes: list[Service], rounds: range
) -> None:
    first: Counter[str] = Counter()
    for order in rounds:
        failed = booked(processes[0].pay(order, fields=PENDING))
        processes[0].settle(failed, "failed")
        calls = [
            call
            for n in range(2)
            for call in (
                partial(processes[n].settle, failed, "paid"),
                partial(processes[1 - n].pay, order, n + 2),
            )
        ]
        answers = together(*calls)
        late, paid = answers[::2], answers[1::2]
        new = Counter(each.status_code for each in paid)
        is_late = {each.status_code for each in late} == {409}
        assert new == ({201: 1, 409: 1} if is_late else {409: 2})
        assert is_late or {each.status_code for each in late} == {200}
        assert bill_of(processes[1], order) == (20_000, 20_000, 0, 0, True)
        payment = processes[1].http.get(f"/payments/{failed}").json()
        assert (payment["status"], payment["late"]) == (("failed", True) if is_late else ("paid", False))
        kept = processes[0].http.get(f"/payments/{failed}/late")
        assert kept.status_code == (200 if is_late else 404)
        if is_late:
            assert kept.json()["resolution"] is None
            story = processes[0].http.get(f"/payments/{failed}/events").json()["events"]
            assert [each["type"] for each in story].count("payment.late") == 1
        first["new" if is_late else "late"] += 1
    waiting = processes[0].http.get("/payments?late=true&limit=200").json()["payments"]
    assert len(waiting) == first["new"]
    print(dict(first))  # noqa: T201  # with -s: how often each was first
