"""The tour of docs/qris.md: `make run QRIS=1`, and what its page prints is what comes."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from described import ROOT
from ports import free_port
from programs import Process

PORTS = {
    "PORT": "5004",
    "ORDER_PORT": "5003",
    "USER_PORT": "5001",
    "BRIDGE_PORT": "5005",
    "QRIS_PORT": "5006",
}
NO_CURL = "curl is not installed"
VARIES = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|20\d\d-\d\d-\d\dT[\d:.]+Z")


def tour() -> list[tuple[str, str]]:
    """Return the commands of the page in order, and what it says that each prints."""
    text = (ROOT / "docs" / "qris.md").read_text()
    blocks = re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    said = re.findall(r"^\$ (.*)\n((?:[^$\n].*\n)*)", "".join(blocks), re.MULTILINE)
    assert len(said) > 10
    return said


@pytest.mark.skipif(shutil.which("curl") is None, reason=NO_CURL)
def test_the_tour_shows_what_comes(tmp_path: Path) -> None:
    ports = {name: str(free_port()) for name in PORTS}
    (make, nothing), *commands = tour()
    assert (make, nothing) == ("make run QRIS=1", "")
    process = Process([sys.executable, str(ROOT / "services" / "run.py")], ports | {"QRIS": "1"}, tmp_path)
    try:
        process.line_with("Ctrl-C")
        script = "".join(f"{command}\necho; echo ---\n" for command, _ in commands)
        for name, port in PORTS.items():
            script = re.sub(rf"\b{port}/", f"{ports[name]}/", script)
        came = subprocess.run(
            ["bash", "-c", script], capture_output=True, text=True, timeout=60, check=True
        ).stdout.split("---\n")
    finally:
        assert process.stop() == 0
    for (command, printed), output in zip(commands, came[:-1], strict=True):
        assert VARIES.sub("…", output).strip() == VARIES.sub("…", printed).strip(), command
