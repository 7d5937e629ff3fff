"""The workflows in .github: sound, and the steps of the one for the providers' teams do what they say."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme
import yaml

from described import ROOT
from payment_contracts.verdict import BROKEN, HOLDS, INVALID
from ports import free_port
from programs import Process

FOLDER = ROOT / ".github" / "workflows"
FOREIGN = Path(__file__).with_name("foreign.py")
GUARDED = Path(__file__).with_name("guarded.py")
INPUT = re.compile(r"\$\{\{ inputs\.([a-z-]+) \}\}")
SECRET = re.compile(r"\$\{\{ secrets\.[a-z-]+ \}\}")
INSTALLS = "Install the verification"


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
        assert "${{" not in step.get("run", ""), "a value in a script can be a script: use env"


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_make_target_that_a_workflow_names_exists(name: str) -> None:
    named = {
        target for step in steps(name) for target in re.findall(r"\bmake ([a-z0-9-]+)", step.get("run", ""))
    }
    assert named or name != "test"
    assert named <= set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_the_inputs_are_those_that_are_used() -> None:
    inputs = workflow("verify-payment-contracts")["on"]["workflow_call"]["inputs"]
    used = INPUT.findall((FOLDER / "verify-payment-contracts.yml").read_text())
    assert set(inputs) == set(used)
    for name, declared in inputs.items():
        assert declared["type"] == "string", name
        assert ("default" in declared) != (declared.get("required") == "true"), name


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_are_commits_that_nobody_can_move_a_tag_from(name: str) -> None:
    """With their tag beside them, which Dependabot reads and renews."""
    used = re.findall(r"\buses: (.*)", (FOLDER / f"{name}.yml").read_text())
    assert len(used) > 1
    for action in used:
        assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_no_step_leaves_credentials_in_a_checkout_for_the_commands_that_run_in_it(name: str) -> None:
    for step in steps(name):
        if "checkout" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] == "false"


class Ran(NamedTuple):
    """What came of a run of the workflow: the code and output of its last step, and its verdict."""

    code: int
    said: str
    verdict: str


def run_steps(folder: Path, end: ExitStack, token: str = "", **given: str) -> Ran:
    """Run the scripts of the verification in order, as a runner does.

    Args:
        folder: where the workflow's checkouts are; what is installed there already is not installed again.
        end: ends what was started.
        token: the secret.
        given: the inputs.
    """
    inputs = workflow("verify-payment-contracts")["on"]["workflow_call"]["inputs"]
    values = {name: given.get(name, declared.get("default", "")) for name, declared in inputs.items()}
    said, verdict = "", folder / "outputs"
    verdict.touch()
    for step in steps("verify-payment-contracts"):
        if "run" not in step or "if" in step:
            continue
        if step["name"] == INSTALLS and (folder / "verification").exists():
            continue
        environment = {
            name: SECRET.sub(token, INPUT.sub(lambda found: values[found[1]], value))
            for name, value in step.get("env", {}).items()
        }
        ran = subprocess.Popen(
            ["bash", "-e", "-c", step["run"]],
            cwd=folder / step.get("working-directory", ""),
            env={"PATH": os.environ["PATH"], "GITHUB_OUTPUT": str(verdict)} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        end.callback(kill_group, ran.pid)  # what it left running
        said, _ = ran.communicate(timeout=120)
        if ran.returncode:
            break
    return Ran(ran.returncode, said, verdict.read_text().strip())


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
    """What the workflow checks out: the service's repository, with nothing in it, and ours, installed."""
    (tmp_path / "service").mkdir()
    (tmp_path / "payment").symlink_to(ROOT)
    (tmp_path / "verification").symlink_to(sys.prefix)
    return tmp_path


@pytest.mark.parametrize("service", ["order", "user"])
def test_its_steps_start_a_service_and_verify_it(service: str, checkout: Path, end: ExitStack) -> None:
    port = free_port()
    ran = run_steps(
        checkout,
        end,
        service=service,
        install=f"cp {FOREIGN} app.py",
        start=f"{sys.executable} app.py {service} {port} {service}.db",
        url=f"http://127.0.0.1:{port}",
    )
    assert ran.code == HOLDS, ran.said
    assert ran.verdict == "verdict=holds"
    assert "7 of 7 interactions hold" in ran.said


def test_its_steps_tell_a_broken_contract_from_a_run_that_says_nothing(
    checkout: Path, end: ExitStack
) -> None:
    port = free_port()
    start = f"{sys.executable} {FOREIGN} user {port} user.db '/users/<int:user_id>/payment-status'"
    url = f"http://127.0.0.1:{port}"
    ran = run_steps(checkout, end, service="user", start=start, url=url)
    assert (ran.code, ran.verdict) == (BROKEN, "verdict=broken")
    assert "BROKEN" in ran.said
    assert "::error title=broken::" in ran.said

    path = "--user-path /users/{user_id}/payment-status"
    started: dict[str, str] = {"service": "user", "start": "true", "url": url}
    ran = run_steps(checkout, end, **started, options=f"--user-id 816 {path}")
    assert (ran.code, ran.verdict.splitlines()[-1]) == (HOLDS, "verdict=holds"), ran.said

    ran = run_steps(checkout, end, **started, options=f"--user-id 9999 {path}")
    assert (ran.code, ran.verdict.splitlines()[-1]) == (INVALID, "verdict=not-verified")
    assert "::error title=not verified::" in ran.said
    assert "title=broken" not in ran.said


def test_its_steps_pass_the_token_and_the_ca(checkout: Path, end: ExitStack) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(checkout / "service" / "ca.pem"))
    server = checkout / "server.pem"
    ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(server))
    process = Process(
        (GUARDED, ("order", "order.db")), {"TOKEN": "s3cret", "SERVER_PEM": str(server)}, checkout
    )
    end.callback(process.kill)
    said = re.search(r"https\S+", process.line_with("Running on"))
    assert said
    ran = run_steps(
        checkout, end, token="s3cret", service="order", start="true", url=said[0], **{"ca-file": "ca.pem"}
    )
    assert ran.code == HOLDS, ran.said
