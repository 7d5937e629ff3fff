"""Start and stop the services under test: ours, the stubs and the peers."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0
POLL_EVERY_S = 0.005


class ServerError(Exception):
    """A server did not start."""


@dataclass(frozen=True, slots=True)
class Server:
    """How to start a server. In `argv` and in the environment's values `{port}` is its port."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    logs_its_port: bool = False
    """It chooses a free port itself (`PORT=0`) and logs a `listening` event with the URL."""
    listens: bool = True
    """False: it has no port, and runs as soon as it is started."""
    port: int | None = None
    """The port that it must have; None for any free one."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that accepts connections."""

    name: str
    port: int
    pid: int
    started_at: float
    """When its process was started, on the clock of `time.perf_counter`."""
    host: str = HOST

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://{self.host}:{self.port}"


def payment(*arguments: str, **environment: str) -> Server:
    """Our service: `payment serve` of this interpreter, on a port of its choice."""
    return Server(
        name="payment",
        argv=(sys.executable, "-m", "payment", "serve", *arguments),
        environment={"HOST": HOST, "PORT": "0", **environment},
        logs_its_port=True,
    )


def worker(**environment: str) -> Server:
    """Our worker in a process of its own: `payment worker`."""
    return Server(
        name="worker",
        argv=(sys.executable, "-m", "payment", "worker"),
        environment=environment,
        listens=False,
    )


def asgi_peer(name: str, app: str, **environment: str) -> Server:
    """A peer that is an ASGI application: one uvicorn process, as fast as uvicorn is."""
    uvicorn = ("-m", "uvicorn", app, "--host", HOST, "--port", "{port}", "--workers", "1")
    speed = ("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning")
    return Server(name=name, argv=(sys.executable, *uvicorn, *speed), environment=environment)


def stub(name: str, *, port: int | None = None) -> Server:
    """One of the stubs that stand in for Order and User; it knows every id."""
    return Server(
        name=name,
        argv=(sys.executable, str(ROOT / "services" / "stubs" / name / "app.py")),
        environment={"HOST": HOST, "PORT": str(port or "{port}"), f"{name.upper()}_COUNT": "1000000000"},
        port=port,
    )


@contextlib.contextmanager
def running(server: Server, directory: Path, *, within_s: float = START_TIMEOUT_S) -> Iterator[Running]:
    """Run `server` while the block lasts. Its output goes to `{name}.log` in `directory`."""
    port = 0 if server.logs_its_port else server.port or free_port()
    log = directory / f"{server.name}.log"
    started_at = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [word.replace("{port}", str(port)) for word in server.argv],
            cwd=ROOT,
            env={
                **os.environ,  # noqa: TID251  # handed on, not read
                **{k: v.replace("{port}", str(port)) for k, v in server.environment.items()},
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        if server.listens:
            port = _wait_until_listening(server, process, port, log, within_s)
        yield Running(server.name, port, process.pid, started_at)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def end_all_on_sigterm() -> None:
    """Let SIGTERM end this program as an error would: with everything that it has started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def resident_mb(service: Running) -> float:
    """The memory that a server's process holds, in MB (10^6 bytes)."""
    kib = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(service.pid)], capture_output=True, text=True, check=True
    ).stdout
    return int(kib) * 1024 / 1e6


def call(service: Running, method: str, path: str, body: object = None) -> tuple[int, dict[str, object]]:
    """One request and its JSON answer."""
    connection = http.client.HTTPConnection(service.host, service.port, timeout=30)
    try:
        connection.request(
            method,
            path,
            body=None if body is None else json.dumps(body),
            headers={} if body is None else {"Content-Type": "application/json"},
        )
        response = connection.getresponse()
        answer: dict[str, object] = json.loads(response.read())
        return response.status, answer
    finally:
        connection.close()


def _logged_port(log: Path) -> int:
    """The port in the `listening` event of a log of JSON lines; 0 while there is none."""
    for line in log.read_text(errors="replace").splitlines():
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and entry.get("event") == "listening":
                return urlsplit(str(entry["url"])).port or 0
    return 0


def _wait_until_listening(
    server: Server, process: subprocess.Popen[bytes], port: int, log: Path, within_s: float
) -> int:
    """The port of a server that has just been started, once it accepts connections."""
    give_up_at = time.monotonic() + within_s
    while time.monotonic() < give_up_at and process.poll() is None:
        if server.logs_its_port and not port:
            port = _logged_port(log)
        if port:
            with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
                return port
        time.sleep(POLL_EVERY_S)
    last_lines = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
    raise ServerError(f"{server.name} did not start; the end of its output:\n{last_lines}")
