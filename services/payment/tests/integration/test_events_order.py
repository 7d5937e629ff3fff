"""The feed misses nothing: not what commits late, not under races and kills. On both databases."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, make_url
from sqlalchemy.exc import OperationalError

from conftest import ALSO_POOLED
from followers import Follower, by_subject, read_all
from payment.core.cause import Cause
from payment.core.states import EventType
from payment.ledger.event_log import BEGINNING, EventSelection, Place, find_events
from payment.ledger.events import Event, append
from payment.storage.base import Database
from payment.storage.opening import open_database
from payment_life import PENDING, every_payment
from processes import Service, http_client, wait_for

Start = Callable[..., Service]
EVERY = EventSelection()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A fresh database."""
    opened = open_database(make_url(database_url))
    yield opened
    opened.close()


def happen(connection: Connection, number: int) -> None:
    event = Event((EventType.KEY_CREATED,), None, {"id": str(number), "scopes": ""}, Cause())
    append(connection, [event], number)


def numbers(database: Database, after: Place = BEGINNING) -> list[int]:
    with database.read() as connection:
        page = find_events(connection, EVERY, after, 100)
    return [int(event.row["data"]["id"]) for event in page.events]


@pytest.mark.parametrize("database_url", ["postgresql", "transaction"], indirect=True)
def test_what_commits_late_holds_back_what_came_after_it(database: Database) -> None:
    """Else a reader who goes on from the later one would never see the earlier one."""
    with database.write() as connection:
        happen(connection, 1)
    with database.write() as late:
        happen(late, 2)
        with database.write() as quick:
            happen(quick, 3)
        assert numbers(database) == [1]
    assert numbers(database) == [1, 2, 3]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_what_is_rolled_back_holds_nothing_back_for_long(database: Database) -> None:
    with database.write() as connection:
        happen(connection, 1)
        connection.rollback()
    with database.write() as connection:
        happen(connection, 2)
    assert numbers(database) == [2]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_transaction_that_tells_of_nothing_holds_nothing_back(database: Database) -> None:
    """Such as a report that takes minutes, a backup, or another database's."""
    with database.write() as slow:
        slow.exec_driver_sql("CREATE TABLE others (id int)")
        with database.write() as connection:
            happen(connection, 1)
        assert numbers(database) == [1]


@ALSO_POOLED
def test_writers_of_many_connections_and_readers_who_go_on(database: Database) -> None:
    """Each event once, in an order that no later read contradicts."""
    total, writers = 300, 6
    given = count(1)

    def write(_: int) -> None:
        for _ in range(total // writers):
            number, is_written = next(given), False
            while not is_written:
                with suppress(OperationalError):  # locked for too long: it is not written, and sent again
                    with database.write() as connection:
                        happen(connection, number)
                    is_written = True

    def read(done: threading.Event) -> list[str]:
        seen: list[str] = []
        place = BEGINNING
        while True:
            was_done = done.is_set()
            with database.read() as connection:
                page = find_events(connection, EVERY, place, 7)
            seen += [str(event.place) for event in page.events]
            place = page.place
            if was_done and not page.events:
                return seen
            if not page.events:
                time.sleep(0.01)  # who looks all the time keeps the others from their work

    done = threading.Event()
    with ThreadPoolExecutor(writers + 2) as pool:
        readers = [pool.submit(read, done) for _ in range(2)]
        try:
            list(pool.map(write, range(writers)))
        finally:
            done.set()
        first, second = (reader.result() for reader in readers)
    assert first == second
    assert len(first) == len(set(first)) == total


def live(urls: Callable[[], list[str]], orders: Iterator[int], ends: threading.Event) -> Counter[str]:
    """Make payments, settle them and give money back, by whichever service answers; count what was sure."""
    sure: Counter[str] = Counter()
    while not ends.is_set():
        order_id = next(orders)
        is_pending = order_id % 3 == 0
        new: dict[str, Any] = {"order_id": order_id, "user_id": order_id % 9 + 1, "amount": 20_000}
        calls: list[tuple[str, str, dict[str, Any], str]] = [
            ("POST", "/payments", new | PENDING if is_pending else new, "payment.created")
        ]
        if is_pending:
            calls.append(("PATCH", "", {"status": "paid" if order_id % 2 else "failed"}, "settled"))
        elif order_id % 4 == 0:
            calls += [
                ("POST", "/refunds", {"amount": 5_000}, "refund.created"),
                ("POST", "/refunds", {}, "refund.created"),
            ]
        payment_id = 0
        for step, (method, path, body, what) in enumerate(calls):
            where = f"/payments/{payment_id}{path}" if step else path
            answer = insist(urls, method, where, body, f"{order_id}-{step}", ends)
            if answer is None:
                return sure
            if step == 0:
                payment_id = answer.json()["payment_id"]
            sure[what] += 1
    return sure


def insist(
    urls: Callable[[], list[str]],
    method: str,
    path: str,
    body: dict[str, Any],
    key: str,
    ends: threading.Event,
) -> httpx.Response | None:
    """Ask with the same key until it is done; None if that does not come to pass before the end."""
    for turn in count(hash(key)):
        where = urls()
        try:
            with http_client(where[turn % len(where)], timeout_s=10) as http:
                answer = http.request(method, path, json=body, headers={"Idempotency-Key": key})
            if answer.status_code in {200, 201}:
                return answer
            assert answer.status_code == 503, answer.text
        except httpx.TransportError:
            pass
        if ends.wait(0.05):
            return None
    return None


def is_past(moment_s: float) -> bool:
    return time.monotonic() > moment_s


def test_followers_of_racing_processes_that_are_killed_have_every_event_once(
    start: Start, rounds: range, tmp_path: Path
) -> None:
    """`--rounds 40` lets it run for 20 s."""
    del tmp_path
    seconds, kills = len(rounds) / 2, 2
    two = [start("serve", "--no-worker"), start("serve", "--no-worker")]
    start("worker")

    def urls() -> list[str]:
        return [service.url for service in two]

    followers = [Follower(urls), Follower(urls, wait_s=0, limit=7)]
    ends = threading.Event()
    orders = iter(range(1, 1_000_000))
    with ThreadPoolExecutor(8) as pool:
        lives = [pool.submit(live, urls, orders, ends) for _ in range(8)]
        began_s = time.monotonic()
        for kill in range(1, kills + 1):
            due_s = began_s + seconds * kill / (kills + 1)
            wait_for(partial(is_past, due_s), seconds + 5)
            two[1].kill()
            two[1].start()
        wait_for(partial(is_past, began_s + seconds), seconds + 5)
        ends.set()
        sure = sum((each.result(30) for each in lives), Counter[str]())

    events = read_all(two[0].url)
    ids = [event["id"] for event in events]
    assert len(ids) == len(set(ids))
    for follower in followers:
        follower.caught_up_with(set(ids))
        once = list({event["id"]: event for event in follower.events}.values())
        assert once == events, "nothing is missing, nothing else, and in the same order"
        assert set(follower.answers) <= {200, 503, "ConnectError", "RemoteProtocolError", "ReadError"}
    check_against_tables(two[0], events, sure)
    read = [len(follower.events) for follower in followers]
    print(f"{dict(sure)} sure, {len(events)} events, read {read}, kills {kills}")  # noqa: T201  # the figures


def check_against_tables(service: Service, events: list[dict[str, Any]], sure: Counter[str]) -> None:
    """Every change that was acknowledged has its event; every state is one that its events lead to."""
    told = Counter(event["type"] for event in events)
    assert told["payment.created"] >= sure["payment.created"] > 0
    assert told["refund.created"] >= sure["refund.created"] > 0
    order = {kind: place for place, kind in enumerate(("created", "paid", "failed", "refunded"))}
    stories = by_subject([event for event in events if event["type"].startswith("payment.")])
    last = {event["subject"]: event["data"] for event in events if event["type"].startswith("payment.")}
    refunded: Counter[int] = Counter()
    for event in events:
        if event["type"] == "refund.created":
            refunded[event["data"]["payment_id"]] += event["data"]["amount"]
    payments = {payment["id"]: payment for payment in every_payment(service)}
    assert stories.keys() == {f"payments/{payment_id}" for payment_id in payments}
    for payment_id, payment in payments.items():
        kinds = [kind.partition(".")[2] for kind in stories[f"payments/{payment_id}"]]
        assert kinds == sorted(kinds, key=lambda kind: order[kind]), "in its order"
        assert len(kinds) == len(set(kinds)), "each once"
        assert kinds[-1] == {"pending": "created"}.get(payment["status"], payment["status"])
        assert last[f"payments/{payment_id}"]["status"] == payment["status"]
        assert refunded[payment_id] == payment["amount_refunded"]
