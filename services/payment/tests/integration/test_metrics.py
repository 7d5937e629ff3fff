"""Metrics: each says what happened, on both databases, of one process and of several."""

import inspect
import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from forked import run
from key_holders import Caller, holder
from payment.core.states import State
from payment.ledger import backlog
from payment.storage.opening import open_database
from payment.watching import census
from ports import free_port
from processes import Service, Stub, wait_for, wait_until_all_told
from promql import catalogue, known_metrics, names
from scrapes import Scrape, scrape, scrape_worker

Start = Callable[..., Service]


def count(seen: Scrape, operation: str, status: int) -> float:
    """Return how many requests of an operation were answered so."""
    return seen.value("payment_requests_total", operation=operation, status=str(status))


def test_requests_are_counted_by_operation_and_status(start_alone: Service) -> None:
    start_alone.pay(1)
    start_alone.pay(1)
    start_alone.pay(0)
    start_alone.http.get("/payments/1")
    start_alone.http.get("/nothing")
    start_alone.http.request("DELETE", "/payments")
    start_alone.http.get("/payments", headers={"X-Long": "x" * 70_000})
    seen = scrape(start_alone)
    assert [count(seen, "create_payment", status) for status in (201, 409, 400)] == [1, 1, 1]
    assert count(seen, "get_payment", 200) == 1
    assert [count(seen, "none", status) for status in (404, 405, 431)] == [1, 1, 1]
    assert seen.value("payment_requests_total") == 7
    assert seen.value("payment_request_seconds_count", operation="create_payment") == 3
    assert 0 < seen.value("payment_request_seconds_sum", operation="create_payment") < 10
    assert seen.value("payment_request_seconds_bucket", operation="create_payment", le="+Inf") == 3
    assert seen.value("payment_requests_in_flight") == 1, "this scrape"
    assert count(scrape(start_alone), "show_metrics", 200) == 1


def test_the_table_in_the_documentation_is_what_a_scrape_shows(start: Start) -> None:
    """Names, types, labels and the bounds of the histograms."""
    service = start()
    service.pay(1)
    wait_until_all_told(service)
    wait_for(lambda: "payment_ready" in scrape(service).samples)
    seen = scrape(service)
    own = {name for name in seen.samples if not name.startswith("process_")}
    documented = {name: each for name, each in known_metrics().items() if name.startswith("payment_")}
    assert own == set(documented)
    for name, metric in documented.items():
        for labels in seen.samples[name]:
            assert {label for label, _ in labels} == metric.labels, name
        if metric.bounds is not None:
            assert seen.values_of(name, "le") == metric.bounds
    kinds = {row["name"]: row["type"] for row in catalogue() if row["name"].startswith("payment_")}
    shown = {
        name + ("_total" if kind == "counter" else ""): kind
        for name, kind in seen.kinds.items()
        if name.startswith("payment_")
    }
    assert shown == kinds
    shown_process = {name for name in seen.samples if name.startswith("process_")}
    of_process = {name for row in catalogue() for name in names(row["name"]) if name.startswith("process_")}
    assert of_process <= shown_process


@pytest.mark.parametrize("row", catalogue(), ids=lambda row: row["name"].split(",")[0])
def test_each_metric_has_the_test_that_its_row_names(row: dict[str, str]) -> None:
    test = globals()[row["test"].strip("`")]
    assert row["name"].startswith("process_") or row["name"] in inspect.getsource(test)


def test_batches_the_database_and_the_build_are_shown(start_alone: Service) -> None:
    for number in (1, 2, 3):
        start_alone.pay(number)
    seen = scrape(start_alone)
    assert seen.value("payment_batch_size_count") == seen.value("payment_batch_size_sum") == 3
    assert seen.value("payment_batch_seconds_count") == 3
    assert seen.value("payment_queue_length") == 0
    assert seen.value("payment_database_wait_seconds_count", pool="booking") == 3
    assert "threads" in seen.values_of("payment_database_connections", "pool")
    (database,) = seen.values_of("payment_build_info", "database")
    assert start_alone.environment["DATABASE_URL"].startswith(database)
    assert seen.value("payment_build_info") == 1
    assert seen.value("process_resident_memory_bytes") > 1e7


def test_what_waits_for_a_batch_is_shown_while_the_database_is_locked(start_alone: Service) -> None:
    """The scrape itself waits for nobody."""
    database = open_database(make_url(start_alone.environment["DATABASE_URL"]))
    with database.write() as connection:
        if database.url.get_backend_name() == "postgresql":
            connection.execute(text("LOCK TABLE bills IN ACCESS EXCLUSIVE MODE"))
        payers: list[threading.Thread] = []

        def seen_with_one_payer_more() -> Scrape:
            """All that came so far may be in the one batch; whoever comes after it began waits."""
            payers.append(threading.Thread(target=start_alone.pay, args=[len(payers) + 1]))
            payers[-1].start()
            return scrape(start_alone)

        seen = wait_for(
            lambda: (now := seen_with_one_payer_more()).value("payment_queue_length") >= 1 and now
        )
        assert isinstance(seen, Scrape)
        assert seen.value("payment_requests_in_flight") >= 2
    for payer in payers:
        payer.join()
    database.close()
    assert scrape(start_alone).value("payment_queue_length") == 0


def test_telling_is_shown_from_the_commit_to_the_neighbours_yes(
    start: Start, order: Stub, user: Stub
) -> None:
    service = start()
    order.fault(answer=400, ids=[2])
    user.fault(answer=503, times=1, ids=[3])
    for number in (1, 2, 3):
        service.pay(number, user_id=number)
    wait_until_all_told(service)
    seen = wait_for(
        lambda: (now := scrape(service)).value("payment_told_seconds_count", service="user") == 3 and now
    )
    assert isinstance(seen, Scrape)
    assert seen.value("payment_told_seconds_count", service="order") == 2
    assert 0 < seen.value("payment_told_seconds_sum", service="order") < 20

    def attempts(service: str, outcome: str) -> float:
        return seen.value("payment_delivery_attempts_total", service=service, outcome=outcome)

    assert (attempts("order", "delivered"), attempts("order", "rejected")) == (2, 1)
    assert attempts("user", "delivered") >= 3  # a 503 may have been applied: told once more
    assert attempts("user", "outage") == 1
    assert attempts("order", "denied") == 0, "what never happened is there, or its first time has no rate"
    assert seen.value("payment_circuit_open") == 0
    dead = wait_for(lambda: scrape(service).value("payment_notifications", service="order", state="dead"))
    assert dead == 1


def test_what_piles_up_before_a_neighbour_that_is_down_is_shown(start: Start, order: Stub) -> None:
    service = start(CIRCUIT_FAILURES="1")
    order.kill()
    for number in (1, 2):
        service.pay(number, user_id=number)

    def seen() -> Scrape | None:
        now = scrape(service)
        waiting = now.value("payment_notifications", service="order", state="waiting")
        is_open = now.value("payment_circuit_open", service="order")
        oldest_s = now.value("payment_oldest_undelivered_seconds", service="order")
        return now if (waiting, is_open) == (2, 1) and oldest_s > 0.5 else None

    now = wait_for(seen)
    assert isinstance(now, Scrape)
    assert now.value("payment_circuit_open", service="user") == 0
    order.start()
    wait_until_all_told(service)
    wait_for(lambda: scrape(service).value("payment_oldest_undelivered_seconds", service="order") == 0)
    assert scrape(service).value("payment_circuit_open", service="order") == 0


def test_pending_payments_are_shown(start_alone: Service) -> None:
    for number in (1, 2, 3):
        start_alone.pay(number, fields={"status": "pending"})
    start_alone.settle(2, "paid")
    assert start_alone.pay(4, fields={"status": "pending"}).status_code == 201
    database = open_database(make_url(start_alone.environment["DATABASE_URL"]))
    with database.write() as connection:
        connection.execute(text("UPDATE payments SET expires_us = created_us WHERE id = 4"))
    database.close()

    def seen() -> bool:
        """Nobody lets the last one expire: there is no worker."""
        now = scrape(start_alone)
        is_counted = now.value("payment_pending") == 3 and now.value("payment_oldest_pending_seconds") > 0
        return is_counted and now.value("payment_overdue_seconds") > 0

    wait_for(seen)


def test_late_money_is_shown_until_somebody_says_what_became_of_it(start_alone: Service) -> None:
    for number in (1, 2):
        payment_id = start_alone.pay(number, fields={"status": "pending"}).json()["payment_id"]
        start_alone.settle(payment_id, "failed")
        start_alone.pay(number)
        assert start_alone.settle(payment_id, "paid").status_code == 409
    wait_for(lambda: scrape(start_alone).value("payment_late") == 2)
    assert scrape(start_alone).value("payment_oldest_late_seconds") > 0
    for payment in start_alone.http.get("/payments?late=true").json()["payments"]:
        start_alone.http.post(f"/payments/{payment['id']}/late", json={"resolution": "kept"})
    wait_for(lambda: scrape(start_alone).value("payment_late") == 0)
    assert scrape(start_alone).value("payment_oldest_late_seconds") == 0


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_an_open_transaction_that_holds_the_feed_back_is_shown(start_alone: Service) -> None:
    """On SQLite there is none: its ids come in the order of the commits."""
    start_alone.pay(1)
    database = open_database(make_url(start_alone.environment["DATABASE_URL"]))
    with database.write() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock_shared(-2 - last_value) FROM events_id_seq"))
        start_alone.pay(2)
        wait_for(lambda: scrape(start_alone).value("payment_events_behind") == 1)
    database.close()
    wait_for(lambda: scrape(start_alone).value("payment_events_behind") == 0)


def test_a_schema_that_is_too_old_is_not_ready(start_alone: Service) -> None:
    wait_for(lambda: scrape(start_alone).value("payment_ready") == 1)
    database = open_database(make_url(start_alone.environment["DATABASE_URL"]))
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    database.close()

    def is_not_ready() -> bool:
        now = scrape(start_alone)
        return now.value("payment_ready") == 0 and "payment_pending" not in now.samples

    wait_for(is_not_ready)


def test_no_more_are_counted_than_is_said(start_alone: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "COUNTED_MAX", 2)
    for number in (1, 2, 3):
        start_alone.pay(number, fields={"status": "pending"})
    database = open_database(make_url(start_alone.environment["DATABASE_URL"]))
    seen = census.take_census(database)
    database.close()
    assert seen.pending == 2
    assert seen.notifications["order", State.WAITING] == 2


def test_a_scrape_of_processes_on_one_port_has_all_of_them(start: Start) -> None:
    """Each is a series of its own, so that no counter goes back when one ends."""
    port = str(free_port())
    first = start("serve", "--no-worker", PORT=port, REUSE_PORT="true")
    second = start("serve", "--no-worker", PORT=port, REUSE_PORT="true")
    orders = iter(range(1, 1000))

    def pay_until_both_booked() -> Scrape | None:
        first.http.post(
            "/payments",
            json={"order_id": next(orders), "user_id": 1, "amount": 1},
            headers={"Connection": "close"},
        )
        seen = scrape(first)
        return seen if len(seen.values_of("payment_requests_total", "process")) == 2 else None

    seen = wait_for(pay_until_both_booked, 60)
    assert isinstance(seen, Scrape)
    booked = next(orders) - 1
    assert count(seen, "create_payment", 201) == booked
    assert seen.values_of("payment_pending", "process") == set(), "of the database, and once"
    second.kill()
    left = wait_for(
        lambda: len((now := scrape(first)).values_of("payment_requests_total", "process")) == 1 and now
    )
    assert isinstance(left, Scrape)
    assert count(left, "create_payment", 201) < booked


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_user_of_the_machine_is_told_nothing_behind_the_keys_back(start: Start) -> None:
    service = start("serve", "--no-worker", REUSE_PORT="true", AUTH="keys")
    names = Path("/proc/net/unix").read_text().split()
    port = service.url.rpartition(":")[2]
    (name,) = {name for name in names if name.startswith(f"@payment-metrics-{port}-")}

    def told(uid: int) -> bytes:
        reader, writer = os.pipe()
        if (child := os.fork()) == 0:
            os.setuid(uid)
            with socket.socket(socket.AF_UNIX) as asking:
                asking.connect(f"\0{name[1:]}")
                os.write(writer, asking.recv(100))
            os._exit(0)
        os.waitpid(child, 0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            return pipe.read()

    assert told(65534) == b""
    assert told(os.geteuid()).startswith(b"[[")


def test_a_worker_shows_its_own_where_it_is_told_to(start: Start) -> None:
    api = start("serve", "--no-worker")
    worker = start("worker", METRICS_PORT="0")
    api.pay(1)
    wait_until_all_told(api)
    seen = wait_for(lambda: (now := scrape_worker(worker)).value("payment_told_seconds_count") == 2 and now)
    assert isinstance(seen, Scrape)
    wait_for(lambda: scrape_worker(worker).value("payment_ready") == 1)
    assert seen.value("payment_notifications", state="dead") == 0
    assert seen.value("payment_build_info") == 1
    assert scrape(api).value("payment_told_seconds_count") == 0, "the API tells nobody"


def test_a_worker_whose_port_is_taken_says_so(start_alone: Service, tmp_path: Path) -> None:
    port = start_alone.url.rpartition(":")[2]
    environment = {"PATH": os.environ["PATH"], **start_alone.environment, "METRICS_PORT": port}
    ended = run("payment", ("worker",), env=environment, cwd=tmp_path, timeout_s=20)
    assert ended.returncode == 1
    assert f"METRICS_PORT={port}" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_metrics_ask_for_their_scope(start_keyed: Start) -> None:
    service = start_keyed()
    assert Caller(service).get("/metrics").status_code == 401
    assert holder(service, "payments:read").get("/metrics").status_code == 403
    answer = holder(service, "metrics:read").get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_a_frozen_process_on_the_port_keeps_no_scrape_waiting(start: Start) -> None:
    first = start("serve", "--no-worker", REUSE_PORT="true")
    port = first.url.rpartition(":")[2]
    second = start("serve", "--no-worker", PORT=port, REUSE_PORT="true")
    with socket.create_connection(("127.0.0.1", int(port))):  # so long as it is not frozen, either answers
        pass
    os.kill(second.process.pid, signal.SIGSTOP)
    try:
        seen = wait_for(lambda: _scraped_by(first), within_s=60)
    finally:
        os.kill(second.process.pid, signal.SIGCONT)
    assert isinstance(seen, Scrape)
    assert len(seen.values_of("payment_build_info", "process")) == 1


def _scraped_by(service: Service) -> Scrape | None:
    """Scrape over new connections until one reaches a process that is not frozen."""
    import httpx  # noqa: PLC0415

    try:
        answer = httpx.get(f"{service.url}/metrics", timeout=3, headers={"Connection": "close"})
    except httpx.TimeoutException:
        return None
    return Scrape(answer.text)
