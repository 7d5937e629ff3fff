"""Run the whole journey on this machine: Payment on SQLite with its worker, and both stubs.

`make run` calls this; with KEYS=1 Payment asks for API keys, and one is made to try it; with QRIS=1 the stub
of a QRIS gateway and the bridge from it to Payment run too (docs/qris.md). Ctrl-C ends all, and so does
closing its terminal; if one service ends, all end. `make demo` calls it with `demo`: Payment has a database
of its own then, made anew and filled by `payment demo`.
"""

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import IO, NamedTuple, NoReturn
from urllib.parse import urlsplit

from payment.core.environment import Environment
from payment.core.neighbours import NEIGHBOURS
from payment.core.setting_rules import token_if_any

HERE = Path(__file__).resolve().parent
EXIT_BAD_SETTING = 2
READY_WITHIN_S = 30.0
END_WITHIN_S = 10.0

TRY_IT = """
  Payment  http://localhost:{payment}   API: http://localhost:{payment}/docs
{stubs}

Coba / try:

  curl -i http://localhost:{payment}/payments \\
    -H 'Content-Type: application/json' \\
{key}    -d '{{"order_id": 1, "user_id": 1, "amount": 20000}}'
  curl http://localhost:{order}/orders/1
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
    """A program of the stack."""

    name: str
    port: int
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
    python = sys.executable
    return [
        *(
            Service(
                name,
                at,
                [python, str(HERE / f"stubs/{name}/app.py")],
                "/health",
                {
                    "PORT": str(at),
                    "TOKEN": tokens[name],
                    **({f"{name.upper()}_COUNT": DEMO_IDS} if is_demo else {}),
                },
            )
            for name, at in ports.items()
        ),
        *(way_of_qris(port) if is_on("QRIS") else ()),
        Service(
            "payment",
            port,
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
            [python, str(HERE.parent / "examples/qris_bridge.py")],
            "/health",
            {"PORT": str(bridge), "PAYMENT_URL": f"http://localhost:{payment_port}", **shared},
        ),
        Service(
            "qris",
            gateway,
            [python, str(HERE / "stubs/qris/app.py")],
            "/health",
            {"PORT": str(gateway), "BRIDGE_URL": f"http://localhost:{bridge}", **shared},
        ),
    ]


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
    return text.format(**ports, stubs="\n".join(stubs), key=with_key)


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
    taken = [service for service in services if is_taken(service.port)]
    for service in taken:
        print(
            f"Port {service.port} ({service.name}) sudah dipakai / is in use. "
            f"Hentikan yang memakainya / stop what uses it: ss -ltnp 'sport = :{service.port}'",
            file=sys.stderr,
        )
    if taken:
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
            with urllib.request.urlopen(url, timeout=1):  # loopback
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
