"""The program as operators meet it: start, settings, ports, signals, pages, the command line."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import httpx
import pytest
from click import Context
from sqlalchemy import make_url, text

from described import ROOT, description, parsed
from forked import run
from payment.cli.program import COMMANDS as COMMANDS_OF_PROGRAM
from payment.cli.program import cli
from payment.storage.opening import open_database
from processes import Service, Stub, Waiting, http_client, wait_for
from programs import Process, storm

ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_the_description_is_the_same_in_both_formats_and_costs_nearly_nothing(shared: Service) -> None:
    """Anybody may ask for it, and while it is made nobody pays."""
    described = shared.http.get("/openapi.json").json()
    assert described["components"] == description()["components"]
    assert described["paths"].keys() == description()["paths"].keys()
    body = described["paths"]["/payments"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"] == {"$ref": "#/components/schemas/NewPayment"}, "what it refers to is there once"
    assert parsed(shared.http.get("/openapi.yaml").content) == described
    before_s = _cpu_s(shared)
    for _ in range(20):
        for kind in ("json", "yaml"):
            assert shared.http.get(f"/openapi.{kind}").status_code == 200
    assert _cpu_s(shared) - before_s < 2


def _cpu_s(service: Service) -> float:
    """Return how much CPU the process has taken."""
    of_process = Path(f"/proc/{service.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(of_process[11]) + int(of_process[12])) / os.sysconf("SC_CLK_TCK")


def test_the_api_description_and_its_page_are_served(shared: Service) -> None:
    described = shared.http.get("/openapi.json").json()
    assert described["info"]["title"] == "Payment"
    assert set(described["paths"]) >= {"/payments", "/payments/{payment_id}"}
    page = shared.http.get("/docs", follow_redirects=True)
    assert page.status_code == 200
    assert "swagger" in page.text.lower()
    for asset in ("swagger-ui.css", "swagger-ui-bundle.js"):
        assert shared.http.get(f"/docs/{asset}").status_code == 200, "the page loads nothing from elsewhere"
    for wrong in ("/docs/nothing.js", "/docs/../../etc/passwd", "/openapi.xml"):
        assert set(shared.http.get(wrong).json()) == {"error"}
    assert shared.http.post("/openapi.json").status_code == 405
    for nonsense in ("bytes=5-1", "bytes=99999999-", "x"):
        whole = shared.http.get("/docs/swagger-ui.css", headers={"Range": nonsense})
        assert whole.status_code == 200, "a range is not served, and not refused in another shape"


def test_health_says_ok(shared: Service) -> None:
    for path in ("/healthz", "/readyz"):
        answer = shared.http.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_ready_says_what_is_wrong_with_the_schema(start_alone: Service, database_url: str) -> None:
    database = open_database(make_url(database_url))
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    database.close()
    ready = start_alone.http.get("/readyz")
    assert ready.status_code == 503
    assert "payment migrate" in ready.json()["error"]
    assert start_alone.http.get("/healthz").status_code == 200


def test_a_newer_schema_is_worked_on(start: Callable[..., Service], database_url: str) -> None:
    """A rolling upgrade migrates first; the old version serves, and may restart, until it is replaced."""
    service = start()
    database = open_database(make_url(database_url))
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    assert service.http.get("/readyz").status_code == 200
    assert service.stop() == 0
    service.start()
    assert service.http.get("/readyz").status_code == 200
    assert service.pay(1).status_code == 201
    assert service.cli("migrate").stdout == "Sudah baru / up to date\n"


def test_a_bad_setting_stops_the_start_with_its_name(tmp_path: Path) -> None:
    for name, value in {"PORT": "abc", "ORDER_PAYMENT_PATH": "/orders/x", "AUTH": "maybe"}.items():
        process = Process(("payment", ("serve",)), {name: value}, cwd=tmp_path)
        assert process.wait(20) == 2
        process.kill()
        assert f"bad setting: {name}:" in "".join(process.lines)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("how", ["setting", "option"])
def test_several_processes_on_sqlite_are_refused_with_the_reason(tmp_path: Path, how: str) -> None:
    option = ("--processes", "2") if how == "option" else ()
    setting = {"PROCESSES": "2"} if how == "setting" else {}
    process = Process(("payment", ("serve", *option)), setting, cwd=tmp_path)
    assert process.wait(20) == 2
    process.kill()
    said = "".join(process.lines)
    assert "bad setting: PROCESSES: must be 1 on SQLite: only one process at a time can write" in said
    assert not list(tmp_path.iterdir())


@ON_SQLITE
def test_the_option_goes_before_the_setting(start: Callable[..., Service]) -> None:
    service = start("serve", "--processes", "1", PROCESSES="2")
    assert service.pay(1).status_code == 201


def test_an_open_address_needs_a_word_about_authentication(tmp_path: Path) -> None:
    process = Process(("payment", ("serve",)), {"HOST": "0.0.0.0"}, cwd=tmp_path)
    assert process.wait(20) == 2
    process.kill()
    assert "AUTH" in "".join(process.lines)


def test_a_port_in_use_gives_a_clear_message(shared: Service, tmp_path: Path) -> None:
    port = shared.url.rsplit(":", 1)[1]
    process = Process(("payment", ("serve",)), {"PORT": port}, cwd=tmp_path)
    assert process.wait(20) == 1
    process.kill()
    said = "".join(process.lines)
    assert f"Alamat sudah dipakai / address in use: 127.0.0.1:{port}" in said
    assert "Traceback" not in said


def test_an_address_that_cannot_be_had_is_named_with_its_trouble(tmp_path: Path) -> None:
    for host in ("nosuchhost.invalid", "192.0.2.1"):
        settings = {"HOST": host, "AUTH": "none", "PORT": "5004"}
        process = Process(("payment", ("serve",)), settings, cwd=tmp_path)
        assert process.wait(20) == 1
        process.kill()
        said = "".join(process.lines)
        assert f"Alamat tidak dapat dipakai / cannot listen: {host}:5004: " in said
        assert "in use" not in said
        assert "Traceback" not in said


@ON_SQLITE
def test_who_listens_first_has_a_port_and_the_other_says_so(tmp_path: Path, database_url: str) -> None:
    """An address may be bound twice until somebody listens; a start listens when it can serve."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        with locked(database_url):
            environment = {"PORT": str(port), "DATABASE_URL": database_url, "LOG_FORMAT": "json"}
            process = Process(("payment", ("serve",)), environment, cwd=tmp_path)
            wait_for(lambda: has_socket(process))
            other.listen()
        assert process.wait(20) == 1
    process.kill()
    said = "".join(process.lines)
    assert f"Alamat sudah dipakai / address in use: 127.0.0.1:{port}" in said
    assert "Traceback" not in said
    assert '"listening"' not in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_answers_what_has_come_and_exits_0(start_alone: Service, number: signal.Signals) -> None:
    answers: list[int] = []
    broken: list[str] = []
    stop = threading.Event()

    def pay(first: int) -> None:
        with http_client(start_alone.url) as http:
            order_id = first
            while not stop.is_set():
                body = {"order_id": order_id, "user_id": 1, "amount": 1}
                try:
                    answers.append(http.post("/payments", json=body).status_code)
                except httpx.ConnectError:
                    return  # it no longer listens
                except httpx.TransportError as error:
                    broken.append(repr(error))
                order_id += 10

    threads = [threading.Thread(target=pay, args=(n,)) for n in range(1, 9)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(answers) > 50, 10)
    start_alone.process.send_signal(number)
    assert start_alone.process.wait(10) == 0
    stop.set()
    for thread in threads:
        thread.join()
    assert set(answers) == {201}
    assert broken == [], "what it has accepted is answered"
    assert "Traceback" not in "".join(start_alone.process.lines)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_payment_in_hand_when_the_signal_comes_is_booked_and_answered(
    start_alone: Service, database_url: str, number: signal.Signals
) -> None:
    database = open_database(make_url(database_url))
    with database.write() as connection:  # nothing can be booked meanwhile
        if database_url.startswith("postgresql"):
            connection.execute(text("LOCK TABLE bills"))
        waiting = Waiting(start_alone, range(1, 9))
        start_alone.process.send_signal(number)
        wait_for(lambda: not is_listening(start_alone.url), 3)
        assert waiting.answers == {}
    database.close()
    waiting.join()
    assert start_alone.process.wait(10) == 0
    assert waiting.answers == dict.fromkeys(range(1, 9), 201)


def has_socket(process: Process) -> bool:
    try:
        opened = [str(each.readlink()) for each in Path(f"/proc/{process.pid}/fd").iterdir()]
    except FileNotFoundError:  # one was closed as we looked
        return False
    return any(each.startswith("socket:") for each in opened)


def is_listening(url: str) -> bool:
    try:
        httpx.get(f"{url}/healthz", headers={"Connection": "close"}, verify=False)
    except httpx.ConnectError:
        return False
    return True


@contextmanager
def locked(database_url: str) -> Iterator[None]:
    """Hold the write lock of the SQLite file, as another program may."""
    connection = sqlite3.connect(str(make_url(database_url).database), isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    yield
    connection.close()


@ON_SQLITE
def test_a_full_queue_before_a_locked_database_is_answered_within_seconds(
    start: Callable[..., Service], database_url: str
) -> None:
    """Each batch takes its time-out in turn; nobody waits for all those before."""
    service = start(BATCH_MAX="2")
    with locked(database_url):
        waiting = Waiting(service, range(1, 41))
        waiting.join()
    assert set(waiting.answers.values()) == {503}
    assert waiting.slowest_s < 20
    assert service.pay(1, Idempotency_Key="order-1").status_code == 201


@ON_SQLITE
def test_a_signal_while_the_database_is_locked_answers_503_and_exits_0(
    start: Callable[..., Service], database_url: str
) -> None:
    service = start(BATCH_MAX="2")
    with locked(database_url):
        waiting = Waiting(service, range(1, 21))
        began_s = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - began_s < 10
        waiting.join()
    assert set(waiting.answers.values()) == {503}
    assert "Traceback" not in "".join(service.process.lines)


@pytest.mark.parametrize("place", ["security", "GET /payments"])
def test_a_description_that_asks_for_keys_which_nothing_checks_stops_the_start(
    tmp_path: Path, database_url: str, place: str
) -> None:
    """As Connexion documents `security:`; what it has for that is not among ours."""
    asks = deepcopy(description())
    asks["components"]["securitySchemes"]["ApiKey"] = {
        "type": "apiKey",
        "in": "header",
        "name": "X-Key",
        "x-apikeyInfoFunc": "payment.keys.find",
    }
    asking = asks if place == "security" else asks["paths"]["/payments"]["get"]
    asking["security"] = [{"ApiKey": []}]
    file = tmp_path / "with_keys.json"
    file.write_text(json.dumps(asks))
    environment = {"OPENAPI_FILE": str(file), "DATABASE_URL": database_url, "PORT": "0"}
    ran = run("payment", ["serve"], env=environment, cwd=tmp_path, timeout_s=30)
    assert ran.returncode == 2, ran.stderr
    assert "bad setting: OPENAPI_FILE: meminta `security`" in ran.stderr
    assert f"asks for `security`, which nothing here checks ({place})" in ran.stderr
    assert "Traceback" not in ran.stderr


LOADED = """
import sys
from payment.cli.program import main
try:
    main(["--help"])
finally:
    heavy = "connexion starlette uvicorn requests alembic sqlalchemy marshmallow"
    print(*set(heavy.split()) & sys.modules.keys())
"""


def test_help_loads_neither_the_web_framework_nor_the_clients(tmp_path: Path) -> None:
    """A person waits for it."""
    said = subprocess.check_output([sys.executable, "-c", LOADED], cwd=tmp_path, text=True)
    assert "notifications" in said
    assert said.endswith("\n\n"), said


def test_help_says_of_each_command_what_the_command_says() -> None:
    """It is written beside the program, so that nothing has to be loaded for it."""
    for name, (_, said) in COMMANDS_OF_PROGRAM.items():
        command = cli.get_command(Context(cli), name)
        assert command is not None
        assert (command.help or "").partition("\n\n")[0].replace("\n", " ") == said, name


def test_the_old_documentations_way_to_start_works(tmp_path: Path) -> None:
    process = Process(
        [sys.executable, str(ROOT / "services" / "payment" / "app.py")], {"PORT": "0"}, cwd=tmp_path
    )
    assert '"listening"' in process.line_with('"listening"')
    assert process.stop() == 0


def test_the_old_way_to_start_says_what_is_wrong_as_the_program_does(tmp_path: Path) -> None:
    (tmp_path / "payment.db").write_bytes(b"no database " * 500)
    process = Process((ROOT / "services" / "payment" / "app.py", ()), {"PORT": "0"}, cwd=tmp_path)
    assert process.wait(20) == 1
    process.kill()
    said = "".join(process.lines)
    assert "another program's database" in said
    assert "Traceback" not in said


def test_migrate_and_its_second_time(tmp_path: Path) -> None:
    for said in ("migrated", "up to date"):
        environment = {"DATABASE_URL": f"sqlite:///{tmp_path / 'payment.db'}"}
        ran = run("payment", ["migrate"], env=environment, cwd=tmp_path, timeout_s=30)
        assert ran.returncode == 0, ran.stderr
        assert said in ran.stdout


COMMANDS = ("migrate", "notifications list", "notifications retry --all-dead", "report", "reconcile", "prune")
RUN_ALL = """
import gc, sys
from payment.cli.program import cli
for command in sys.argv[1:]:
    cli(command.split(), standalone_mode=False)
gc.collect()
"""


def test_a_command_closes_what_it_opened(database_url: str) -> None:
    """Or Python 3.13 warns of an open SQLite file, and psycopg of an open connection."""
    done = subprocess.run(
        [sys.executable, "-W", "always::ResourceWarning", "-c", RUN_ALL, *COMMANDS],
        env={"PATH": os.environ["PATH"], "DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stderr == ""


@pytest.mark.parametrize("arguments", [("serve",), ("worker",)], ids=" ".join)
def test_signals_on_top_of_each_other_end_the_service(
    start: Callable[..., Service], arguments: tuple[str, ...]
) -> None:
    service = start(*arguments)
    assert storm(service.process) == 0
    assert "Traceback" not in "".join(service.process.lines)


def test_no_secret_is_in_the_log(start: Callable[..., Service], order: Stub) -> None:
    service = start(ORDER_SERVICE_TOKEN="very-secret-token", LOG_LEVEL="debug")
    order.kill()
    service.pay(1)
    wait_for(lambda: any(line["event"] == "could not tell" for line in service.log()))
    assert "very-secret" not in "".join(service.process.lines)
