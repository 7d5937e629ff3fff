"""Behind a real PgBouncer: it starts, keeps its promises, and leaves nothing in sessions that others get."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import URL, Connection, make_url, text

from conftest import POOLED
from forked import run as run_program
from payment.storage.batch import BatchTransaction
from payment.storage.errors import Migrating
from payment.storage.migrate import SCHEMA_REVISION
from payment.storage.opening import open_database
from payment.storage.postgres import Postgres
from pgbouncer import PgBouncer
from postgres import create_database, drop_database
from processes import Service, Stub, wait_for, wait_until_all_told, wait_until_told
from programs import Process

Start = Callable[..., Service]
EVERYWHERE = pytest.mark.parametrize("database_url", ["postgresql", *POOLED], indirect=True)
POOLED_BY_TRANSACTION = pytest.mark.parametrize("database_url", [POOLED[0]], indirect=True)
IN_BOTH_MODES = pytest.mark.parametrize("database_url", POOLED, indirect=True)

SETTINGS = """
    SELECT current_setting('transaction_isolation') AS isolation, current_setting('statement_timeout') AS a,
        current_setting('lock_timeout') AS b, current_setting('idle_in_transaction_session_timeout') AS c
"""
OURS = ("read committed", "5s", "3s", "10s")
HOSTILE = {
    "default_transaction_isolation": "'serializable'",
    "statement_timeout": "'90s'",
    "lock_timeout": "'80s'",
    "idle_in_transaction_session_timeout": "'70s'",
}
THEIRS = ("serializable", "90s", "80s", "70s")
TRACES = ("lane crossed another", "outbox out of reach", "batch failed", "read failed", "nothing expires")


def run(url: URL | str, *statements: str) -> Any:
    """Run statements on a plain connection; return the first row of the last."""
    address = url if isinstance(url, str) else url.render_as_string(hide_password=False)
    with psycopg.connect(address, autocommit=True, prepare_threshold=None) as connection:
        for statement in statements:
            cursor = connection.execute(statement.encode())
        return cursor.fetchone() if cursor.description else None


@pytest.fixture
def defaults_of_another_mind(direct: str) -> None:
    """A database whose defaults are not what we count on."""
    name = make_url(direct).database
    run(direct, *(f'ALTER DATABASE "{name}" SET {key} = {value}' for key, value in HOSTILE.items()))


@IN_BOTH_MODES
def test_it_starts_books_and_tells(start: Start, order: Stub, user: Stub) -> None:
    service = start()
    ids = [service.pay(n, user_id=n).json()["payment_id"] for n in range(1, 31)]
    assert service.refund(ids[0]).status_code == 201
    for each in ids:
        assert service.http.get(f"/payments/{each}").status_code == 200
    assert service.http.get("/readyz").status_code == 200
    wait_for(lambda: len(order.states()) == len(user.states()) == 30)
    wait_until_all_told(service)
    said = "not listening through a pooler, see DATABASE_DIRECT_URL"
    wait_for(lambda: said in {line["event"] for line in service.log()})
    assert {line["event"] for line in service.log()}.isdisjoint(TRACES)
    assert service.stop() == 0


@EVERYWHERE
@pytest.mark.usefixtures("defaults_of_another_mind")
def test_every_transaction_has_our_isolation_and_time_outs(database_url: str, direct: str) -> None:
    assert run(direct, SETTINGS) == THEIRS
    database = open_database(make_url(database_url))

    def settings(connection: Connection) -> tuple[Any, ...]:
        return tuple(connection.execute(text(SETTINGS)).one())

    for transaction in (database.write, database.read):
        with transaction() as connection:
            assert settings(connection) == OURS

    def of_batch(transaction: BatchTransaction) -> list[tuple[Any, ...]]:
        unlocked = transaction.read_unlocked((text(SETTINGS), {}))
        rows = transaction.read([1, 2], [(text(SETTINGS), {})])
        return [tuple(row) for row in [*unlocked, *rows[0]]]

    async def of_event_loop() -> None:
        assert await database.run_batch(of_batch) == [OURS] * 2
        for is_short in (True, False):
            assert await database.run_read(settings, is_short=is_short) == OURS
        assert await database.run_write(settings) == OURS
        await database.aclose()

    asyncio.run(of_event_loop())


@IN_BOTH_MODES
@pytest.mark.usefixtures("defaults_of_another_mind")
def test_whoever_gets_a_session_after_us_finds_nothing_of_ours(start: Start, database_url: str) -> None:
    service = start()
    for n in range(1, 41):
        assert service.pay(n).status_code == 201
    assert service.cli("migrate").returncode == 0
    assert service.stop() == 0  # a session that is pooled as a whole is free only now
    pids = set()
    for _ in range(60):  # each in another session
        with psycopg.connect(database_url, autocommit=True, prepare_threshold=None) as connection:
            assert connection.execute(SETTINGS).fetchone() == THEIRS
            left = connection.execute("""
                SELECT pg_backend_pid(), (SELECT count(*) FROM pg_prepared_statements),
                    (SELECT count(*) FROM pg_listening_channels()),
                    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())
            """).fetchone()
            assert left is not None
            assert left[1:] == (0, 0, 0)
            pids.add(left[0])
    assert len(pids) > 1


@EVERYWHERE
@pytest.mark.usefixtures("defaults_of_another_mind")
def test_lanes_of_two_processes_work_where_the_default_is_serializable(
    start: Start, order: Stub, user: Stub
) -> None:
    services = [start(POLL_INTERVAL_S="0.05"), start(POLL_INTERVAL_S="0.05")]
    with ThreadPoolExecutor(8) as guests:
        answers = list(guests.map(lambda n: services[n % 2].pay(n, user_id=n), range(1, 201)))
    assert {answer.status_code for answer in answers} == {201}
    wait_for(lambda: len(order.states()) == len(user.states()) == 200, 20)
    wait_until_all_told(services[0])
    for service in services:
        assert {line["event"] for line in service.log()}.isdisjoint(TRACES)


@IN_BOTH_MODES
def test_with_an_address_past_it_a_worker_hears_of_a_payment_at_once(
    start: Start, order: Stub, direct: str
) -> None:
    service = start("serve", "--no-worker")
    start("worker", POLL_INTERVAL_S="60", DATABASE_DIRECT_URL=direct.replace("postgresql:", "postgres:"))
    wait_for(lambda: run(direct, IS_LISTENING), what="it listens")
    service.pay(1)
    wait_until_told(order, 1)


# what it said last: it looks each second whether the server lives
IS_LISTENING = """
    SELECT 1 FROM pg_stat_activity
    WHERE datname = current_database() AND (query LIKE 'LISTEN%' OR query = 'SELECT 1')
"""


@POOLED_BY_TRANSACTION
def test_without_one_it_looks_now_and_then(start: Start, order: Stub) -> None:
    service = start("serve", "--no-worker")
    worker = start("worker", POLL_INTERVAL_S="0.2")
    service.pay(1)
    wait_until_told(order, 1)
    assert "not listening" not in {line["event"] for line in worker.log()}


# --- migrations --------------------------------------------------------------------------------------


@pytest.fixture(params=["direct", *POOLED])
def empty(
    request: pytest.FixtureRequest, postgres: URL, poolers: Callable[[str], PgBouncer]
) -> Iterator[URL]:
    """The URL of an empty database."""
    name = f"empty_{uuid4().hex}"
    url = create_database(postgres, name)
    yield url if request.param == "direct" else poolers(request.param).in_front_of(url)
    drop_database(postgres, name)


ADVISORY = """
    SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database
    WHERE locktype = 'advisory' AND datname = current_database()
"""


NO_END = (
    "CREATE FUNCTION no_end() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); END'",
    "CREATE EVENT TRIGGER no_end ON ddl_command_start EXECUTE FUNCTION no_end()",
)
"""A database in which a migration comes to no end: so it is killed in its middle, whenever that is."""


def test_of_migrations_at_once_each_succeeds_and_no_lock_stays(empty: URL) -> None:
    databases = [open_database(empty) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        assert any(pool.map(lambda database: database.migrate(), databases))
    for database in databases:
        assert database.schema_revision() == SCHEMA_REVISION
        database.close()
    assert run(empty, ADVISORY) == (0,)


def test_a_migration_waits_for_another_for_a_while_and_says_whose_it_is(
    empty: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("payment.storage.postgres_migrations.MIGRATION_WAIT_S", 0.3)
    holder, database = open_database(empty), open_database(empty)
    with holder.migrating():
        with pytest.raises(
            Migrating, match=r"takes more than 0\.3 s: process \d+ \(payment\) of 127\.0\.0\.1"
        ):
            database.migrate()
        assert database.schema_revision() is None
    assert database.migrate() is True
    holder.close()
    database.close()


@pytest.mark.parametrize("empty", [POOLED[0]], indirect=True)
def test_a_migration_that_is_killed_behind_a_pooler_keeps_the_next_one_a_moment_only(empty: URL) -> None:
    """Its lock ends with its transaction, and that with its connection to the pooler."""
    run(empty, *NO_END)
    holder = Process(("payment", ("migrate",)), {"DATABASE_URL": empty.render_as_string(hide_password=False)})
    wait_for(lambda: run(empty, ADVISORY) != (0,), what="it holds the lock")
    holder.kill()
    run(empty, "DROP EVENT TRIGGER no_end")
    database = open_database(empty)
    began_s = time.monotonic()
    database.migrate()
    assert time.monotonic() - began_s < 30
    assert database.schema_revision() == SCHEMA_REVISION
    database.close()
    assert run(empty, ADVISORY) == (0,)


@POOLED_BY_TRANSACTION
def test_migrations_go_by_the_direct_address(database_url: str, direct: str, tmp_path: Path) -> None:
    """What is behind the pooler need not even answer."""
    run(direct, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    environment = {"DATABASE_URL": "postgresql://u@127.0.0.1:1/d", "DATABASE_DIRECT_URL": direct}
    ended = run_program("payment", ["migrate"], env=environment, cwd=tmp_path, timeout_s=30)
    assert ended.returncode == 0, ended.stderr
    database = open_database(make_url(database_url))
    assert database.schema_revision() == SCHEMA_REVISION
    database.close()


def test_a_migration_that_breaks_off_leaves_no_lock(empty: URL) -> None:
    database = open_database(empty)
    with pytest.raises(KeyError), database.migrating():
        raise KeyError
    wait_for(lambda: run(empty, ADVISORY) == (0,))
    assert database.migrate() is True
    database.close()


@pytest.mark.parametrize("empty", POOLED, indirect=True)
def test_whoever_gets_the_session_of_a_migration_finds_its_own_settings(empty: URL) -> None:
    before = run(empty, SETTINGS)
    database = open_database(empty)
    assert database.migrate() is True
    database.close()
    for _ in range(10):
        assert run(empty, SETTINGS) == before


@POOLED_BY_TRANSACTION
def test_a_listener_that_is_stopped_lets_its_connections_go(database_url: str, direct: str) -> None:
    stop, heard = threading.Event(), threading.Event()
    with ExitStack() as end:
        listener, teller = Postgres(make_url(database_url), make_url(direct)), open_database(make_url(direct))
        end.callback(listener.close)
        end.callback(teller.close)
        listener.listen(heard.set, stop)
        assert heard.wait(20), "what was booked before"
        heard.clear()
        with teller.write() as connection:
            connection.execute(text("NOTIFY payment_outbox"))
        assert heard.wait(20)
        stop.set()
