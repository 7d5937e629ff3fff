"""The tour of README.md and docs/tour.md: what they print is what comes; their clients pay once."""

import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from described import ROOT
from pages import PORTS, Step, come, same, shown_of, steps_of, where_it_is_noon
from ports import free_port
from processes import Service
from programs import Process

TOUR = {"en": ("README.md", "docs/tour.md"), "id": ("README.id.md", "docs/tour.id.md")}
BIN = Path(sys.executable).parent
NODE = shutil.which("node", path=str(BIN)) or shutil.which("node")
NO_CURL = "curl is not installed"
NO_NODE = "Node.js is not installed"
IN_BOTH_LANGUAGES = pytest.mark.parametrize(
    ("language", "program"),
    [
        ("python", [sys.executable, "pay.py"]),
        pytest.param("javascript", [NODE, "pay.mjs"], marks=pytest.mark.skipif(NODE is None, reason=NO_NODE)),
    ],
)


def tour(language: str = "en") -> list[Step]:
    """Return all commands of the tour, and what the pages of a language show."""
    steps = [step for page in TOUR[language] for step in steps_of(page)]
    assert len(steps) > 30
    return steps


@contextmanager
def running(folder: Path, zone: str) -> Iterator[dict[str, str]]:
    """`make run` in a time zone, on free ports, which it gives."""
    ports = {name: str(free_port()) for name in PORTS}
    settings = ports | {"TIMEZONE": zone}
    process = Process([sys.executable, str(ROOT / "services" / "run.py")], settings, folder)
    try:
        process.line_with("Ctrl-C")
        yield ports
    finally:
        assert process.stop() == 0


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason=NO_CURL)
def test_the_tour_shows_what_comes(tmp_path: Path) -> None:
    """All is pasted at once: nobody who follows it by hand is faster."""
    steps = tour()
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(BIN)
    zone = where_it_is_noon()
    with running(tmp_path, zone) as ports:
        outputs = come([step.command for step in steps], ports, tmp_path, zone)
    for step, came in zip(steps, outputs, strict=True):
        assert same(shown_of(came, step.printed)) == same(step.printed), step.command


def test_both_languages_show_the_same() -> None:
    """So the test above is one of both."""
    assert [(step.command, same(step.printed)) for step in tour("id")] == [
        (step.command, same(step.printed)) for step in tour("en")
    ]


class Unlucky(BaseHTTPRequestHandler):
    """A way to Payment: the first request meets a 503, the second is booked but its answer is lost."""

    behind: str
    keys: list[str]  # of the requests so far; the handler's threads add theirs one after another

    def do_POST(self) -> None:  # the name that http.server calls
        """Let it pass, or not."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.keys.append(self.headers["Idempotency-Key"])
        if len(self.keys) == 1:
            self.answer(503, {"Retry-After": "0"}, b'{"error":"Layanan sedang sibuk"}')
            return
        headers = {name: self.headers[name] for name in ("Content-Type", "Idempotency-Key")}
        answer = httpx.post(f"{self.behind}/payments", content=body, headers=headers, verify=False)
        if len(self.keys) == 2:
            self.close_connection = True  # nothing was said
            return
        self.answer(answer.status_code, {}, answer.content)

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        """Send an answer."""
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def unlucky_way_to(url: str) -> Iterator[tuple[str, list[str]]]:
    """Run that way; gives its URL, and the keys that came by."""
    keys: list[str] = []
    handler = type("UnluckyTo", (Unlucky,), {"behind": url, "keys": keys})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.05,))
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", keys
        finally:
            server.shutdown()
            serving.join()


def snippet(page: str, language: str) -> str:
    """Return the one client that a page shows in a language."""
    (code,) = re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    return str(code)


@pytest.mark.parametrize("page", ["README.md", "README.id.md"])
@IN_BOTH_LANGUAGES
def test_the_clients_pay_once_whatever_happens_on_the_way(
    start_alone: Service, tmp_path: Path, language: str, program: list[str], page: str
) -> None:
    with unlucky_way_to(start_alone.url) as (url, keys):
        (tmp_path / program[1]).write_text(snippet(page, language).replace("http://localhost:5004", url))
        paid = subprocess.run(
            program, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False, env={"PATH": ""}
        )
    assert (paid.stdout, paid.stderr) == ("1\n", "")
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert len(keys[0]) == 36, "drawn, and sent each time"
    payments = start_alone.http.get("/payments").json()["payments"]
    assert [payment["amount"] for payment in payments] == [20_000]


@IN_BOTH_LANGUAGES
def test_the_clients_say_what_was_refused(
    start_alone: Service, tmp_path: Path, language: str, program: list[str]
) -> None:
    code = snippet("README.md", language).replace("http://localhost:5004", start_alone.url)
    (order_id,) = re.findall(r"order_id\"?: (\d+)", code)
    start_alone.pay(int(order_id))
    (tmp_path / program[1]).write_text(code)
    paid = subprocess.run(
        program, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False, env={"PATH": ""}
    )
    assert paid.returncode == 1
    assert f"Error: Pesanan {order_id} sudah lunas" in paid.stderr
