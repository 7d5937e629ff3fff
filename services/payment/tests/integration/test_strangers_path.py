"""What a newcomer does, in one go: clone, `make run`, the five steps, Ctrl-C, again, a wrong verification."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from described import ROOT
from pages import PORTS, come, same, shown_of, steps_of
from ports import free_port
from programs import Process

NEEDED = ("make", "git", "curl", "setsid")
NOT_HERE = f"one of these is not installed: {', '.join(NEEDED)}"


@contextmanager
def make_run(checkout: Path, ports: dict[str, str]) -> Iterator[Process]:
    """`make run` until Ctrl-C, which reaches all that the terminal runs; nothing of it is left then.

    It has a session of its own, as a terminal gives it. By `-o` what is installed stays as it is.
    """
    process = Process(["setsid", "make", "-o", "install", "run"], ports, checkout)
    try:
        process.line_with("Ctrl-C")
        yield process
    finally:  # also after a failure: what `make run` starts has sessions of its own, and only it ends them
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(20)
        finally:
            process.kill()
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    assert "Traceback" not in "".join(process.lines)
    for port in ports.values():
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{port}", verify=False)


def of_later_ids(command: str) -> str:
    """Return a command of the five steps for orders and payments that come after four others."""
    later = r'(?<="order_id":)\d+|(?<=/orders/)\d+|(?<=/payments/)\d+|(?<=Key: table-)\d+'
    return re.sub(later, lambda found: str(int(found[0]) + 4), command)


def status_of(answer: str) -> str:
    """Return the status line of an answer, "" if it is shown without."""
    first = answer.partition("\n")[0]
    return first if first.startswith("HTTP/") else ""


@pytest.mark.slow
@pytest.mark.skipif(not all(map(shutil.which, NEEDED)), reason=NOT_HERE)
def test_the_first_hour(tmp_path: Path) -> None:
    checkout = tmp_path / "payment"
    anybodys = tmp_path / "gitconfig"
    anybodys.write_text("[safe]\n\tdirectory = *\n")  # whoever owns the checkout
    subprocess.run(
        ["git", "clone", "--quiet", str(ROOT), str(checkout)],
        env={**os.environ, "GIT_CONFIG_GLOBAL": str(anybodys)},
        check=True,
        capture_output=True,
    )
    (checkout / ".venv").symlink_to(Path(sys.executable).parents[1])
    ports = {name: str(free_port()) for name in PORTS}
    steps = steps_of("README.md")
    commands = [step.command for step in steps]

    with make_run(checkout, ports):
        for step, came in zip(steps, come(commands, ports, checkout), strict=True):
            assert same(shown_of(came, step.printed)) == same(step.printed), step.command

    with make_run(checkout, ports) as process:
        printed = "".join(process.lines).partition("try:")[2].partition("Ctrl-C")[0]
        said = subprocess.run(
            ["bash", "-e"], input=printed, capture_output=True, text=True, check=True
        ).stdout
        assert '"payment_id":4' in said, "after three payments, one of another order"
        later = come([of_later_ids(command) for command in commands], ports, checkout)
        for step, came in zip(steps, later, strict=True):
            assert status_of(came) == status_of(step.printed), step.command
        url = f"http://127.0.0.1:{ports['PORT']}/payments/7/refunds"
        assert [each["amount"] for each in httpx.get(url, verify=False).json()["refunds"]] == [18_000]
        check_wrong_verifications(ports["ORDER_PORT"], checkout)

    status = subprocess.run(
        ["git", "status", "--porcelain", "--", ".", ":!.venv"],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=True,
    )
    assert status.stdout == "", "all that it leaves is ignored"


def check_wrong_verifications(order_port: str, checkout: Path) -> None:
    """Each says in a sentence what is wrong; 2 is the code of a run that says nothing of the service."""
    at = f"localhost:{order_port}"
    wrong = {
        "--order-url http://localhost --order-id 777": "knows no order 777 (404 to GET /orders/777)",
        "--order-url http://localhost --order-path /orders/{user_id}": "must start with / and hold",
        "--order-url localhost --order-id 9": "is not an http(s) URL, for example http://localhost:5003",
        "--order-url http://localhost --order-id abc": "is not a whole number from 1 to ",
    }
    for options, sentence in wrong.items():
        verified = subprocess.run(
            [".venv/bin/verify-payment-contracts", *options.replace("localhost", at).split()],
            cwd=checkout,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        said = verified.stdout + verified.stderr
        assert (verified.returncode, said.count("invalid run: ")) == (2, 1), said
        assert sentence in said
        assert "Traceback" not in said
