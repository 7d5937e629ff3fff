"""The workflows in .github: sound, and the steps of the one for the providers' teams do what they say."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from described import ROOT

FOLDER = ROOT / ".github" / "workflows"
FOREIGN = Path(__file__).with_name("foreign.py")
INPUT = re.compile(r"\$\{\{ inputs\.([a-z-]+) \}\}")


def workflow(name: str) -> Any:
    """Return a workflow, every scalar as it is written (`on` is no boolean)."""
    return yaml.load((FOLDER / f"{name}.yml").read_text(), Loader=yaml.BaseLoader)


def steps(name: str) -> Iterator[Mapping[str, Any]]:
    for job in workflow(name)["jobs"].values():
        yield from job["steps"]


WORKFLOWS = sorted(file.stem for file in FOLDER.glob("*.yml"))


def test_tests_run_on_push_and_pull_request_and_providers_can_call_the_verification() -> None:
    assert WORKFLOWS == ["test", "verify-payment-contracts"]
    assert set(workflow("test")["on"]) == {"push", "pull_request"}
    for target in ("test", "e2e"):
        assert {"run": f"make {target}"} in workflow("test")["jobs"][target]["steps"]
    assert set(workflow("verify-payment-contracts")["on"]) == {"workflow_call"}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_is_sound(name: str) -> None:
    assert workflow(name)["permissions"] == {"contents": "read"}
    for job in workflow(name)["jobs"].values():
        assert {"runs-on", "timeout-minutes", "steps"} <= set(job)
        pythons = [step["with"]["python-version"] for step in job["steps"] if "setup-python" in str(step)]
        expected = "${{ matrix.python }}" if "strategy" in job else "3.11"
        assert pythons == [expected]
    for step in steps(name):
        assert ("run" in step) != ("uses" in step)
        assert "@v" in step.get("uses", "@v")
        assert "${{" not in step.get("run", ""), "a value in a script can be a script: use env"


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_make_target_that_a_workflow_names_exists(name: str) -> None:
    named = {
        target for step in steps(name) for target in re.findall(r"\bmake ([a-z0-9-]+)", step.get("run", ""))
    }
    assert named
    assert named <= set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_the_inputs_are_those_that_are_used() -> None:
    inputs = workflow("verify-payment-contracts")["on"]["workflow_call"]["inputs"]
    used = INPUT.findall((FOLDER / "verify-payment-contracts.yml").read_text())
    assert set(inputs) == set(used)
    for name, declared in inputs.items():
        assert declared["type"] == "string", name
        assert ("default" in declared) != (declared.get("required") == "true"), name


def run_steps(folder: Path, end: ExitStack, **given: str) -> tuple[int, str]:
    """Run the scripts of the verification in order, as a runner does; return the code and the last output."""
    inputs = workflow("verify-payment-contracts")["on"]["workflow_call"]["inputs"]
    values = {name: given.get(name, declared.get("default", "")) for name, declared in inputs.items()}
    said = ""
    for step in steps("verify-payment-contracts"):
        if "run" not in step or "if" in step:
            continue
        environment = {
            name: INPUT.sub(lambda found: values[found[1]], value)
            for name, value in step.get("env", {}).items()
        }
        ran = subprocess.Popen(
            ["bash", "-e", "-c", step["run"]],
            cwd=folder / step.get("working-directory", ""),
            env={"PATH": os.environ["PATH"]} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        end.callback(kill_group, ran.pid)  # what it left running
        said, _ = ran.communicate(timeout=120)
        if ran.returncode:
            return ran.returncode, said
    return 0, said


def kill_group(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


@pytest.fixture
def end() -> Iterator[ExitStack]:
    """Collect what has to end with the test; there is no database here."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the workflow checks out: the service's repository, with nothing in it, and ours."""
    (tmp_path / "service").mkdir()
    (tmp_path / "payment").symlink_to(ROOT)
    return tmp_path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize("service", ["order", "user"])
def test_its_steps_start_a_service_and_verify_it(service: str, checkout: Path, end: ExitStack) -> None:
    port = free_port()
    code, said = run_steps(
        checkout,
        end,
        service=service,
        install=f"cp {FOREIGN} app.py",
        start=f"{sys.executable} app.py {service} {port} {service}.db",
        url=f"http://127.0.0.1:{port}",
    )
    assert code == 0, said
    assert "8 of 8 interactions hold" in said


def test_its_steps_fail_if_the_contract_is_broken(checkout: Path, end: ExitStack) -> None:
    port = free_port()
    start = f"{sys.executable} {FOREIGN} user {port} user.db '/users/<int:user_id>/payment-status'"
    url = f"http://127.0.0.1:{port}"
    code, said = run_steps(checkout, end, service="user", start=start, url=url)
    assert code != 0
    assert "BROKEN" in said

    path = "USER_ID=816 USER_PAYMENT_PATH=/users/{user_id}/payment-status"
    code, said = run_steps(checkout, end, service="user", start="true", url=url, variables=path)
    assert code == 0, said
