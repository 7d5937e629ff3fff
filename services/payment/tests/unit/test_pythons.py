"""The Pythons that we support: every list of them is the same, and `make` takes one that is right."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from described import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
PYTHONS = re.findall(r"^PYTHONS := (.*)$", MAKEFILE, re.MULTILINE)[0].split()


def tool(name: str) -> dict[str, str]:
    """Return what the root's pyproject.toml says to a tool."""
    said: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"][name]
    return said


def test_tests_run_on_all_and_the_package_allows_no_other() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == PYTHONS
    package = tomllib.loads((ROOT / "services" / "payment" / "pyproject.toml").read_text())["project"]
    newest = int(PYTHONS[-1].removeprefix("3."))
    assert package["requires-python"] == f">={PYTHONS[0]},<3.{newest + 1}"


def test_lint_and_types_are_those_of_the_oldest() -> None:
    assert tool("mypy")["python_version"] == PYTHONS[0]
    assert tool("ruff")["target-version"] == "py" + PYTHONS[0].replace(".", "")


@pytest.mark.parametrize("file", ["README.md", "README.id.md", "CONTRIBUTING.md"])
def test_documents_name_them(file: str) -> None:
    named = re.findall(r"Python (3\.\d+(?:, 3\.\d+)*) (?:or|atau) (3\.\d+)", (ROOT / file).read_text())
    assert [[*most.split(", "), last] for most, last in named] == [PYTHONS]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """As much of a checkout as `make install` looks at."""
    (tmp_path / "Makefile").write_text(MAKEFILE)
    rule = MAKEFILE.partition("$(VENV)/.installed:")[2].partition("\n\t@")[0]
    for name in re.findall(r"[\w/]+\.(?:txt|toml)", rule):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def program(file: Path, script: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


def right(file: Path) -> Path:
    """Make a Python that is right: the one that runs the tests, by this name."""
    return program(file, f'exec {sys.executable} "$@"')


def wrong(file: Path) -> Path:
    """Make one that is not, as a pyenv shim of a version that nobody chose."""
    return program(file, "exit 127")


def install(repository: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """Say what `make install` would do, and the code that it ends with; it is not to do it."""
    path = f"{repository / 'bin'}{os.pathsep}{os.environ['PATH']}"
    command = ["make", "--no-print-directory", *arguments, "install"]
    ran = subprocess.run(
        command,
        cwd=repository,
        env={"PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.returncode, ran.stdout + ran.stderr


@pytest.mark.parametrize("here", ["python3.11", "python3.12", "python3.13", "python3"])
def test_the_first_python_that_is_right_makes_the_venv(repository: Path, here: str) -> None:
    names = [f"python{version}" for version in PYTHONS] + ["python3"]
    for name in names:
        (right if names.index(name) >= names.index(here) else wrong)(repository / "bin" / name)
    code, said = install(repository, "--dry-run")
    assert code == 0
    assert f"{here} -m venv" in said


def test_where_none_is_right_the_start_says_which_would_be(repository: Path) -> None:
    for name in [*PYTHONS, "3"]:
        wrong(repository / "bin" / f"python{name}")
    code, said = install(repository)
    assert code == 2
    assert f"one of these Pythons is needed: {' '.join(PYTHONS)}." in said
    assert not (repository / ".venv").exists()


def test_a_wrong_python_that_is_asked_for_is_refused_and_the_venv_stays(repository: Path) -> None:
    right(repository / ".venv" / "bin" / "python")
    (repository / ".venv" / ".installed").touch()
    for other in (wrong(repository / "bin" / "other"), repository / "missing"):
        code, said = install(repository, f"PYTHON={other}")
        assert code == 2
        assert "is needed" in said
    assert (repository / ".venv" / ".installed").exists()


def test_another_python_makes_the_venv_anew_and_the_same_does_not(repository: Path) -> None:
    of_another_version = 'case "$2" in *hexversion*) echo 51000000;; esac'
    made_with = program(repository / ".venv" / "bin" / "python", of_another_version)
    (repository / ".venv" / ".installed").touch()
    for same in ([], [f"PYTHON={made_with}"]):
        assert "-m venv" not in install(repository, "--dry-run", *same)[1]
    other = right(repository / "bin" / "other")
    code, said = install(repository, "--dry-run", f"PYTHON={other}")
    assert code == 0
    assert f"{other} -m venv --clear .venv" in said


def test_an_installation_without_a_network_says_so(repository: Path) -> None:
    """Not that no distribution matches, which is what pip makes of it."""
    right(repository / ".venv" / "bin" / "python")
    (repository / "requirements" / "dev.txt").write_text(
        f"uv==0.0.1 \\\n    --hash=sha256:{'0' * 64}\n    # via -r dev.in\n"
    )
    nowhere = {
        "PIP_INDEX_URL": "http://127.0.0.1:1/simple",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_RETRIES": "1",
        "HOME": str(repository),
    }
    code, said = install(repository, **nowhere)
    assert code == 2
    assert "cannot be downloaded: look at the network" in said
    assert "No matching distribution" not in said
    assert "No matching distribution" in (repository / ".venv" / "install.log").read_text()

    code, said = install(repository, **nowhere | {"PIP_RETRIES": "many"})
    assert code == 2
    assert "many" in said, "what else is wrong is shown"
    assert "network" not in said
