"""The other side: stubs and foreign services against the very same committed files."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from described import ROOT
from forked import run
from payment_contracts.states import serve_states
from payment_contracts.verdict import BROKEN, HOLDS, INVALID
from ports import free_port
from processes import Stub, wait_for
from programs import Process

CONTRACTS = ROOT / "contracts"
FOREIGN = Path(__file__).with_name("foreign.py")


def run_verify(*arguments: str) -> tuple[int, str]:
    """Run the command as a provider's team does; return its exit code and all it says."""
    ran = run("payment_contracts", arguments, env=os.environ, cwd=None, timeout_s=120)
    assert "Traceback" not in ran.stderr, ran.stderr
    return ran.returncode, ran.stdout + ran.stderr


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """One kind of database is enough: a contract is about HTTP, and the integration tests run on both."""
    return f"sqlite:///{tmp_path / 'payment.db'}"


@pytest.fixture
def foreign(end: ExitStack, tmp_path: Path) -> Callable[..., str]:
    """A function that starts a service written by others; it returns its URL."""

    def start(kind: str, *path: str) -> str:
        port = free_port()
        database = str(tmp_path / f"{kind}-{port}.db")
        process = Process((FOREIGN, (kind, str(port), database, *path)), {})
        end.callback(process.kill)
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: answers(url), 15, f"{kind} answers")
        return url

    return start


def answers(url: str) -> bool:
    try:
        httpx.get(url, verify=False)
    except httpx.TransportError:
        return False
    return True


def test_the_stubs_keep_the_contracts(order: Stub, user: Stub) -> None:
    code, said = run_verify(
        "--order-url", order.url, "--order-id", "7", "--user-url", user.url, "--user-id", "9"
    )
    assert code == HOLDS, said
    assert said.count("7 of 7 interactions hold") == 2


@pytest.mark.parametrize("name", ["order", "user"])
@pytest.mark.parametrize(
    ("what", "original", "broken"),
    [
        ("wrong field", 'status": status', 'state": status'),
        ("wrong status", "404", "410"),
        ("missing route", "@app.put(", "@app.delete("),
    ],
)
def test_a_stub_that_drifts_is_found(
    name: str, what: str, original: str, broken: str, tmp_path: Path, end: ExitStack
) -> None:
    for part in (name, "stub"):
        shutil.copytree(ROOT / "services" / "stubs" / part, tmp_path / part)
    changed = 0
    for file in tmp_path.rglob("*.py"):
        source = file.read_text()
        changed += source.count(original)
        file.write_text(source.replace(original, broken))
    assert changed, f"{what}: nothing to break"
    process = Process((tmp_path / name / "app.py", ()), {"PORT": "0"})
    end.callback(process.kill)
    url = process.line_with(" stub on ").split(" stub on ")[1].strip()
    code, said = run_verify(f"--{name}-url", url, f"--{name}-id", "1")
    assert code == BROKEN, said
    assert "BROKEN" in said
    assert "what to do:" in said


def test_services_by_others_with_generated_ids_keep_the_contracts(foreign: Callable[..., str]) -> None:
    """The states are set up through their public API; nobody changed them for us."""
    order, user = foreign("order"), foreign("user")
    for _ in range(2):  # what was created before is still there, and in nobody's way
        code, said = run_verify("--order-url", order, "--user-url", user)
        assert code == HOLDS, said


def test_the_known_drift_of_user_is_named_with_the_setting_that_fits(foreign: Callable[..., str]) -> None:
    url = foreign("user", "/users/<int:user_id>/payment-status")
    code, said = run_verify("--user-url", url)
    assert code == BROKEN
    assert "serves PUT /users/{user_id}/payment-status, not PUT /users/{user_id}/payment-service" in said
    assert "USER_PAYMENT_PATH=/users/{user_id}/payment-status" in said

    code, said = run_verify("--user-url", url, "--user-path", "/users/{user_id}/payment-status")
    assert code == HOLDS, said


def test_a_user_that_serves_the_documented_path_under_the_other_setting_is_broken(
    foreign: Callable[..., str],
) -> None:
    code, said = run_verify("--user-url", foreign("user"), "--user-path", "/users/{user_id}/payment-status")
    assert code == BROKEN
    assert "USER_PAYMENT_PATH=/users/{user_id}/payment-service" in said


def test_a_run_that_says_nothing_is_2(order: Stub, tmp_path: Path) -> None:
    code, said = run_verify("--order-url", "http://127.0.0.1:1")
    assert code == INVALID
    assert "cannot be reached" in said

    code, said = run_verify()
    assert code == INVALID
    assert "nothing to verify" in said

    code, said = run_verify("--order-url", order.url)  # the stub creates no orders
    assert code == INVALID
    assert "ORDER_ID=" in said

    empty = json.loads((CONTRACTS / "payment-order.json").read_text()) | {"interactions": []}
    (tmp_path / "payment-order.json").write_text(json.dumps(empty))
    code, said = run_verify("--order-url", order.url, "--order-id", "1", "--contracts", str(tmp_path))
    assert code == INVALID
    assert "no interactions" in said

    strange = json.loads((CONTRACTS / "payment-order.json").read_text())
    strange["interactions"][0]["providerStates"][0]["name"] = "the moon is full"
    (tmp_path / "payment-order.json").write_text(json.dumps(strange))
    code, said = run_verify("--order-url", order.url, "--order-id", "1", "--contracts", str(tmp_path))
    assert code == INVALID
    assert "the moon is full" in said

    code, said = run_verify("--order-url", order.url, "--order-id", "1", "--contracts", str(tmp_path / "no"))
    assert code == INVALID


def test_a_state_change_url_of_the_provider_is_used(order: Stub) -> None:
    asked: list[str] = []

    def states(state: str, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        asked.append(state)
        target_id = parameters["order_id"] if "not" in state else 5
        if "paid" in state:
            httpx.put(f"{order.url}/orders/5/payment", json={"payment_status": "paid"}, verify=False)
        return {"order_id": target_id}

    with serve_states(states, []) as url:
        code, said = run_verify("--order-url", order.url, "--order-state-url", url)
    assert code == HOLDS, said
    assert {put["id"] for put in order.received() if put["applied"]} == {5}
    assert len(asked) == 7


def test_make_passes_what_it_is_given(order: Stub, user: Stub) -> None:
    ran = subprocess.run(
        [
            "make",
            "verify-contracts",
            f"ORDER_URL={order.url}",
            "ORDER_ID=3",
            f"USER_URL={user.url}",
            "USER_ID=4",
            "USER_PAYMENT_PATH=/users/{user_id}/payment-status",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2, "make's own code for a recipe that failed"
    assert "Error 1" in ran.stderr
    assert "7 of 7 interactions hold" in ran.stdout
    assert "USER_PAYMENT_PATH=/users/{user_id}/payment-service" in ran.stdout
