"""Payments of one amount: no index has it, so a page looks at so many payments and no more."""

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, text

from conftest import fresh_database
from payment.core.states import Method, Status
from payment.ledger.listing import LOOKED_AT_MAX, Position, Selection, find_page
from payment.storage.base import Database
from payment.storage.opening import open_database
from processes import Service

MANY = 2 * LOOKED_AT_MAX + 5_000
BEGAN_US = 1_769_862_896_000_000
SECOND_US = 1_000_000
COMMON, RARE, FIRST_PAGES, NOBODYS = 20_000, 35_000, 68_000, 5
WALK_IN = 1
RARE_IDS = [MANY - 3, LOOKED_AT_MAX + 7, 11, 10, 9]
"""One among what the first page looks at, one among the second's, three among the last's."""

FILL = """
    WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < :many)
    INSERT INTO {table} SELECT {columns} FROM series"""
BILLS = "bills (order_id, total, paid, pending)"
PAYMENTS = "payments (id, order_id, user_id, amount, status, method, created_us, updated_us)"


NEW_BILL = f"INSERT INTO {BILLS} VALUES (:id, :amount, 0, 0)"
NEW_PAYMENT = f"INSERT INTO {PAYMENTS} VALUES (:id, :id, 1, :amount, 'paid', 'cash', :at, :at)"


def fill(database: Database) -> None:
    """Write payments of a second each, most of a common amount and in cash, every tenth by a guest."""
    rare = ", ".join(map(str, RARE_IDS))
    amount = (
        f"CASE WHEN n IN ({rare}) THEN {RARE} WHEN n > {MANY - 3} THEN {FIRST_PAGES}"
        f" WHEN n % 10 = 0 THEN 15000 ELSE {COMMON} END"
    )
    kind = (
        "CASE WHEN n % 10 = 1 THEN 'failed' ELSE 'paid' END, CASE WHEN n % 3 = 0 THEN 'qris' ELSE 'cash' END"
    )
    columns = f"n, n, CASE WHEN n % 10 = 0 THEN n ELSE {WALK_IN} END, {amount}, {kind}"
    times = f"{BEGAN_US} + CAST(n AS bigint) * {SECOND_US}, {BEGAN_US}"
    with database.write() as connection:
        for table, what in ((BILLS, "n, 100000, 0, 0"), (PAYMENTS, f"{columns}, {times}")):
            connection.execute(text(FILL.format(table=table, columns=what)), {"many": MANY})


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of a database with many payments."""
    with fresh_database(request.param, tmp_path_factory.mktemp("amounts"), request) as made:
        database = open_database(make_url(made))
        fill(database)
        if made.startswith("postgresql"):
            with database.write() as connection:
                connection.execute(text("ANALYZE payments"))
        database.close()
        yield made


@pytest.fixture(scope="module")
def listed(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Return a service over it."""
    service = Service({"DATABASE_URL": url}, "serve", "--no-worker", cwd=tmp_path_factory.mktemp("cwd"))
    yield service
    service.kill()


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """Return it without the service."""
    opened = open_database(make_url(url))
    yield opened
    opened.close()


def walk(service: Service, **asked: Any) -> list[list[int]]:
    """Return the ids of each page, following `next_cursor`."""
    pages, parameters = [], dict(asked)
    while True:
        answer = service.http.get("/payments", params=parameters)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        pages.append([payment["id"] for payment in page["payments"]])
        assert ("next" in answer.links) == bool(page["next_cursor"])
        if page["next_cursor"] is None:
            return pages
        parameters["cursor"] = page["next_cursor"]


def test_a_page_may_be_short_or_empty_and_its_cursor_leads_on(listed: Service) -> None:
    assert walk(listed, amount=RARE) == [RARE_IDS[:1], RARE_IDS[1:2], RARE_IDS[2:]]
    assert walk(listed, amount=NOBODYS) == [[], [], []]


def test_a_full_page_ends_where_it_is_full(listed: Service) -> None:
    newest = listed.http.get("/payments", params={"amount": COMMON, "limit": 200}).json()
    ids = [payment["id"] for payment in newest["payments"]]
    expected = [n for n in range(MANY, 0, -1) if n % 10 and n <= MANY - 3 and n not in RARE_IDS]
    assert ids == expected[:200]
    path = {"amount": COMMON, "limit": 200, "cursor": newest["next_cursor"]}
    following = listed.http.get("/payments", params=path).json()
    assert [payment["id"] for payment in following["payments"]] == expected[200:400]
    assert walk(listed, amount=RARE, limit=2) == [[RARE_IDS[0]], [RARE_IDS[1]], RARE_IDS[2:4], RARE_IDS[4:]]


def test_as_many_as_a_page_holds_are_one_page_more_until_the_end(listed: Service) -> None:
    """The payments behind those that were looked at may be of the amount too."""
    assert walk(listed, amount=FIRST_PAGES, limit=3) == [[MANY, MANY - 1, MANY - 2], [], []]


OTHER_FILTERS: list[dict[str, Any]] = [
    {"user_id": WALK_IN},
    {"status": "paid"},
    {"status": "failed"},
    {"method": "cash"},
    {"method": "qris", "status": "paid", "user_id": WALK_IN},
    {"created_from": "2026-02-01T00:00:00Z", "created_to": "2026-02-01T06:00:00Z"},
    {"order_id": 11},
    {"order_id": 12},
]


def test_it_goes_with_every_other_filter(listed: Service) -> None:
    """All in one test: each process that has one of several would fill a database for it."""
    file = listed.http.get("/payments", params={"amount": RARE}, headers={"Accept": "text/csv"}).text
    rare = list(csv.DictReader(io.StringIO(file)))
    assert [int(row["id"]) for row in rare] == RARE_IDS
    for also in OTHER_FILTERS:
        expected = [int(row["id"]) for row in rare if fits(row, also)]
        assert [each for page in walk(listed, amount=RARE, **also) for each in page] == expected, also
        if "order_id" in also:
            assert walk(listed, amount=RARE, **also) == [expected], "it is one page"


def fits(row: Mapping[str, str], filters: Mapping[str, Any]) -> bool:
    """Say whether a line of the file is of a payment that the filters select."""
    begins, ends = filters.get("created_from", ""), filters.get("created_to", "9999")
    if not begins <= row["created_at"] < ends:
        return False
    return all(row[name] == str(value) for name, value in filters.items() if not name.startswith("created"))


def test_csv_has_all_of_them(listed: Service) -> None:
    for amount, expected in ((RARE, RARE_IDS), (NOBODYS, [])):
        answer = listed.http.get("/payments", params={"amount": amount}, headers={"Accept": "text/csv"})
        assert [int(row["id"]) for row in csv.DictReader(io.StringIO(answer.text))] == expected


def test_a_cursor_belongs_to_its_amount(listed: Service) -> None:
    cursor = listed.http.get("/payments", params={"amount": RARE}).json()["next_cursor"]
    for other in ({}, {"amount": COMMON}, {"amount": RARE, "user_id": WALK_IN}):
        answer = listed.http.get("/payments", params=other | {"cursor": cursor})
        assert (answer.status_code, answer.json()["error"]) == (
            400,
            "cursor bukan yang diberikan oleh daftar ini",
        )


@pytest.mark.parametrize("wrong", ["0", "-1", "1.0", "x", "", "9007199254740992", "1e3", "٣"])
def test_what_is_no_amount_is_refused_by_its_name(shared: Service, wrong: str) -> None:
    answer = shared.http.get("/payments", params={"amount": wrong})
    assert answer.status_code == 400
    assert answer.json() == {"error": "amount harus bilangan bulat dari 1 sampai 9007199254740991"}


def test_what_is_paid_meanwhile_neither_repeats_nor_hides_another(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """A page ends at a payment, not after so many: what is made meanwhile moves the next one nowhere."""
    with fresh_database("sqlite", tmp_path, request) as made:
        database = open_database(make_url(made))
        fill(database)
        pages: list[list[int]] = []
        after: Position | None = None
        for number in range(3):
            with database.read() as connection:
                page = find_page(connection, Selection(amount=RARE), after, 50)
            pages.append([row["id"] for row in page.payments])
            after = page.following
            with database.write() as connection:
                for new in range(MANY + 1 + 100 * number, MANY + 101 + 100 * number):
                    values = {"id": new, "at": BEGAN_US + new * SECOND_US, "amount": RARE}
                    connection.execute(text(NEW_BILL), values)
                    connection.execute(text(NEW_PAYMENT), values)
        database.close()
    assert (pages, after) == ([RARE_IDS[:1], RARE_IDS[1:2], RARE_IDS[2:]], None)


NO_ONES = [
    Selection(amount=NOBODYS),
    Selection(amount=NOBODYS, status=Status.PAID),
    Selection(amount=NOBODYS, user_id=WALK_IN),
    Selection(amount=NOBODYS, method=Method.CASH),
    Selection(amount=NOBODYS, status=Status.FAILED),
    Selection(amount=NOBODYS, created_from_us=BEGAN_US, created_to_us=BEGAN_US + MANY * SECOND_US),
    Selection(amount=COMMON),
    Selection(amount=NOBODYS, order_id=77),
]
DEEP = Position(BEGAN_US + (MANY - 3_000) * SECOND_US, MANY - 3_000)


class Explain:
    """Stands where `find_page` reads, and notes the plan."""

    def __init__(self, connection: Any, word: str) -> None:
        self._connection = connection
        self._word = word
        self.plans: list[Any] = []

    def execute(self, query: Any) -> Any:
        """Explain the query, then run it."""
        compiled = str(query.compile(self._connection, compile_kwargs={"literal_binds": True}))
        self.plans.append(self._connection.exec_driver_sql(f"{self._word} {compiled}").all())
        return self._connection.execute(query)


def test_a_page_looks_at_no_more_than_it_may(database: Database) -> None:
    """PostgreSQL's own count of the rows that its scans read; SQLite's plan, which sorts nothing."""
    for selection in NO_ONES:
        for after in (None, DEEP):
            look(database, selection, after)


def look(database: Database, selection: Selection, after: Position | None) -> None:
    """Find a page, and hold its plan against what it may look at."""
    with database.read() as connection:
        if connection.dialect.name == "postgresql":
            explain = Explain(connection, "EXPLAIN (ANALYZE, FORMAT JSON)")
            find_page(explain, selection, after, 50)  # type: ignore[arg-type]  # all that it uses
            [[[[shown]]]] = explain.plans
            # the payments themselves, their places in the index to find the last one, and that one
            assert scanned(shown["Plan"]) <= 2 * LOOKED_AT_MAX + 1
        else:
            explain = Explain(connection, "EXPLAIN QUERY PLAN")
            find_page(explain, selection, after, 50)  # type: ignore[arg-type]
            said = [row.detail for plan in explain.plans for row in plan]
            sorts = [line for line in said if "TEMP B-TREE" in line]
            assert bool(sorts) == (selection.order_id is not None), "an order's few are sorted"
            reads = [line for line in said if "payments" in line]
            assert reads
            assert all("INDEX" in line or "PRIMARY KEY" in line for line in reads), said


def scanned(node: Any) -> int:
    """Return how many rows the scans of tables and indexes below a node read."""
    below = sum(scanned(child) for child in node.get("Plans", []))
    if "Relation Name" not in node:
        return below
    read = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
    return below + int(read * node.get("Actual Loops", 1))


def test_a_cursor_of_before_there_were_amounts_stays_good(listed: Service) -> None:
    """This one stood in our description then."""
    old = "user_id=3&limit=1&cursor=MS4xNzk1NDk4MTYxNjk4ODUxLjUuNGVlZDg0ZDgyY2U4"
    assert listed.http.get(f"/payments?{old}").status_code == 200
