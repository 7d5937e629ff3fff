"""`payment serve --processes N`: several processes on one port and a worker, and who looks after them."""

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from sqlalchemy import make_url, text

from conftest import fresh_database
from console_visitor import SIGN_IN, Visitor
from key_holders import holder
from payers import Load, payments_of
from payment.storage.opening import open_database
from payment_life import new_order_id
from ports import free_port
from processes import Service, Stub, http_client, wait_for
from programs import Process, storm
from scrapes import Scrape, scrape, scrape_worker

Start = Callable[..., Service]
Pids = Mapping[str, int]

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

START_S = 60.0
"""How long a few starts may take on a busy machine."""


@pytest.fixture
def started(start: Start) -> Iterator[Start]:
    """Return a function that starts several processes; in the end none of them may be left."""
    services: list[Service] = []

    def started(*arguments: str, **settings: str) -> Service:
        services.append(start(*(arguments or ("serve", "--processes", "2")), **settings))
        return services[-1]

    yield started
    try:
        for service in services:
            service.process.send_signal(signal.SIGKILL)
            wait_for(lambda service=service: not living(service), 20, "all end")  # type: ignore[misc]
    finally:
        for pid in {pid for service in services for pid in living(service)}:
            os.kill(pid, signal.SIGKILL)  # else the log would never end


def pids(service: Service) -> dict[str, int]:
    """Return what runs, by its name in the log."""
    return {line["process"]: line["pid"] for line in service.log() if line["event"] == "process started"}


def living(service: Service) -> set[int]:
    """Return those of all that were started that have not ended."""
    known = {line["pid"] for line in service.log() if line["event"] == "process started"}
    return {pid for pid in known if _lives(pid)}


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""  # a zombie has none
    except (FileNotFoundError, ProcessLookupError):  # it may end while its file is read
        return False


def wait_for_event(service: Service, event: str, times: int = 1) -> dict[str, object]:
    """Return the line of the log that says this for the so-manieth time."""

    def found() -> list[dict[str, object]]:
        lines = [line for line in service.log() if line["event"] == event]
        return lines if len(lines) >= times else []

    return wait_for(found, START_S, event)[times - 1]


def pay_by_all(service: Service, count: int) -> Scrape:
    """Pay over new connections until so many processes have booked something; return a scrape of then."""

    def pay() -> Scrape | None:
        body = {"order_id": new_order_id(), "user_id": 1, "amount": 1}
        answer = service.http.post("/payments", json=body, headers={"Connection": "close"})
        assert answer.status_code == 201
        seen = scrape(service)
        return seen if len(seen.values_of("payment_requests_total", "process")) == count else None

    seen = wait_for(pay, 30, f"{count} processes have booked")
    assert isinstance(seen, Scrape)
    return seen


@pytest.fixture(scope="module")
def undisturbed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """Return two processes and a worker with a port of its own, shared by tests that end none of them."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with fresh_database("postgresql", folder, request) as url:
        service = Service({"DATABASE_URL": url, "METRICS_PORT": "0"}, "serve", "--processes", "2", cwd=folder)
        yield service
        assert service.stop() == 0


@pytest.mark.usefixtures("database_url")
def test_a_worker_with_a_port_for_its_metrics_shows_them_there_alone(undisturbed: Service) -> None:
    assert len(scrape(undisturbed).values_of("payment_build_info", "process")) == 2
    assert "payment_circuit_open" not in scrape(undisturbed).samples
    assert scrape_worker(undisturbed).samples["payment_circuit_open"]


def test_all_answer_on_one_port_and_each_line_of_the_one_log_says_whose_it_is(
    started: Start, order: Stub
) -> None:
    service = started(LOG_LEVEL="debug")
    seen = pay_by_all(service, 2)
    assert len(seen.values_of("payment_build_info", "process")) == 3
    assert seen.samples["payment_circuit_open"], "that of the worker"
    wait_for(order.states, what="Order is told")
    listening = [line for line in service.log() if line["event"] == "listening"]
    assert [(line["processes"], line["worker"]) for line in listening] == [(2, True)], "said once"
    assert pids(service).keys() == {"1", "2", "worker"}
    load = Load(service.url, closing=8)
    load.wait_for_more(100)
    load.stop()
    assert service.stop() == 0
    lines = [json.loads(line) for line in service.process.lines]  # each is one, and whole
    answered = [line for line in lines if line.get("operation") == "create_payment"]
    assert {line["process"] for line in answered} == {"1", "2"}
    told = [line for line in lines if line["event"] == "told"]
    assert {line["process"] for line in told} == {"worker"}
    said_last = [(line["event"], line.get("process")) for line in lines if line["event"] == "stopped"]
    assert set(said_last[:2]) == {("stopped", "1"), ("stopped", "2")}, "the API ends first"
    assert said_last[2:] == [("stopped", "worker"), ("stopped", None)]


def test_a_process_that_is_killed_is_started_again_while_the_others_go_on(
    started: Start, order: Stub, database_url: str
) -> None:
    service = started(LEASE_S="1")
    load = Load(service.url, closing=4)
    for times, who in enumerate(("worker", "1"), start=1):
        load.wait_for_more()
        before = pids(service)
        os.kill(before[who], signal.SIGKILL)
        died = wait_for_event(service, "process died", times)
        assert (died["process"], died["pid"], died["code"]) == (who, before[who], -9)
        load.wait_for_more()
        wait_for(lambda who=who, before=before: pids(service)[who] != before[who], START_S)  # type: ignore[misc]  # bound now
        after = pids(service)
        assert {name for name in before if before[name] != after[name]} == {who}
        if who == "worker":
            assert set(load.answers) == {201}, load.answers
    load.wait_for_more()
    load.stop()
    assert load.answers.keys() - {201} <= {"ReadError", "RemoteProtocolError", "WriteError"}
    assert payments_of(database_url) == load.booked
    wait_for(lambda: order.states().keys() >= load.booked.keys(), 30, "Order knows all")
    assert len(scrape(service).values_of("payment_build_info", "process")) == 3


def test_one_that_dies_again_and_again_is_started_after_longer_pauses(started: Start) -> None:
    """And the port serves while it is not there."""
    service = started("serve", "--processes", "2", "--no-worker")
    for times in (1, 2, 3):
        killed = pids(service)["2"]
        os.kill(killed, signal.SIGKILL)
        assert wait_for_event(service, "process died", times)["again_in_s"] == 0.25 * 2 ** (times - 1)
        for _ in range(10):
            with http_client(service.url) as http:
                assert http.get("/healthz").status_code == 200
        wait_for(lambda killed=killed: pids(service)["2"] != killed, START_S)  # type: ignore[misc]
    assert service.pay(1).status_code == 201


def test_when_the_supervisor_is_killed_all_end_in_order_and_leave_the_port(
    started: Start, database_url: str
) -> None:
    service = started(PORT=str(free_port()))
    load = Load(service.url, closing=4)
    load.wait_for_more()
    all_of_them = living(service)
    assert len(all_of_them) == 3
    os.kill(service.process.pid, signal.SIGKILL)
    wait_for(lambda: not living(service), 20, "all have ended")
    load.stop()
    assert load.answers.keys() <= {201, "ConnectError"}, "what had come was answered"
    assert payments_of(database_url) == load.booked

    def say_why_they_ended() -> set[object]:
        return {line["process"] for line in service.log() if line["event"] == "the supervisor is gone"}

    wait_for(lambda: say_why_they_ended() == {"1", "2", "worker"})
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", int(service.url.rpartition(":")[2])))


def test_a_signal_under_load_loses_nothing_and_exits_0(started: Start, database_url: str) -> None:
    service = started()
    load = Load(service.url, closing=4)
    load.wait_for_more()
    began_s = time.monotonic()
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(10) == 0
    assert time.monotonic() - began_s < 10
    assert living(service) == set()
    load.stop()
    assert load.answers.keys() <= {201, "ConnectError"}, load.answers
    assert payments_of(database_url) == load.booked


def test_signals_on_top_of_each_other_end_all(started: Start) -> None:
    service = started()
    assert storm(service.process) == 0
    assert living(service) == set()
    assert "Traceback" not in "".join(service.process.lines)


def test_a_signal_during_the_start_ends_what_has_begun(database_url: str) -> None:
    environment = {"DATABASE_URL": database_url, "PORT": "0", "LOG_FORMAT": "json"}
    process = Process(("payment", ("serve", "--processes", "2")), environment)
    process.line_with('"process started"')
    assert process.stop() == 0
    said = [json.loads(line) for line in process.lines]
    assert "listening" not in {line["event"] for line in said}
    wait_for(lambda: not any(_lives(line["pid"]) for line in said if "pid" in line))


@pytest.mark.slow
def test_a_hang_up_under_load_renews_all_and_fails_no_request(
    started: Start, order: Stub, database_url: str
) -> None:
    service = started()
    load = Load(service.url, closing=4)
    load.wait_for_more()
    before = pids(service)
    service.process.send_signal(signal.SIGHUP)
    wait_for_event(service, "all processes are new")
    after = pids(service)
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())
    assert living(service) == set(after.values()), "the old ones have ended"
    said = [(line["event"], line.get("process")) for line in service.log()]
    begun = said.index(("renewing all processes", None))
    of_processes = [line for line in said[begun:] if line[0] in {"process started", "stopped"}]
    assert of_processes == [
        *(("process started", "1"), ("stopped", "1"), ("process started", "2"), ("stopped", "2")),
        *(("stopped", "worker"), ("process started", "worker")),
    ]
    load.wait_for_more()
    load.stop()
    assert set(load.answers) == {201}, load.answers
    assert payments_of(database_url) == load.booked
    wait_for(lambda: order.states().keys() >= load.booked.keys(), 30, "Order knows all")
    assert "process died" not in {line["event"] for line in service.log()}


def test_new_processes_read_files_of_settings_anew_and_a_wrong_one_changes_nothing(
    started: Start, tmp_path: Path
) -> None:
    file = tmp_path / "zone"
    file.write_text("Asia/Jakarta")
    service = started(TIMEZONE_FILE=str(file))
    before = pids(service)
    file.write_text("Nowhere")
    service.process.send_signal(signal.SIGHUP)
    not_renewed = wait_for_event(service, "not renewed: a new process did not start")
    assert (not_renewed["process"], not_renewed["code"]) == ("1", 2)
    assert pids(service) == before
    assert living(service) == set(before.values())
    assert "bad setting: TIMEZONE" in "".join(service.process.lines)
    file.write_text("Asia/Makassar")
    service.process.send_signal(signal.SIGHUP)
    wait_for_event(service, "all processes are new")
    zones = {
        service.http.get("/reports/daily", headers={"Connection": "close"}).json()["time_zone"]
        for _ in range(20)
    }
    assert zones == {"Asia/Makassar"}


def test_what_no_process_can_start_with_is_said_once_and_ends_all(database_url: str) -> None:
    database = open_database(make_url(database_url))
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    database.close()
    process = Process(("payment", ("serve", "--processes", "3")), {"DATABASE_URL": database_url, "PORT": "0"})
    assert process.wait(START_S) == 1
    assert len(process.lines) == 1
    assert "old schema (0000, not " in process.lines[0]


def test_one_of_many_that_dies_in_its_first_start_is_started_again(database_url: str) -> None:
    environment = {"DATABASE_URL": database_url, "PORT": "0", "LOG_FORMAT": "json"}
    process = Process(("payment", ("serve", "--no-worker", "--processes", "2")), environment)
    process.line_with('"process started"')
    second = wait_for(lambda: child_called("2", process.pid))
    assert second is not None
    os.kill(second, signal.SIGKILL)
    process.line_with('"process did not start"')
    process.line_with('"listening"')
    assert process.stop() == 0


def child_called(name: str, parent: int) -> int | None:
    """Return the child that the supervisor has started under this name, ready or not."""
    for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        if f"--process\0{name}\0" in Path(f"/proc/{pid}/cmdline").read_text():
            return int(pid)
    return None


def test_a_worker_that_cannot_start_ends_all_with_its_message(database_url: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        environment = {"DATABASE_URL": database_url, "METRICS_PORT": port, "PORT": "0", "LOG_FORMAT": "json"}
        process = Process(("payment", ("serve", "--processes", "2")), environment)
        assert process.wait(START_S) == 1
    said = "".join(process.lines)
    assert f"cannot listen: METRICS_PORT={port}" in said
    assert '"listening"' not in said
    known = [json.loads(line)["pid"] for line in process.lines if "process started" in line]
    assert known
    assert not any(_lives(pid) for pid in known)


def test_a_port_of_others_is_not_shared_unless_that_is_asked_for(
    undisturbed: Service, start_alone: Service, database_url: str
) -> None:
    for service in (undisturbed, start_alone):
        settings = {"DATABASE_URL": database_url, "PORT": service.url.rpartition(":")[2]}
        process = Process(("payment", ("serve", "--processes", "2")), settings)
        assert process.wait(START_S) == 1
        assert "address in use: 127.0.0.1:" in "".join(process.lines)
        assert service.pay(1).status_code == 201


@pytest.mark.slow
def test_a_process_that_does_not_end_is_killed_and_the_exit_code_says_so(started: Start) -> None:
    service = started()
    frozen = pids(service)["2"]
    os.kill(frozen, signal.SIGSTOP)
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(20) == 1
    killed = wait_for_event(service, "killed: it did not end")
    assert (killed["process"], killed["pid"]) == ("2", frozen)
    assert living(service) == set()


def test_who_signs_in_at_one_process_is_known_to_all(started: Start) -> None:
    """No CONSOLE_SECRET is set: they have one all the same, and nobody is warned."""
    service = started("serve", "--processes", "2", "--no-worker", AUTH="keys")
    assert pids(service).keys() == {"1", "2"}
    key = holder(service, "payments:read").key
    for _ in range(20):  # so that each process has seen the new key
        seen = service.http.get("/caller", headers={"Authorization": f"Bearer {key}", "Connection": "close"})
        assert seen.status_code == 200
    with Visitor(service.url) as visitor:
        visitor.sign_in(key)
        visitor.http.headers["Connection"] = "close"
        places = {httpx.URL(visitor.open("/console/payments").url).path for _ in range(30)}
    assert places == {"/console/payments"} != {SIGN_IN}
    assert "sessions are not shared" not in {line["event"] for line in service.log()}


# a leader of a session has the first terminal that it opens
ON_A_TERMINAL = 'exec "$0" serve --processes 2 <>"$1" >&0 2>&0'


@pytest.mark.parametrize("farewell", ["Ctrl-C", "its window is closed"])
def test_a_terminal_speaks_to_the_supervisor_alone(database_url: str, farewell: str) -> None:
    terminal, inner = pty.openpty()
    program = subprocess.Popen(
        ["sh", "-c", ON_A_TERMINAL, Path(sys.executable).with_name("payment"), os.ttyname(inner)],
        env={"PATH": os.environ["PATH"], "DATABASE_URL": database_url, "PORT": "0", "LOG_FORMAT": "json"},
        start_new_session=True,
    )
    said = ""
    while '"listening"' not in said:
        said += os.read(terminal, 65536).decode()
    os.close(inner)
    if farewell == "Ctrl-C":
        os.write(terminal, b"\x03")
        with suppress(OSError):  # nobody has it open any more
            while part := os.read(terminal, 65536):
                said += part.decode()
        last = [json.loads(line[line.index("{") :]) for line in said.splitlines() if '"stopped"' in line]
        assert [line.get("process") for line in last][2:] == ["worker", None], "the API first"
        assert program.wait(15) == 0
    os.close(terminal)
    program.wait(15)  # what had still to be said could not be: any code
    children = [json.loads(line)["pid"] for line in said.splitlines() if "process started" in line]
    assert len(children) == 3
    assert not any(_lives(pid) for pid in children)
