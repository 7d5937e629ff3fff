"""`payment demo`: sample days that keep every rule, on both databases."""

import json
from collections import Counter
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Connection, make_url, select

from payment.core.states import EventType, Method, State, Status
from payment.core.units import read_time
from payment.demo.history import history_until
from payment.storage.opening import open_database
from payment.storage.tables import bills, events, metadata, notifications, payments, refunds
from processes import Service

NOW_US = read_time("2026-03-14T20:30:00+07:00")
"""When the days of `shared_demo` end."""

PLANNED = {"next_attempt_us", "not_before_us", "resend_us", "expires_us"}
"""Times at which something is to happen."""


@pytest.fixture
def rows(shared_demo: Service) -> dict[str, list[Any]]:
    """All rows, by their table, each table's in the order of its key."""
    database = open_database(make_url(shared_demo.environment["DATABASE_URL"]))

    def all_of(connection: Connection, name: str) -> list[Any]:
        table = metadata.tables[name]
        return list(connection.execute(select(table).order_by(*table.primary_key)).all())

    with database.read() as connection:
        found = {name: all_of(connection, name) for name in metadata.tables}
    database.close()
    return found


def test_it_has_the_payments_that_the_seed_and_the_time_say(rows: dict[str, list[Any]]) -> None:
    """On both databases the same."""
    days = history_until(NOW_US, ZoneInfo("Asia/Jakarta"), seed=1, days=3)
    planned = [
        (share.at_us, visit.order_id, visit.user_id, share.amount, share.method)
        for visit in days.visits
        for share in visit.shares
        if share.at_us <= NOW_US
    ]
    booked = [
        (row.created_us, row.order_id, row.user_id, row.amount, row.method) for row in rows[payments.name]
    ]
    assert booked == sorted(planned)
    assert 400 < len(booked) < 800


def test_nothing_is_dated_after_its_end_and_little_before_the_first_day(rows: dict[str, list[Any]]) -> None:
    begins_us = NOW_US - 4 * 24 * 3600 * 1_000_000
    times = {
        (name, column): value
        for name, found in rows.items()
        for row in found
        for column, value in row._mapping.items()
        if column.endswith("_us") and column not in PLANNED and value is not None
        if not begins_us <= value <= NOW_US
    }
    assert times == {}


def test_each_bill_is_what_its_payments_and_refunds_add_up_to(rows: dict[str, list[Any]]) -> None:
    given_back: Counter[int] = Counter()
    for refund in rows[refunds.name]:
        given_back[refund.payment_id] += refund.amount
    paid, pending, refunded = Counter[int](), Counter[int](), Counter[int]()
    for payment in rows[payments.name]:
        assert payment.amount_refunded == given_back[payment.id]
        if payment.status == Status.PAID:
            paid[payment.order_id] += payment.amount
            refunded[payment.order_id] += payment.amount_refunded
        elif payment.status == Status.PENDING:
            pending[payment.order_id] += payment.amount
    for bill in rows[bills.name]:
        order = bill.order_id
        assert (bill.paid, bill.pending, bill.refunded) == (paid[order], pending[order], refunded[order])
    assert {payment.status for payment in rows[payments.name]} == set(Status)
    assert any(0 < bill.paid < bill.total for bill in rows[bills.name]), "a split bill that is not settled"


def test_nothing_happened_without_its_event(rows: dict[str, list[Any]]) -> None:
    told: Counter[str] = Counter()
    newest: dict[int, dict[str, Any]] = {}
    for event in rows[events.name]:
        told.update(event.types.split())
        if event.types.startswith("payment."):
            newest[event.payment_id] = event.data
    assert {key: (data["status"], data["settled_us"]) for key, data in newest.items()} == {
        row.id: (row.status, row.settled_us) for row in rows[payments.name]
    }
    assert told[EventType.PAYMENT_CREATED] == len(rows[payments.name])
    assert told[EventType.REFUND_CREATED] == len(rows[refunds.name])
    assert told[EventType.KEY_CREATED] == len(rows["api_keys"])
    actors = {event.actor.partition("/")[0] for event in rows[events.name]}
    assert {"kasir-1", "kasir-2", "pelayan-app", "expiry", "worker", "cli:pemilik"} <= actors


def test_some_news_waits_some_is_dead_and_much_was_told_after_an_outage(rows: dict[str, list[Any]]) -> None:
    found = rows[notifications.name]
    dead = [row for row in found if row.state == State.DEAD]
    assert {row.service for row in dead} == {"order", "user"}
    assert {row.last_error.partition(":")[0] for row in dead} == {
        "unknown user",
        "HTTP 400 Pesanan sudah diarsipkan",
    }
    waiting = [row for row in found if row.state == State.WAITING]
    assert waiting
    assert all(row.next_attempt_us > NOW_US for row in waiting), "a worker leaves them until then"
    assert sum(row.state == State.DELIVERED and row.attempts > 3 for row in found) > 5
    assert rows["leases"] == []


def test_the_closing_of_a_day_is_plausible(shared_demo: Service) -> None:
    closing = shared_demo.http.get("/reports/daily?date=2026-03-13").json()
    assert 100 < closing["payments"] < 200
    assert 8_000_000 < closing["net"] < 25_000_000
    assert 0 < closing["refunds"] < closing["gross"] / 10
    assert {line["method"] for line in closing["methods"] if line["payments"]} == set(Method)


def test_the_story_of_a_payment_is_told_as_of_any_other(shared_demo: Service) -> None:
    page = shared_demo.http.get("/payments?status=refunded&limit=1").json()
    (payment,) = page["payments"]
    story = shared_demo.http.get(f"/payments/{payment['id']}/events").json()["events"]
    assert [event["type"] for event in story][-2:] == ["refund.created", "payment.refunded"]
    assert story[0]["actor"].partition("/")[0] in {"kasir-1", "kasir-2", "pelayan-app"}


def test_it_refuses_a_database_that_is_not_empty(shared_demo: Service) -> None:
    before = shared_demo.http.get("/payments?limit=1").text
    refused = shared_demo.cli("demo")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "Basis data tidak kosong / the database is not empty\n"
    assert shared_demo.http.get("/payments?limit=1").text == before


@pytest.mark.parametrize("now", ["2126-03-14T20:30:00Z", "kemarin", "2026-03-14"])
def test_it_ends_at_a_time_that_is_over(start_alone: Service, now: str) -> None:
    refused = start_alone.cli("demo", "--now", now)
    assert refused.returncode == 2
    assert "--now" in refused.stderr
    assert start_alone.http.get("/payments").json()["payments"] == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_it_says_in_json_what_it_made(start_alone: Service) -> None:
    made = json.loads(
        start_alone.cli(
            "demo", "--json", "--now", "2026-03-14T03:00:00+07:00", "--seed", "2", "--days", "3"
        ).stdout
    )
    assert made["to"] == "2026-03-13T20:00:00.000000Z"
    assert made["from"] == "2026-03-10T17:00:00.000000Z"
    assert 300 < made["payments"] < 600
    assert made["waiting"]
    assert made["dead"]
