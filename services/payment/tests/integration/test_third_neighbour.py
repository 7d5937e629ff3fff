"""A third neighbour, Loyalty, which is told of every paid payment.

All that it needs is here: its record, who hears, what it is told, and the check that a migration changes.
"""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from sqlalchemy import Connection, make_url

from payment.core.cause import Cause
from payment.core.neighbours import NEIGHBOURS, Neighbour
from payment.core.settings import read_settings
from payment.core.states import Method, Status, Verdict
from payment.ledger.audience import HEARS, Change
from payment.ledger.batch import book
from payment.ledger.listing import Position
from payment.ledger.outbox import find_told
from payment.ledger.requests import PaymentRequest
from payment.ledger.standing import SOURCES, Source
from payment.storage.base import Database
from payment.storage.opening import open_database
from payment.storage.tables import payments
from payment.telling.downstream import client_of
from payment.telling.reconcile import reconcile, tell_again
from payment.telling.worker import Worker
from processes import Stub, wait_for

LOYALTY = Neighbour(
    name="loyalty",
    default_url="http://localhost:5007",
    placeholder="payment_id",
    put_path="/points/{payment_id}",
    put_field="status",
    read_path="/points/{payment_id}",
    read_field="known",
    is_waited_for=False,
)
_itself = payments.alias()


def loyalty_hears(change: Change) -> int | None:
    return change.payment_id if change.status is Status.PAID else None


TOLD_LOYALTY = Source(
    target_id=payments.c.id,
    rows=_itself,
    of_target=lambda payment_id: _itself.c.id == payment_id,
    facts=(_itself.c.status,),
    status=Status,
    seal=(_itself.c.updated_us,),
)


class Loyalty(ThreadingHTTPServer):
    """Loyalty itself: what it was told, by the path of each PUT; `status` is what it answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.told: dict[str, str] = {}
        self.status = 200

    @property
    def url(self) -> str:
        """Return where it is."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Loyalty

    def do_PUT(self) -> None:
        """Take what is told."""
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.status == 200:
            self.server.told[self.path] = said["status"]
        self._answer(self.server.status, {})

    def do_GET(self) -> None:
        """Say what was told."""
        known = self.server.told.get(self.path)
        self._answer(200 if known else 404, {"known": known})

    def _answer(self, status: int, said: dict[str, str | None]) -> None:
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def loyalty() -> Iterator[Loyalty]:
    """Loyalty, running."""
    with Loyalty() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def database(
    monkeypatch: pytest.MonkeyPatch, database_url: str, order: Stub, user: Stub, loyalty: Loyalty
) -> Iterator[Database]:
    """A database that takes news for Loyalty, with Loyalty among the neighbours and in the settings."""
    monkeypatch.setitem(NEIGHBOURS, "loyalty", LOYALTY)
    monkeypatch.setitem(HEARS, "loyalty", loyalty_hears)
    monkeypatch.setitem(SOURCES, "loyalty", TOLD_LOYALTY)
    for name, value in {
        "DATABASE_URL": database_url,
        "ORDER_SERVICE_URL": order.url,
        "USER_SERVICE_URL": user.url,
        "LOYALTY_SERVICE_URL": loyalty.url,
        "POLL_INTERVAL_S": "0.3",
        "RETRY_INITIAL_S": "60",
    }.items():
        monkeypatch.setenv(name, value)
    opened = open_database(make_url(database_url))
    with opened.write() as connection:
        let_loyalty_in(connection)
    yield opened
    opened.close()


def let_loyalty_in(connection: Connection) -> None:
    """Change the check as a migration does, see 0002."""
    was, is_now = "service IN ('order', 'user')", "service IN ('order', 'user', 'loyalty')"
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("ALTER TABLE notifications DROP CONSTRAINT ck_notifications_service")
        connection.exec_driver_sql(f"ALTER TABLE notifications ADD CHECK ({is_now})")
        return
    version = connection.exec_driver_sql("PRAGMA schema_version").scalar_one()
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    connection.exec_driver_sql("UPDATE sqlite_schema SET sql = replace(sql, ?, ?)", (was, is_now))
    connection.exec_driver_sql(f"PRAGMA schema_version = {version + 1}")
    connection.exec_driver_sql("PRAGMA writable_schema = OFF")


@pytest.fixture
def worker(database: Database) -> Iterator[Worker]:
    """A worker with the settings of the environment, running."""
    running = Worker(database, read_settings())
    running.start()
    yield running
    running.stop()


def test_a_third_neighbour_is_told_through_its_outage_and_compared(
    database: Database, worker: Worker, order: Stub, user: Stub, loyalty: Loyalty
) -> None:
    settings = read_settings()
    loyalty.status = 503
    paid = [PaymentRequest(number, number, 20_000, Method.CASH) for number in range(1, 6)]
    pending = PaymentRequest(6, 6, 20_000, Method.CASH, Status.PENDING)
    with database.batch() as transaction:
        book(transaction, [*paid, pending], time.time_ns() // 1000)
    worker.wake()

    def told_others() -> bool:
        with database.read() as connection:
            return len(find_told(connection, range(1, 7))) == 6

    wait_for(told_others, what="Order and User are told, and `Prefer: wait` waits for them alone")
    assert [len(each.states()) for each in (order, user)] == [6, 6]
    assert loyalty.told == {}
    loyalty.status = 200
    everything = {f"/points/{number}": "paid" for number in range(1, 6)}
    wait_for(lambda: loyalty.told == everything, what="Loyalty is told what its outage kept from it")

    def verdicts() -> dict[tuple[str, int], Verdict]:
        asked = [client_of(each, settings) for each in NEIGHBOURS.values()]
        chunks = reconcile(
            database, asked, after=Position(0, 0), until_us=time.time_ns() // 1000, concurrency=4
        )
        findings = [finding for chunk in chunks for finding in chunk.findings]
        with database.write() as connection:
            tell_again(connection, findings, Cause())
        return {(each.target.neighbour.name, each.target.id): each.verdict for each in findings}

    wait_for(lambda: set(verdicts().values()) == {Verdict.AGREES}, what="all agree")
    assert {target_id for name, target_id in verdicts() if name == "loyalty"} == {1, 2, 3, 4, 5}
    loyalty.told["/points/3"] = "failed"
    assert verdicts()["loyalty", 3] is Verdict.DIFFERS
    worker.wake()
    wait_for(lambda: loyalty.told == everything, what="Loyalty is told again")


def test_each_neighbour_has_its_functions() -> None:
    assert list(NEIGHBOURS) == list(HEARS) == list(SOURCES)
    assert all(name == neighbour.name for name, neighbour in NEIGHBOURS.items())
