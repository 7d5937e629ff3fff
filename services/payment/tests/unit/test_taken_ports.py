"""`make up` says which port is taken, and what to set, before it leaves anything behind."""

import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from described import ROOT
from ports import free_port

PUBLISHED = re.compile(r"127\.0\.0\.1:\$\{(\w+):-\d+\}:(\d+)")


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else uses."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


class Docker:
    """A `docker` that notes what it is asked, and knows the ports that Compose would publish."""

    def __init__(self, folder: Path, ports: dict[str, int]) -> None:
        services = {name: {"ports": [{"published": str(port), "target": 1}]} for name, port in ports.items()}
        (folder / "config.json").write_text(json.dumps({"services": services}))
        (folder / "docker").write_text(
            f'#!/bin/sh\necho "$@" >> {folder}/asked\ncase "$*" in\n'
            f'*config*) cat {folder}/config.json;;\n*" port "*) cat {folder}/ours 2> /dev/null;;\nesac\n'
        )
        (folder / "docker").chmod(0o755)
        self._folder = folder

    def runs(self, port: int) -> None:
        """Let the stack run already, on this port."""
        (self._folder / "ours").write_text(f"127.0.0.1:{port}\n")

    def up(self) -> tuple[int, str, list[str]]:
        """Run `make up`; return its code, what it said, and what Docker was asked to do."""
        path = f"{self._folder}{os.pathsep}{os.environ['PATH']}"
        command = ["make", "--no-print-directory", "up", "OBSERVE="]
        environment = {"PATH": path}
        ran = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        asked = (self._folder / "asked").read_text().splitlines()
        return ran.returncode, ran.stderr, [each for each in asked if re.search(r"\b(build|up)\b", each)]


def test_a_taken_port_is_named_with_its_setting_and_nothing_is_begun(tmp_path: Path, taken: int) -> None:
    docker = Docker(tmp_path, {"port": taken, "order": free_port(), "user": taken})
    code, said, done = docker.up()
    assert code == 2
    assert done == []
    first, second = (line for line in said.splitlines() if line.startswith("Port "))
    assert re.fullmatch(
        rf"Port {taken} \(payment\) sudah dipakai / is in use\. .* make up PAYMENT_PORT=\d+", first
    )
    assert re.fullmatch(
        rf"Port {taken} \(user\) sudah dipakai / is in use \(payment\)\. .* make up USER_PORT=\d+", second
    )


def test_the_ports_that_the_stack_has_already_are_its_own(tmp_path: Path, taken: int) -> None:
    docker = Docker(tmp_path, {"port": taken})
    docker.runs(taken)
    _, said, done = docker.up()
    assert "sudah dipakai" not in said
    assert [each.split()[1] for each in done] == ["build", "up"]


def test_every_published_port_is_looked_at() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    settings = {
        name: found[1]
        for name, service in compose.items()
        for port in service.get("ports", [])
        if (found := PUBLISHED.fullmatch(port))
    }
    script = (ROOT / "deploy" / "taken_ports.py").read_text()
    said = dict(re.findall(r'^    "(\w+)": "(\w+_PORT)"', script, re.MULTILINE))
    assert said == settings
