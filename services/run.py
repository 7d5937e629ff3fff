"""Run the whole journey on this machine: Payment on SQLite with its worker, and both stubs.

`make run` calls this; with KEYS=1 Payment asks for API keys, and one is made to try it; with QRIS=1 the stub
of a QRIS gateway and the bridge from it to Payment run too (docs/qris.md). Ctrl-C ends all, and so does
closing its terminal; if one service ends, all end. `make demo` calls it with `demo`: Payment has a database
of its own then, made anew and filled by `payment demo`.
"""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from http import HTTPStatus
from itertools import chain, count
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from payment.core.environment import Environment
from payment.core.neighbours import NEIGHBOURS
from payment.core.setting_rules import database_url, token_if_any

HERE = Path(__file__).resolve().parent
EXIT_BAD_SETTING = 2
READY_WITHIN_S = 30.0
END_WITHIN_S = 10.0
DIRECT = build_opener(ProxyHandler({}))
"""What is on this machine is asked past the environment's proxy."""

TRY_IT = """
  Payment  http://localhost:{payment}   API: http://localhost:{payment}/docs
{stubs}

Coba / try:

  curl -i http://localhost:{payment}/payments \\
    -H 'Content-Type: application/json' -H 'Prefer: wait=5' \\
{key}    -d '{{"order_id": {order_id}, "user_id": 1, "amount": 20000}}'
  curl http://localhost:{order}/orders/{order_id}
  curl http://localhost:{user}/users/1

Ctrl-C menghentikan semuanya / ends everything.
"""

DEMO = """
Konsol / console: http://localhost:{payment}/console
"""
DEMO_DATABASE = Path("payment-demo.db")
DEMO_IDS = "1000000"
"""So many orders and guests the stubs know then."""


class Service(NamedTuple):
    """A program of the stack; `port_setting` names the setting of its port."""

    name: str
    port: int
    port_setting: str
    command: list[str]
    health: str
    environment: dict[str, str]


def stack(*, is_demo: bool) -> list[Service]:
    """Return what runs; Payment has the demo's database if this is one.

    The ports may be set by PORT, ORDER_PORT and the like for each neighbour. A stub demands the token that
    Payment sends it, so none if none is set.
    """
    ports = {
        name: port_of(f"{neighbour.prefix}_PORT", str(urlsplit(neighbour.default_url).port))
        for name, neighbour in NEIGHBOURS.items()
    }
    port = port_of("PORT", "5004")
    urls = {
        f"{neighbour.prefix}_SERVICE_URL": f"http://localhost:{ports[name]}"
        for name, neighbour in NEIGHBOURS.items()
    }
    tokens = tokens_of_neighbours()
    memories = {} if is_demo else memories_of_stubs()
    python = sys.executable
    return [
        *(
            Service(
                name,
                at,
                f"{NEIGHBOURS[name].prefix}_PORT",
                [python, str(HERE / f"stubs/{name}/app.py")],
                "/health",
                {
                    "PORT": str(at),
                    "TOKEN": tokens[name],
                    "STATES_FILE": str(memories.get(name, "")),
                    **({f"{name.upper()}_COUNT": DEMO_IDS} if is_demo else {}),
                },
            )
            for name, at in ports.items()
        ),
        *(way_of_qris(port) if is_on("QRIS") else ()),
        Service(
            "payment",
            port,
            "PORT",
            [python, "-m", "payment", "serve"],
            "/readyz",
            {
                "PORT": str(port),
                "LOG_FORMAT": "text",
                **urls,
                **({"AUTH": "keys"} if is_on("KEYS") else {}),
                **({"DATABASE_URL": f"sqlite:///{DEMO_DATABASE}"} if is_demo else {}),
            },
        ),
    ]


def way_of_qris(payment_port: int) -> list[Service]:
    """Return the stub of a QRIS gateway and the bridge from it to Payment, which share their secrets."""
    gateway, bridge = port_of("QRIS_PORT", "5006"), port_of("BRIDGE_PORT", "5005")
    shared = {name: secrets.token_hex() for name in ("MIDTRANS_SERVER_KEY", "XENDIT_CALLBACK_TOKEN")}
    python = sys.executable
    return [
        Service(
            "bridge",
            bridge,
            "BRIDGE_PORT",
            [python, str(HERE.parent / "examples/qris_bridge.py")],
            "/health",
            {"PORT": str(bridge), "PAYMENT_URL": f"http://localhost:{payment_port}", **shared},
        ),
        Service(
            "qris",
            gateway,
            "QRIS_PORT",
            [python, str(HERE / "stubs/qris/app.py")],
            "/health",
            {"PORT": str(gateway), "BRIDGE_URL": f"http://localhost:{bridge}", **shared},
        ),
    ]


def memories_of_stubs() -> dict[str, Path]:
    """Return where each stub keeps what it was told: beside Payment's file, so that all remember the same.

    A stub forgets when it ends if there is no such file.
    """
    read = Environment()
    url = read.parsed("DATABASE_URL", "sqlite:///payment.db", database_url)
    if read.problems() or url.drivername != "sqlite" or not url.database:
        return {}  # if it is wrong, Payment says so
    file = Path(url.database)
    memories = {name: file.with_name(f"{file.name}-{name}") for name in NEIGHBOURS}
    if not file.exists():  # begun anew
        for memory in memories.values():
            memory.unlink(missing_ok=True)
    return memories


def order_to_try(services: list[Service], key: str | None) -> int:
    """Return an order for which nothing was booked, so that what is printed books; 1 in a new database."""
    payment, order = services[-1], services[0]
    orders = int(order.environment.get("ORDER_COUNT") or os.environ.get("ORDER_COUNT") or 20)  # noqa: TID251  # a stub's
    newest: list[dict[str, int]] = get(payment, "/payments?limit=1", key)["payments"]
    likely = [1, *(each["order_id"] + 1 for each in newest if each["order_id"] < orders)]
    for order_id in chain(likely, range(2, orders + 1), count(orders + 1)):
        try:
            get(payment, f"/bills/{order_id}", key)
        except HTTPError as error:
            if error.code != HTTPStatus.NOT_FOUND:
                raise
            return order_id
    raise AssertionError  # the orders have no end


def get(payment: Service, path: str, key: str | None) -> dict[str, Any]:
    """Ask Payment; HTTPError if it refuses."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    asked = Request(f"http://127.0.0.1:{payment.port}{path}", headers=headers)  # loopback
    with DIRECT.open(asked, timeout=10) as answer:
        said: dict[str, Any] = json.load(answer)
    return said


def try_it(services: list[Service], key: str | None, *, is_demo: bool) -> str:
    """Return what a person may do with what runs, with this API key if one is asked for."""
    ports = {service.name: service.port for service in services}
    stubs = [f"  {name.capitalize():8} http://localhost:{ports[name]}   (stub)" for name in NEIGHBOURS]
    if "qris" in ports:
        stubs.append(
            f"  QRIS     http://localhost:{ports['qris']}   (stub; bridge: {ports['bridge']}; docs/qris.md)"
        )
    with_key = f"    -H 'Authorization: Bearer {key}' \\\n" if key else ""
    text = TRY_IT + (DEMO if is_demo else "")
    order_id = order_to_try(services, key)
    return text.format(**ports, stubs="\n".join(stubs), key=with_key, order_id=order_id)


def prepare(services: list[Service], *, is_demo: bool) -> str | None:
    """Fill the demo's database; make the keys that are asked for, and return the one to try it with."""
    payment = services[-1]
    if is_demo:
        fill_demo(payment)
    if payment.environment.get("AUTH") != "keys":
        return None
    for service in services:
        if service.name == "bridge":
            bridge_key = make_key(payment, "bridge", "payments:read", "payments:write")
            service.environment["PAYMENT_KEY"] = bridge_key
    return make_key(payment, "coba", "admin")


def fill_demo(payment: Service) -> None:
    """Make the demo's database anew; end if that cannot be done."""
    for ending in ("", "-wal", "-shm"):
        DEMO_DATABASE.with_name(DEMO_DATABASE.name + ending).unlink(missing_ok=True)
    command = [sys.executable, "-m", "payment", "demo"]
    environment = {**os.environ, **payment.environment}  # noqa: TID251  # a program of its own
    try:
        filled = subprocess.run(command, env=environment, check=False)  # noqa: S603  # our own program
    except KeyboardInterrupt:
        sys.exit(0)  # as later
    if filled.returncode:
        sys.exit(filled.returncode)


def make_key(payment: Service, client: str, *scopes: str) -> str:
    """Make an API key that is good for a day; end if that cannot be done."""
    command = [sys.executable, "-m", "payment", "keys", "create", "--client", client, "--expires", "24h"]
    made = subprocess.run(  # noqa: S603  # our own program
        [*command, *(f"--scope={scope}" for scope in scopes)],
        env={**os.environ, **payment.environment},  # noqa: TID251  # a program of its own
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if made.returncode:
        sys.exit(made.returncode)
    return made.stdout.strip()


def is_on(name: str) -> bool:
    """Say whether a switch is on, KEYS or QRIS; end if the setting says neither."""
    read = Environment()
    is_on = read.bool(name, False)  # environs' default
    for bad, wrong in read.problems().items():
        refuse_to_start(bad, wrong[0])
    return bool(is_on)


def tokens_of_neighbours() -> dict[str, str]:
    """Return the neighbours' tokens as Payment reads them, "" for none; end with the name of a wrong one."""
    read = Environment()
    tokens = {
        name: read.parsed(f"{neighbour.prefix}_SERVICE_TOKEN", "", token_if_any) or ""
        for name, neighbour in NEIGHBOURS.items()
    }
    for name, wrong in read.problems().items():
        refuse_to_start(name, wrong[0])
    return tokens


def port_of(name: str, default: str) -> int:
    """Return the port that a setting says; end with its name if it says none."""
    said = os.environ.get(name, default)  # noqa: TID251  # a program of its own
    if not (said.isdecimal() and 0 < int(said) < 2**16):
        refuse_to_start(name, "must be 1 to 65535")
    return int(said)


def refuse_to_start(name: str, wrong: str) -> NoReturn:
    """End because of a setting: its name and what is wrong, never what it says."""
    print(f"Pengaturan salah / bad setting: {name}: {wrong}", file=sys.stderr)
    sys.exit(EXIT_BAD_SETTING)


def main() -> int:
    """Run until Ctrl-C, SIGTERM, the terminal's or a service's end; return the exit code."""
    is_demo = sys.argv[1:] == ["demo"]
    services = stack(is_demo=is_demo)
    if refuse_taken_ports(services):
        return 1
    key = prepare(services, is_demo=is_demo)
    signals: list[int] = []  # no threading.Event: who waits for one may hold the lock that setting it takes
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # as `nohup` wants it
            signal.signal(number, lambda number, _: signals.append(number))
    running = [(service, start(service)) for service in services]
    try:
        if not all(is_ready(service, process, signals) for service, process in running):
            return 0 if signals else 1
        print(try_it(services, key, is_demo=is_demo), flush=True)
        while not signals:
            for service, process in running:
                if process.poll() is not None:
                    print(f"{service.name} berhenti / ended: exit {process.returncode}", file=sys.stderr)
                    return 1
            time.sleep(0.2)
        return 0
    finally:
        end([process for _, process in running])


def refuse_taken_ports(services: list[Service]) -> bool:
    """Say which ports are taken, by others or one of ours, and what to do; return whether any is."""
    wanted: dict[int, str] = {}
    others = (port for port in range(5005, 2**16) if port not in {each.port for each in services})
    is_refused = False
    for service in services:
        ours = wanted.setdefault(service.port, service.name)
        if ours != service.name:
            users, stop = f" ({ours})", ""
        elif is_taken(service.port):
            by = f" ({who_has(service.port)})" if shutil.which("ss") or shutil.which("lsof") else ""
            users, stop = "", f"Hentikan yang memakainya / stop what uses it{by}, atau / or: "
        else:
            continue
        is_refused = True
        another = next((port for port in others if not is_taken(port)), 0)
        print(
            f"Port {service.port} ({service.name}) sudah dipakai / is in use{users}. {stop}"
            f"Pakai yang lain / take another: {service.port_setting}={another}",
            file=sys.stderr,
        )
    return is_refused


def who_has(port: int) -> str:
    """Return the command that says what uses a port, by what this machine has."""
    return f"ss -ltnp 'sport = :{port}'" if shutil.which("ss") else f"lsof -nP -iTCP:{port} -sTCP:LISTEN"


def is_taken(port: int) -> bool:
    """Say whether something listens on the port already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def start(service: Service) -> subprocess.Popen[str]:
    """Start a service in a session of its own (Ctrl-C reaches only us) and show what it says."""
    process = subprocess.Popen(  # noqa: S603  # our own programs
        service.command,
        env={**os.environ, **service.environment},  # noqa: TID251  # a program of its own
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    threading.Thread(target=show, args=(service.name, process.stdout), daemon=True).start()
    return process


def show(name: str, lines: IO[str]) -> None:
    """Print each line with its service's name before it."""
    for line in lines:
        print(f"{name:8}| {line}", end="", flush=True)


def is_ready(service: Service, process: subprocess.Popen[str], signals: list[int]) -> bool:
    """Wait until the service answers; False if it ends, takes too long, or we are to end."""
    deadline_s = time.monotonic() + READY_WITHIN_S
    url = f"http://127.0.0.1:{service.port}{service.health}"
    while time.monotonic() < deadline_s and process.poll() is None and not signals:
        try:
            with DIRECT.open(url, timeout=1):
                return True
        except OSError:
            time.sleep(0.05)
    if not signals:
        print(f"{service.name} tidak menjawab / does not answer", file=sys.stderr)
    return False


def end(processes: list[subprocess.Popen[str]]) -> None:
    """End every process: first politely, then at once."""
    for process in processes:
        process.terminate()
    deadline_s = time.monotonic() + END_WITHIN_S
    for process in processes:
        try:
            process.wait(max(0.0, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
