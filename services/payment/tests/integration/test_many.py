"""Many processes over one PostgreSQL: shared port, rolling restart, database trouble, fair workers."""

import random
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import URL, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from conftest import ALSO_POOLED, POOLED
from payers import Load, payments_of
from payment.core.neighbours import ORDER
from payment.core.states import Outcome, State
from payment.ledger import claims as claiming
from payment.ledger import judgements, outages
from payment.ledger.judgements import Judgement
from payment.storage.base import Database
from payment.storage.migrate import MIGRATIONS, SCHEMA_REVISION
from payment.storage.opening import open_database
from payment.storage.postgres_engines import LONG_POOL_SIZE
from payment.storage.postgres_session import ROUND_TRIP_TIMEOUT_S
from postgres import PostgresServer, create_database, drop_database
from processes import Service, Stub, Waiting, wait_for, wait_until_all_told, wait_until_told
from programs import Process
from scrapes import scrape

Start = Callable[..., Service]


def test_a_rolling_restart_of_two_processes_on_one_port_fails_no_request(
    start: Start, database_url: str
) -> None:
    first = start("serve", "--no-worker", REUSE_PORT="true")
    port = first.url.rsplit(":", 1)[1]
    second = start("serve", "--no-worker", REUSE_PORT="true", PORT=port)
    load = Load(first.url, closing=4)
    for service in (first, second, first, second):
        load.wait_for_more(60)
        service.environment["PORT"] = port
        began_s = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - began_s < 10
        service.start()
    load.stop()
    assert set(load.answers) == {201}, load.answers
    assert payments_of(database_url) == load.booked


def test_a_start_that_fails_beside_others_on_the_port_costs_their_callers_nothing(
    start: Start, tmp_path: Path
) -> None:
    service = start("serve", "--no-worker", REUSE_PORT="true")
    load = Load(service.url, guests=4, closing=4)
    settings = service.environment | {"PORT": service.url.rsplit(":", 1)[1]}
    (tmp_path / "wrong.yaml").write_text("openapi: 3.0.3\n")
    for environment in (
        {"DATABASE_URL": f"sqlite:///{tmp_path / 'nowhere' / 'payment.db'}"},
        {"OPENAPI_FILE": str(tmp_path / "wrong.yaml")},
    ):
        load.wait_for_more(50)
        failed = Process(("payment", ("serve",)), settings | environment)
        assert failed.wait(60) != 0
        failed.kill()
    load.stop()
    assert set(load.answers) == {201}, load.answers
    assert load.slowest_s < 15


@ALSO_POOLED
def test_two_workers_share_a_lane(start: Start, order: Stub) -> None:
    service = start("serve", "--no-worker")
    order.fault(slow_ms=20)
    settings = {"LANE_CONCURRENCY": "2", "LOG_LEVEL": "debug", "POLL_INTERVAL_S": "0.1"}
    workers = [start("worker", **settings) for _ in range(2)]
    told = 0

    def shares() -> list[int]:
        return [
            sum(line["event"] == "told" and line["service"] == "order" for line in worker.log())
            for worker in workers
        ]

    def each_has_told_many() -> bool:
        """One that stalls tells fewer: then there is more to tell."""
        nonlocal told
        service.book(range(told + 1, told + 201))  # faster than they can be told
        told += 200
        wait_for(lambda: len(order.states()) == told, 60)
        wait_for(lambda: sum(shares()) == told, what="their last lines")
        return min(shares()) > 40

    wait_for(each_has_told_many, 60)
    assert len(order.received()) == told, "each was told once"


def test_a_walk_in_guest_gets_a_handful_of_puts_after_an_outage(start: Start, user: Stub) -> None:
    """One user id on every payment: no hot row while User is down, and one state to tell in the end."""
    service = start()
    user.kill()
    load = Load(service.url, user_id=7)
    wait_for(lambda: len(load.booked) > 200, 60)
    load.stop()
    user.start()
    wait_until_told(user, 7, within_s=60)
    wait_until_all_told(service, 60)
    assert len(user.received(7)) <= 5


@pytest.fixture
def server(end: ExitStack) -> PostgresServer:
    """A server of this test's own, to be stopped and killed."""
    server = PostgresServer()
    end.callback(server.remove)
    return server


@pytest.fixture
def beside(server: PostgresServer, order: Stub, user: Stub, end: ExitStack, tmp_path: Path) -> Service:
    """Our service with its worker beside that server."""
    url = create_database(server.url, "payment").render_as_string(hide_password=False)
    environment = {
        "DATABASE_URL": url,
        "ORDER_SERVICE_URL": order.url,
        "USER_SERVICE_URL": user.url,
        "LEASE_S": "2",
        "RETRY_INITIAL_S": "0.1",
    }
    database = open_database(make_url(url))
    database.migrate()
    database.close()
    service = Service(environment, cwd=tmp_path)
    end.callback(service.kill)
    return service


WAITING_FOR_LOCKS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
ON_POSTGRESQL = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
ON_POSTGRESQL_ALSO_POOLED = pytest.mark.parametrize("database_url", ["postgresql", POOLED[0]], indirect=True)


@ON_POSTGRESQL
def test_an_old_schema_is_refused_with_the_command_to_run(postgres: URL, start: Start) -> None:
    name = f"empty_{uuid4().hex}"
    empty = create_database(postgres, name).render_as_string(hide_password=False)
    service = start("serve", "--no-worker")  # for its way to run a command
    service.environment |= {"DATABASE_URL": empty, "PORT": "0"}
    for command in ("serve", "worker"):
        refused = service.cli(command)
        assert refused.returncode == 1
        assert "payment migrate" in refused.stderr
    assert service.cli("migrate").returncode == 0
    drop_database(postgres, name)


SLOW = """
from alembic import op

revision = "9999"
down_revision = "{newest}"


def upgrade() -> None:
    op.execute("SELECT pg_sleep({seconds})")
"""


def test_a_migration_may_take_longer_than_any_request(
    postgres: URL, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An index of a large table takes minutes; the time-outs are for requests."""
    folder = shutil.copytree(MIGRATIONS, tmp_path / "migrations")
    slow = SLOW.format(newest=SCHEMA_REVISION, seconds=ROUND_TRIP_TIMEOUT_S + 0.5)
    (folder / "versions" / "9999_slow.py").write_text(slow)
    monkeypatch.setattr("payment.storage.migrate.MIGRATIONS", folder)
    name = f"slow_{uuid4().hex}"
    database = open_database(create_database(postgres, name))
    assert database.migrate() is True
    assert database.schema_revision() == "9999"
    database.close()
    drop_database(postgres, name)


@ON_POSTGRESQL
@pytest.mark.parametrize("how", ["restart", "crash", "freeze"])
def test_a_database_that_goes_away_costs_503s_and_heals_by_itself(
    server: PostgresServer, beside: Service, order: Stub, end: ExitStack, how: str
) -> None:
    load = Load(beside.url)
    load.wait_for_more(50)
    if how == "crash":
        server.kill()
    elif how == "freeze":  # it accepts connections and says nothing
        server.send(signal.SIGSTOP)
        end.callback(server.send, signal.SIGCONT)
    else:
        server.stop()
    seen = load.answers[503]
    wait_for(lambda: load.answers[503] > seen + 8, 60, "503 while it is away")
    ready = beside.http.get("/readyz")
    assert ready.status_code == 503
    assert beside.http.get("/healthz").status_code == 200
    wait_for(lambda: ("payment_ready", 0.0) in scrape(beside).totals(), 60, "metrics that say so")
    refused = beside.pay(999_999)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    if how == "freeze":
        server.send(signal.SIGCONT)
    else:
        server.start()
    load.wait_for_more(50)
    load.stop()
    assert set(load.answers) == {201, 503}, load.answers
    assert load.slowest_s < 15
    assert "Traceback" not in "".join(beside.process.lines)
    assert payments_of(beside.environment["DATABASE_URL"]) == load.booked
    wait_for(lambda: order.states().keys() >= load.booked.keys(), 60, "Order knows all")


@ON_POSTGRESQL
def test_a_restart_of_the_database_at_a_quiet_moment_is_not_noticed(
    server: PostgresServer, beside: Service
) -> None:
    """All connections that wait in the pools are dead, and none of them costs a request."""
    ids = [beside.pay(order).json()["payment_id"] for order in range(1, 4)]
    with ThreadPoolExecutor(24) as pool:
        list(
            pool.map(lambda _: httpx.get(f"{beside.url}/reports/daily", timeout=30, verify=False), range(48))
        )
    for first in (
        partial(beside.pay, 4),
        partial(beside.refund, ids[0]),
        partial(beside.http.get, "/reports/daily"),
        partial(beside.http.get, f"/payments/{ids[0]}"),
    ):
        server.stop()
        server.start()
        assert first().status_code in {200, 201}, first
    assert [beside.pay(order).status_code for order in range(5, 20)] == [201] * 15


@ON_POSTGRESQL
def test_a_payment_does_not_wait_for_long_reads(beside: Service) -> None:
    """More reads than there are connections for them wait for a table; booking and looking up go on."""
    payment_id = beside.pay(1).json()["payment_id"]
    database = open_database(make_url(beside.environment["DATABASE_URL"]))
    orders = count(2)

    def all_of_it_comes_before_the_first_read_gives_up() -> bool:
        with ThreadPoolExecutor(24) as pool, database.write() as connection:
            connection.execute(text("LOCK TABLE refunds IN ACCESS EXCLUSIVE MODE"))
            path = f"{beside.url}/payments/{payment_id}/refunds"
            reads = [pool.submit(httpx.get, path, timeout=30, verify=False) for _ in range(24)]

            def is_any_done() -> bool:
                return any(read.done() for read in reads)

            wait_for(lambda: _waiting_for_locks(database) >= LONG_POOL_SIZE or is_any_done())
            assert beside.pay(next(orders)).status_code == 201
            assert beside.http.get(f"/payments/{payment_id}").status_code == 200
            assert beside.http.get("/readyz").status_code == 200
            is_first = not is_any_done()
            connection.rollback()
        return is_first

    # the reads wait for three seconds, for which a machine may stall
    wait_for(all_of_it_comes_before_the_first_read_gives_up, 60)
    database.close()


@ON_POSTGRESQL
def test_a_read_that_waits_too_long_for_a_connection_is_503(beside: Service) -> None:
    payment_id = beside.pay(3).json()["payment_id"]
    database = open_database(make_url(beside.environment["DATABASE_URL"]))
    with ThreadPoolExecutor(24) as pool, database.write() as connection:
        connection.execute(text("LOCK TABLE refunds IN ACCESS EXCLUSIVE MODE"))
        path = f"{beside.url}/payments/{payment_id}/refunds"
        reads = [pool.submit(httpx.get, path, timeout=30, verify=False) for _ in range(24)]
        answers = [read.result() for read in reads]
        connection.rollback()
    database.close()
    assert {answer.status_code for answer in answers} == {503}
    assert {answer.headers["retry-after"] for answer in answers} == {"1"}
    wait_for(lambda: any("QueuePool" in str(line) for line in beside.log() if line["event"] == "read failed"))


def _waiting_for_locks(database: Database) -> int:
    with database.read() as connection:
        return int(connection.execute(text(WAITING_FOR_LOCKS)).scalar_one())


@ON_POSTGRESQL
def test_a_signal_while_the_database_is_frozen_answers_503_and_exits_0(
    server: PostgresServer, beside: Service, end: ExitStack, tmp_path: Path
) -> None:
    worker = Service(beside.environment, "worker", cwd=tmp_path)
    end.callback(worker.kill)
    assert beside.pay(1_000).status_code == 201  # its connections stand
    server.send(signal.SIGSTOP)
    end.callback(server.send, signal.SIGCONT)
    waiting = Waiting(beside, range(1, 21))
    for process in (beside, worker):
        began_s = time.monotonic()
        assert process.stop() == 0
        assert time.monotonic() - began_s < 10
    waiting.join()
    assert set(waiting.answers.values()) == {503}
    assert "Traceback" not in "".join(beside.process.lines)


@ON_POSTGRESQL
def test_a_worker_hears_of_a_payment_of_another_process_at_once(start: Start, order: Stub) -> None:
    """LISTEN/NOTIFY: polling alone would take a minute."""
    service = start("serve", "--no-worker")
    start("worker", POLL_INTERVAL_S="60")
    time.sleep(1)  # the worker's first look is over
    service.pay(1)
    wait_until_told(order, 1)


@ON_POSTGRESQL_ALSO_POOLED
def test_workers_of_one_lane_do_not_wait_for_each_other_in_a_circle(start: Start, database_url: str) -> None:
    """Claims, settlements and ends of outages of four workers at once, with payments that come meanwhile."""
    service = start("serve", "--no-worker")
    load = Load(service.url, guests=4)
    database = open_database(make_url(database_url))
    began_s = time.monotonic()
    errors: list[SQLAlchemyError] = []
    settled: Counter[State] = Counter()

    def is_enough() -> bool:
        settled_min = min(settled[State.DELIVERED], settled[State.WAITING])
        return (time.monotonic() - began_s > 5 and settled_min > 100) or time.monotonic() - began_s > 60

    def work(owner: str) -> None:
        dice = random.Random(owner)
        judged: list[Judgement] = []
        while not is_enough():
            now_us = time.time_ns() // 1000
            try:
                with database.write() as connection:
                    judgements.record(connection, ORDER, owner, judged, now_us)
                    settled.update(item.state for item in judged)
                    claims = claiming.claim(
                        connection,
                        ORDER,
                        owner,
                        now_us,
                        lease_us=30_000_000,
                        resend_after_us=50_000,
                        limit=16,
                        probing=False,
                    )
                with database.write() as connection:
                    outages.end_outage(connection, ORDER, now_us)
            except SQLAlchemyError as error:
                errors.append(error)
                return
            dice.shuffle(claims)  # they end in any order
            judged = [
                Judgement(claim, State.DELIVERED, Outcome.DELIVERED, resend_us=now_us + 50_000)
                if dice.random() < 0.3
                else Judgement(claim, State.WAITING, Outcome.OUTAGE, next_attempt_us=now_us + 200_000)
                for claim in claims
            ]

    workers = [threading.Thread(target=work, args=(f"worker {n}",)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    load.stop()
    database.close()
    assert [str(error) for error in errors] == []
    assert min(settled[State.DELIVERED], settled[State.WAITING]) > 100
    assert set(load.answers) == {201}


CROSS_WHOEVER_WAITS = """
    DO $$ BEGIN
        WHILE NOT EXISTS (SELECT FROM pg_locks WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))) LOOP
            PERFORM pg_sleep(0.01);
        END LOOP;
        PERFORM FROM notifications WHERE service = 'order' FOR UPDATE;
    END $$"""
"""PostgreSQL ends who finds himself in a circle after a second's wait: the worker, if we close it by then."""


@ON_POSTGRESQL_ALSO_POOLED
def test_a_worker_that_the_database_ends_for_a_deadlock_tries_its_turn_again(
    start: Start, order: Stub, database_url: str
) -> None:
    service = start("serve", "--no-worker")
    order.fault(hang_s=60, times=1)
    worker = start("worker", LANE_CONCURRENCY="1", READ_TIMEOUT_S="60")
    service.pay(1)
    database = open_database(make_url(database_url))

    def ask(question: str) -> int:
        with database.read() as connection:
            return int(connection.execute(text(question)).scalar_one())

    wait_for(lambda: order.received(1), what="the PUT that hangs")
    with database.write() as crossing:
        crossing.execute(text("SELECT * FROM leases WHERE service = 'order' FOR UPDATE"))
        threading.Timer(0.2, order.heal).start()  # the PUT is answered when this is on its way
        crossing.execute(text(CROSS_WHOEVER_WAITS))
    wait_for(lambda: ask("SELECT count(*) FROM notifications WHERE state = 'delivered'") == 2)
    database.close()
    assert len(order.received(1)) == 1
    events = [line["event"] for line in worker.log()]
    assert "lane crossed another" in events
    assert "outbox out of reach" not in events
