"""Lists of payments: pages, filters, cursors, and CSV."""

import csv
import io
import random
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import URL, Connection, make_url, text

from conftest import fresh_database
from payment.core.states import Method, Status
from payment.ledger.cursors import cursor_of
from payment.ledger.listing import Position, Selection, find_page
from payment.ledger.spreadsheet import as_csv
from payment.storage.base import Database
from payment.storage.opening import open_database
from payment.storage.tables import bills, payments
from postgres import PostgresServer, create_database, drop_database
from processes import Service, http_client

Start = Callable[..., Service]
SECOND_US = 1_000_000
BEGAN_US = 1_769_862_896_000_000
MANY = 240


def rows_of(count: int) -> list[dict[str, Any]]:
    """Return payments of all kinds; some are made at the same moment, some ids are not in that order."""
    dice = random.Random(7)
    rows = []
    for number in range(1, count + 1):
        amount = dice.randint(1, 90_000)
        status = dice.choice([*Status, Status.PAID, Status.PAID])
        created_us = BEGAN_US + dice.randint(0, 60) * SECOND_US
        rows.append(
            {
                "id": number,
                "order_id": number,
                "user_id": dice.randint(1, 4),
                "amount": amount,
                "amount_refunded": amount if status is Status.REFUNDED else 0,
                "status": status,
                "method": dice.choice(list(Method)),
                "created_us": created_us,
                "updated_us": created_us,
                # a few of each, so that several that failed share one
                "reference": f"F-{number % 9}"
                if status is Status.FAILED
                else f"R-{number}"
                if number % 3
                else None,
            }
        )
    return rows


def write(database: Database, rows: list[dict[str, Any]]) -> None:
    with database.write() as connection:
        connection.execute(
            bills.insert(),
            [{"order_id": row["order_id"], "total": row["amount"], "paid": 0, "pending": 0} for row in rows],
        )
        connection.execute(payments.insert(), rows)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def listed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Return a service with `rows_of(MANY)` in its database."""
    folder: Path = tmp_path_factory.mktemp("listed")
    with fresh_database(request.param, folder, request) as url:
        database = open_database(make_url(url))
        database.migrate()
        write(database, rows_of(MANY))
        database.close()
        service = Service({"DATABASE_URL": url}, "serve", "--no-worker", cwd=folder)
        yield service
        service.kill()


def walk(service: Service, **asked: Any) -> list[dict[str, Any]]:
    """Return what all pages hold, following `next_cursor` and holding it against the `Link`."""
    found: list[dict[str, Any]] = []
    parameters = dict(asked)
    while True:
        answer = service.http.get("/payments", params=parameters)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert len(page["payments"]) <= int(asked.get("limit", 50))
        found += page["payments"]
        if page["next_cursor"] is None:
            assert "link" not in answer.headers
            return found
        following = answer.links["next"]["url"]
        assert dict(httpx.URL(following).params) == {
            **{name: str(value) for name, value in asked.items()},
            "cursor": page["next_cursor"],
        }
        parameters = {**asked, "cursor": page["next_cursor"]}


def at(second: int) -> str:
    """Return a time after the first payments, in Jakarta's zone; the + becomes %2B on its way."""
    minute, rest = divmod(34 * 60 + 56 + second, 60)
    return f"2026-01-31T19:{minute:02}:{rest:02}+07:00"


def selections(count: int) -> list[dict[str, Any]]:
    """Return filters, each alone and in combinations that dice choose."""
    choices: dict[str, list[Any]] = {
        "order_id": [1, 17, 9999],
        "user_id": [1, 2, 99],
        "status": [status.value for status in Status],
        "method": [method.value for method in Method],
        "reference": ["F-1", "F-4", "R-17", "r-17"],
        "created_from": [at(0), at(20), at(61)],
        "created_to": [at(0), at(1), at(40)],
    }
    alone = [{name: value} for name, values in choices.items() for value in values]
    dice = random.Random(11)
    mixed = [
        {name: dice.choice(choices[name]) for name in dice.sample(list(choices), dice.randint(2, 4))}
        for _ in range(count)
    ]
    return [{}, *alone, *mixed]


def is_selected(row: dict[str, Any], asked: dict[str, Any]) -> bool:
    moments = {at(second): BEGAN_US + second * SECOND_US for second in range(62)}
    return all(
        row["created_us"] >= moments[value]
        if name == "created_from"
        else row["created_us"] < moments[value]
        if name == "created_to"
        else row[name] == value
        for name, value in asked.items()
    )


def test_every_filter_selects_what_it_says_newest_first(listed: Service) -> None:
    rows = sorted(rows_of(MANY), key=lambda row: (row["created_us"], row["id"]), reverse=True)
    for asked in selections(40):
        expected = [row["id"] for row in rows if is_selected(row, asked)]
        assert [payment["id"] for payment in walk(listed, limit=17, **asked)] == expected, asked


def test_a_page_holds_fifty_and_shows_payments_as_they_are_shown_alone(listed: Service) -> None:
    page = listed.http.get("/payments").json()["payments"]
    assert len(page) == 50
    assert page[0] == listed.http.get(f"/payments/{page[0]['id']}").json()
    assert len(walk(listed, limit=200)) == MANY


@pytest.mark.parametrize(
    ("asked", "field", "said"),
    [
        ("limit=0", "limit", "limit harus bilangan bulat dari 1 sampai 200"),
        ("limit=201", "limit", "limit harus bilangan bulat dari 1 sampai 200"),
        ("limit=", "limit", "limit harus bilangan bulat dari 1 sampai 200"),
        ("limit=1&limit=2", "limit", "limit harus diberikan satu kali"),
        ("order_id=x", "order_id", "order_id harus bilangan bulat dari 1 sampai 9007199254740991"),
        ("user_id=1.0", "user_id", "user_id harus bilangan bulat dari 1 sampai 9007199254740991"),
        ("status=PAID", "status", "status harus salah satu dari: pending, paid, failed, refunded"),
        ("method=cheque", "method", "method harus salah satu dari: cash, card, qris, transfer, ewallet"),
        *(
            (f"created_from={wrong}", "created_from", "created_from harus waktu dengan zonanya")
            for wrong in ("2026-02-30", "2026-01-31T12:00:00", "2026-02-30T12:00:00Z", "now", "", "%00")
        ),
        ("created_to=0000-01-01T00:00:00Z", "created_to", "created_to harus waktu dengan zonanya"),
        ("cursor=", "cursor", "cursor "),
        ("cursor=x", "cursor", "cursor bukan yang diberikan oleh daftar ini"),
        ("cursor=%F0%9F%92%B8", "cursor", "cursor bukan yang diberikan oleh daftar ini"),
        ("cursor=" + "A" * 5000, "cursor", "cursor "),
    ],
)
def test_a_wrong_parameter_is_400_and_named(listed: Service, asked: str, field: str, said: str) -> None:
    answer = listed.http.get(f"/payments?{asked}")
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(said)
    problem = listed.http.get(f"/payments?{asked}", headers={"Accept": "application/problem+json"})
    assert problem.json()["field"] == field


def test_times_are_taken_as_rfc_3339_writes_them(listed: Service) -> None:
    everything = len(walk(listed, limit=200))
    for moment in (
        "2026-01-31T12:34:56Z",
        "2026-01-31t12:34:56.000z",
        f"2026-01-31T12:34:56.{'0' * 40}Z",
        "2026-01-31T19:34:56%2B07:00",
        "2026-01-31T19:34:56+07:00",  # a query string makes a space of this +
        "2026-01-31 07:34:56-05:00",
    ):
        answer = listed.http.get(f"/payments?limit=200&created_from={moment}")
        assert answer.json()["next_cursor"], moment
        answer = listed.http.get(f"/payments?created_to={moment}")
        assert answer.json()["payments"] == [], moment
    assert everything == MANY


def test_a_cursor_is_of_its_list_only(listed: Service) -> None:
    cursor = listed.http.get("/payments", params={"limit": 5, "user_id": 1}).json()["next_cursor"]
    assert listed.http.get("/payments", params={"user_id": 1, "cursor": cursor}).status_code == 200
    others: list[dict[str, Any]] = [{}, {"user_id": 2}, {"user_id": 1, "status": "paid"}]
    for other in others:
        answer = listed.http.get("/payments", params=other | {"cursor": cursor})
        assert (answer.status_code, answer.json()) == (
            400,
            {"error": "cursor bukan yang diberikan oleh daftar ini"},
        )
    for place in range(len(cursor)):
        forged = cursor[:place] + ("B" if cursor[place] == "A" else "A") + cursor[place + 1 :]
        answer = listed.http.get("/payments", params={"user_id": 1, "cursor": forged})
        assert answer.status_code == 400, forged
    beyond = [
        cursor_of(position, Selection(user_id=1))  # sealed by somebody who has read the source
        for position in (Position(2**63, 1), Position(-(10**30), 1), Position(1, 10**30))
    ]
    for wrong in (cursor + "A", cursor + "=", " " + cursor, *beyond):
        answer = listed.http.get("/payments", params={"user_id": 1, "cursor": wrong})
        assert answer.status_code == 400, wrong


def test_what_is_paid_meanwhile_neither_repeats_nor_hides_another(start_alone: Service) -> None:
    for order_id in range(1, 21):
        start_alone.pay(order_id)
    seen: list[int] = []
    parameters: dict[str, Any] = {"limit": 3}
    for order_id in range(100, 130):
        page = start_alone.http.get("/payments", params=parameters).json()
        seen += [payment["id"] for payment in page["payments"]]
        start_alone.pay(order_id)
        if page["next_cursor"] is None:
            break
        parameters["cursor"] = page["next_cursor"]
    assert seen == list(range(20, 0, -1))


IN_FILES = {"None": "", "False": "false"}


def read_csv(text_: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text_, newline="")))


def test_csv_holds_what_the_pages_hold(listed: Service) -> None:
    for asked in ({}, {"user_id": 1}, {"status": "paid", "method": "qris"}, {"user_id": 99}):
        answer = listed.http.get("/payments", params=asked, headers={"Accept": "text/csv"})
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        assert "payments.csv" in answer.headers["content-disposition"]
        expected = [
            {name: IN_FILES.get(str(value), str(value)) for name, value in payment.items()}
            for payment in walk(listed, **asked)
        ]
        assert read_csv(answer.text) == expected
        assert answer.text.splitlines()[0] == (
            "id,order_id,user_id,amount,status,method,amount_refunded,created_at,updated_at,reference,expires_at,late,"
            "settled_at"
        )
    part = listed.http.get("/payments", params={"limit": 1}, headers={"Accept": "text/csv;q=1, */*;q=0.1"})
    assert len(read_csv(part.text)) == MANY, "a limit is one of pages"
    head = listed.http.head("/payments", headers={"Accept": "text/csv"})
    assert (head.status_code, head.content) == (200, b"")
    wrong = listed.http.get("/payments?status=x", headers={"Accept": "text/csv"})
    assert wrong.headers["content-type"] == "application/json"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_text_is_a_formula_for_a_spreadsheet(start: str) -> None:
    """OWASP, "CSV Injection". Numbers stay numbers."""
    ((cell, number),) = csv.reader(io.StringIO(as_csv([(f"{start}1+1", -5)]), newline=""))
    assert cell == f"'{start}1+1"
    assert number == "-5"


def test_a_file_that_cannot_be_begun_is_an_error_like_any_other(postgres: URL, tmp_path: Path) -> None:
    url = create_database(postgres, "never_begins")
    fill(url, 5)
    address = url.render_as_string(hide_password=False)
    service = Service({"DATABASE_URL": address}, "serve", "--no-worker", cwd=tmp_path)
    try:
        drop_database(postgres, "never_begins")
        answer = service.http.get("/payments", headers={"Accept": "text/csv"})
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/json")
        assert "Traceback" not in "".join(service.process.lines)
    finally:
        service.kill()


def test_a_file_that_breaks_off_does_not_look_whole(tmp_path: Path) -> None:
    """The database dies while a caller reads: the connection breaks instead of ending."""
    server = PostgresServer()
    try:
        url = create_database(server.url, "breaks_off")
        fill(url, 60_000)
        address = url.render_as_string(hide_password=False)
        service = Service({"DATABASE_URL": address}, "serve", "--no-worker", cwd=tmp_path)
        try:
            csv_alone = {"Accept": "text/csv"}
            with (
                http_client(service.url, timeout_s=60) as http,
                http.stream("GET", "/payments", headers=csv_alone) as answer,
            ):
                assert answer.status_code == 200
                parts = answer.iter_raw()
                next(parts)
                server.kill()
                with pytest.raises(httpx.RemoteProtocolError):
                    list(parts)
        finally:
            service.kill()
    finally:
        server.remove()


def fill(url: URL, count: int) -> None:
    """Fill a fresh PostgreSQL database with payments of a second each, most paid in cash."""
    database = open_database(url)
    database.migrate()
    with database.write() as connection:
        series = f"generate_series(1, {count}) AS n"
        connection.execute(
            text(f"INSERT INTO bills (order_id, total, paid, pending) SELECT n, 5, 5, 0 FROM {series}")
        )
        connection.execute(
            text(
                "INSERT INTO payments"
                " (order_id, user_id, amount, status, late, reference, method, created_us, updated_us)"
                f" SELECT n, CASE WHEN n < 2000 THEN {RETIRED} WHEN n % 3 = 0 THEN 1 ELSE n END, 5,"
                " CASE WHEN n % 1000 = 0 THEN 'failed' ELSE 'paid' END, n % 1000 = 0,"
                " CASE WHEN n % 2000 = 0 THEN 'FAILED' WHEN n % 7 = 0 THEN 'R-' || n END,"
                " CASE WHEN n % 5000 = 0 THEN 'card' ELSE 'cash' END,"
                f" {BEGAN_US} + n * 1000000::bigint, {BEGAN_US} FROM {series}"
            )
        )
    database.close()


RETIRED = 2
"""A walk-in id that was on all of the oldest payments and is not used any more."""

SELECTIONS = [
    Selection(),
    Selection(order_id=77),
    Selection(user_id=1),
    Selection(user_id=77),
    Selection(status=Status.FAILED),
    Selection(status=Status.PENDING),
    Selection(method=Method.CARD),
    Selection(method=Method.EWALLET),
    Selection(created_from_us=BEGAN_US + 9_000 * SECOND_US, created_to_us=BEGAN_US + 9_100 * SECOND_US),
    Selection(user_id=1, created_to_us=BEGAN_US + 2_000 * SECOND_US),
    Selection(user_id=RETIRED),
    Selection(reference="R-77"),
    Selection(late=True),
    Selection(late=False, user_id=1),
    Selection(reference="FAILED", method=Method.CASH),
]


def test_no_page_reads_the_whole_table(postgres: URL) -> None:
    """The server's own count of the rows that each page touched, also deep in the table."""
    url = create_database(postgres, "payment_plans")
    fill(url, 60_000)
    database = open_database(url)
    with database.write() as connection:
        connection.execute(text("ANALYZE payments"))
        for selection in SELECTIONS:
            for after in (None, Position(BEGAN_US + 3_000 * SECOND_US, 3_000)):
                assert touched(connection, selection, after) < 600, (selection, after)
    database.close()


@pytest.mark.parametrize("selection", SELECTIONS)
def test_sqlite_finds_a_page_by_an_index_and_sorts_nothing(tmp_path: Path, selection: Selection) -> None:
    database = open_database(make_url(f"sqlite:///{tmp_path / 'payment.db'}"))
    database.migrate()
    plans: list[str] = []

    class Explain:
        """Stands where `find_page` reads, and notes the plan."""

        def execute(self, query: Any) -> Any:
            compiled = query.compile(connection, compile_kwargs={"literal_binds": True})
            plans.extend(row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}"))
            return connection.execute(query)

    with database.read() as connection:
        for after in (None, Position(BEGAN_US, 3_000)):
            find_page(Explain(), selection, after, 50)  # type: ignore[arg-type]  # all that it uses
    database.close()
    if selection.order_id is not None:  # a few are sorted
        plans = [plan for plan in plans if "ORDER BY" not in plan]
    if selection.reference is not None:  # what is found by it is looked at
        plans = [plan for plan in plans if "payments" in plan]
        assert all("ix_payments_reference" in plan or "PRIMARY KEY" in plan for plan in plans), plans
        return
    assert all("USING INDEX" in plan for plan in plans), plans
    if selection.status in {Status.FAILED, Status.PENDING}:
        assert all("ix_payments_not_paid" in plan for plan in plans)


def touched(connection: Connection, selection: Selection, after: Position | None) -> int:
    """Return how many rows and index entries PostgreSQL read for a page, by its own EXPLAIN ANALYZE."""
    seen: list[str] = []

    class Explain:
        """Stands where `find_page` reads, and asks for the plan instead."""

        def execute(self, query: Any) -> Any:
            compiled = query.compile(connection, compile_kwargs={"literal_binds": True})
            plan = connection.execute(text(f"EXPLAIN (ANALYZE, FORMAT JSON) {compiled}".replace(":", "\\:")))
            seen.append(plan.scalar_one()[0]["Plan"])
            return connection.execute(query)

    find_page(Explain(), selection, after, 50)  # type: ignore[arg-type]  # all of a connection that it uses

    def rows(node: Any) -> int:
        own = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
        return int(own) + sum(rows(child) for child in node.get("Plans", []))

    return rows(seen[0])


def test_ids_that_are_not_in_the_order_of_time_are_listed_by_time(listed: Service) -> None:
    moments = [payment["created_at"] for payment in walk(listed, limit=200)]
    assert all(earlier >= later for earlier, later in pairwise(moments))
