"""Where code lives: no file is long, and each module may import only what its place allows."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from statistics import median
from typing import Any

from described import ROOT

SOURCE = ROOT / "services" / "payment" / "src"
LINES_MAX, MEDIAN_MAX, TEST_LINES_MAX = 350, 150, 500


def lengths(*folders: str) -> dict[str, int]:
    """Return how many lines each Python file in these folders has."""
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    assert files
    return {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in files}


def modules() -> list[str]:
    """Return every module of the program, `payment.core.units` and the like; packages without their own."""
    files = [file.relative_to(SOURCE).with_suffix("") for file in SOURCE.rglob("*.py")]
    return sorted(".".join(file.parts) for file in files if file.name != "__init__")


def in_a_layer() -> list[str]:
    """Return what the layers of pyproject.toml list, as full names."""
    config: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return [
        f"{container}.{name.strip()}"
        for contract in config["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
        for container in contract["containers"]
        for layer in contract["layers"]
        for name in layer.split("|")
    ]


def test_no_source_file_is_long() -> None:
    sources = lengths("services/payment/src", "services/stubs", "contracts/src", "examples")
    long = {file: lines for file, lines in sources.items() if lines > LINES_MAX}
    assert long == {}, f"over {LINES_MAX} lines: which subject can move out?"


def test_most_source_files_are_short() -> None:
    assert median(lengths("services/payment/src").values()) < MEDIAN_MAX


def test_no_test_file_is_long() -> None:
    long = {
        file: lines
        for file, lines in lengths("services/payment/tests", "tests", "bench").items()
        if lines > TEST_LINES_MAX
    }
    assert long == {}, f"over {TEST_LINES_MAX} lines: split it by what its tests promise"


def test_every_module_belongs_to_a_contract() -> None:
    layers = in_a_layer()
    free = [name for name in modules() if not any(f"{name}.".startswith(f"{layer}.") for layer in layers)]
    assert free == [], "add its package to the layers in pyproject.toml"


def test_every_package_says_in_a_sentence_what_lives_there() -> None:
    silent = [
        str(file.relative_to(SOURCE))
        for file in SOURCE.rglob("__init__.py")
        if not file.read_text().startswith('"""')
    ]
    assert silent == []


def in_the_documents() -> list[str]:
    """Return the modules that docs/architecture.md lists by package."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    files = text.split("## The packages")[1].split("```")[3]
    names, package = [], ""
    for line in files.splitlines():
        begins = re.match(r"(\w+)(/|\.py)? {2,}(?=\w)| {4,}(?=\w)", line)
        if begins is None:
            continue
        if begins[1]:
            package = f"payment.{begins[1]}" if begins[2] == "/" else "payment"
        names += [f"{package}.{name}" for name in line[begins.end() :].split("  ")[0].split()]
    return sorted(names)


def test_the_architecture_lists_every_file() -> None:
    listed, there = set(in_the_documents()), {name for name in modules() if name != "payment.__main__"}
    assert {"not there": sorted(listed - there), "not listed": sorted(there - listed)} == {
        "not there": [],
        "not listed": [],
    }


def test_the_map_for_newcomers_names_what_is_there() -> None:
    tests = ROOT / "services" / "payment" / "tests"
    folders = (
        ROOT,
        SOURCE / "payment",
        tests,
        tests / "integration",
        tests / "contract",
        ROOT / "requirements",
    )
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"`([\w/.-]+\.(?:py|yaml|po|md|toml|in))`", text))
    assert len(named) > 40
    assert sorted(name for name in named if not any((folder / name).exists() for folder in folders)) == []


FORBIDDEN = [
    ("core/units.py", "import payment.storage"),
    ("ledger/booking.py", "import payment.telling"),
    ("ledger/audience.py", "import sqlalchemy"),
    ("ledger/reports.py", "import requests"),
    ("telling/circuit.py", "import starlette"),
    ("telling/lane.py", "import requests"),
    ("core/retry_policy.py", "import datetime"),
    ("web/traces.py", "import opentelemetry"),
    ("console/today.py", "import payment.ledger.ledger"),
    ("console/payments.py", "import payment.storage.tables"),
]


def test_make_check_finds_what_a_place_does_not_allow(tmp_path: Path) -> None:
    """Imports that are not allowed, and a module that no layer lists."""
    shutil.copytree(SOURCE / "payment", tmp_path / "payment", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for file, line in FORBIDDEN:
        with (tmp_path / "payment" / file).open("a") as changed:
            changed.write(f"\n{line}\n")
    (tmp_path / "payment" / "unlisted.py").touch()
    linted = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert linted.returncode == 1, linted.stderr
    for file, line in FORBIDDEN:
        importer = "payment." + file.removesuffix(".py").replace("/", ".")
        assert f"{importer} -> {line.removeprefix('import ')}" in linted.stdout, linted.stdout
    assert "unlisted" in linted.stdout
