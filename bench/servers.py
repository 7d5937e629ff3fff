"""Start and stop the services under test: ours, the stubs and the peers."""

import contextlib
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
POLL_EVERY_S = 0.02


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


@dataclass(frozen=True, slots=True)
class Running:
    """A server that accepts connections."""

    name: str
    port: int
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


def asgi_peer(name: str, app: str, **environment: str) -> Server:
    """A peer that is an ASGI application: one uvicorn process, as fast as uvicorn is."""
    uvicorn = ("-m", "uvicorn", app, "--host", HOST, "--port", "{port}", "--workers", "1")
    speed = ("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning")
    return Server(name=name, argv=(sys.executable, *uvicorn, *speed), environment=environment)


def stub(name: str, **environment: str) -> Server:
    """One of the stubs that stand in for Order and User."""
    return Server(
        name=name,
        argv=(sys.executable, str(ROOT / "services" / "stubs" / name / "app.py")),
        environment={"HOST": HOST, "PORT": "{port}", **environment},
    )


@contextlib.contextmanager
def running(server: Server, directory: Path) -> Iterator[Running]:
    """Run `server` while the block lasts. Its output goes to `{name}.log` in `directory`."""
    port = 0 if server.logs_its_port else _free_port()
    log = directory / f"{server.name}.log"
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
        yield Running(server.name, _wait_until_listening(server, process, port, log))
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _logged_port(log: Path) -> int:
    """The port in the `listening` event of a log of JSON lines; 0 while there is none."""
    for line in log.read_text(errors="replace").splitlines():
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and entry.get("event") == "listening":
                return urlsplit(str(entry["url"])).port or 0
    return 0


def _wait_until_listening(server: Server, process: subprocess.Popen[bytes], port: int, log: Path) -> int:
    """The port of a server that has just been started, once it accepts connections."""
    give_up_at = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < give_up_at and process.poll() is None:
        if server.logs_its_port and not port:
            port = _logged_port(log)
        if port:
            with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
                return port
        time.sleep(POLL_EVERY_S)
    last_lines = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
    raise ServerError(f"{server.name} did not start; the end of its output:\n{last_lines}")
