"""The program as the providers' teams install it: from its folder alone, as it was locked, in a minute."""

import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from described import ROOT
from payment_contracts.verdict import BROKEN, HOLDS, INVALID
from processes import Stub
from test_workflows import INSTALLS, steps

FOLDER = ROOT / "contracts"


@pytest.fixture
def database_url() -> str:
    """There is no database here."""
    return ""


def pins(file: Path) -> Mapping[str, str]:
    """Return what a lock names, and the version of each."""
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", file.read_text(), re.MULTILINE))


def test_its_lock_is_hashed_and_has_what_its_metadata_asks_for_in_the_versions_of_our_tests() -> None:
    lock = FOLDER / "requirements.txt"
    blocks = re.split(r"^(?=[a-z0-9-]+==)", lock.read_text(), flags=re.MULTILINE)[1:]
    assert len(blocks) == len(pins(lock)) > 5
    assert all("--hash=sha256:" in block for block in blocks)
    assert pins(lock).items() <= pins(ROOT / "requirements" / "dev.txt").items()

    metadata: Any = tomllib.loads((FOLDER / "pyproject.toml").read_text())
    asked = [*metadata["build-system"]["requires"], *metadata["project"]["dependencies"]]
    for requirement in map(Requirement, asked):
        assert requirement.specifier.contains(pins(lock)[requirement.name]), requirement
    assert metadata["project"]["requires-python"] == ">=3.11"


@pytest.mark.slow
def test_from_an_empty_folder_to_a_verdict(order: Stub, tmp_path: Path) -> None:
    """As the workflow installs it; nothing of the checkout is needed afterwards."""
    checkout = tmp_path / "payment" / "contracts"
    shutil.copytree(
        FOLDER, checkout, ignore=shutil.ignore_patterns("opc", "build", "*.egg-info", "__pycache__")
    )
    (install,) = (step["run"] for step in steps("verify-payment-contracts") if step.get("name") == INSTALLS)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    began_s = time.monotonic()
    installed = subprocess.run(
        ["bash", "-e", "-c", install],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert installed.returncode == 0, installed.stderr
    shutil.rmtree(checkout)
    empty = tmp_path / "empty"
    empty.mkdir()

    def run(*arguments: str) -> tuple[int, str]:
        ran = subprocess.run(
            [tmp_path / "verification" / "bin" / "verify-payment-contracts", *arguments],
            cwd=empty,
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return ran.returncode, ran.stdout + ran.stderr

    known = ("--order-url", order.url, "--order-id", "7")
    code, said = run(*known)
    assert code == HOLDS, said
    assert "7 of 7 interactions hold" in said
    assert time.monotonic() - began_s < 240, "a coffee, on a machine that does five other things"
    assert run(*known, "--order-path", "/orders/{order_id}/payment-status")[0] == BROKEN
    assert run("--order-url", "http://127.0.0.1:1")[0] == INVALID
    (agreed,) = (tmp_path / "verification").glob("lib/*/site-packages/payment_contracts/agreed")
    assert {file.name: file.read_bytes() for file in agreed.iterdir()} == {
        file.name: file.read_bytes() for file in FOLDER.glob("payment-*.json")
    }
