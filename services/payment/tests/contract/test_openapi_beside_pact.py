"""The contracts beside the OpenAPI files: what is relied on is what is described, and a drift is found.

`make test` installs the comparator, from contracts/opc.
"""

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from described import ROOT

CONTRACTS = ROOT / "contracts"
NODE = Path(sys.executable).with_name("node")
OPC = CONTRACTS / "opc" / "node_modules" / ".bin" / "opc"

PAIRS = {
    "payment-order": "order",
    "payment-user": "user",
    "restaurant-payment": "payment",
    "feed-payment": "payment",
}
"""Each contract, and the OpenAPI file of its provider."""


def description(provider: str) -> Path:
    return ROOT / "openapi" / f"{provider}.yaml"


def without_keys(openapi: Path, folder: Path) -> Path:
    """Return the description of a service that asks for no API keys, as AUTH=none; the others' never do."""
    lines = openapi.read_text().splitlines(keepends=True)
    open_to_all = folder / openapi.name
    open_to_all.write_text("".join(line for line in lines if not line.startswith("      security:")))
    return open_to_all


def compare(openapi: Path, contract: Path) -> list[dict[str, Any]]:
    """Return what does not fit, warnings included."""
    assert OPC.exists(), "run: make compare-openapi"
    ran = subprocess.run(
        [NODE, OPC, "--oas", openapi, contract], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.stdout.count("\n") == 1, ran.stderr
    found: list[dict[str, Any]] = json.loads(ran.stdout)
    assert ran.returncode == any(one["type"] == "error" for one in found), ran.stderr
    return found


@pytest.mark.parametrize("name", PAIRS)
def test_a_contract_fits_the_description_of_its_provider(name: str, tmp_path: Path) -> None:
    openapi = without_keys(description(PAIRS[name]), tmp_path)
    assert compare(openapi, CONTRACTS / f"{name}.json") == []


@pytest.mark.parametrize("name", [name for name, provider in PAIRS.items() if provider == "payment"])
def test_where_api_keys_are_asked_for_each_request_to_us_has_to_bring_one(name: str) -> None:
    """And nothing else is amiss; test_own_promises.py replays them with a key."""
    found = compare(description("payment"), CONTRACTS / f"{name}.json")
    assert {one["code"] for one in found} == {"request.authorization.missing"}


def test_every_contract_has_its_description() -> None:
    assert {file.stem for file in CONTRACTS.glob("*-*.json")} == set(PAIRS)


BODY = ("request", "body", "content")
ANSWER = ("response", "body", "content")
ROUTE = "request.path-or-method.unknown"
REQUEST = "request.body.incompatible"
QUERY = "request.query.incompatible"
ANSWERED = "response.body.incompatible"
STATUS = "response.status.unknown"

# contract, interaction; what is changed, where, to what; what the comparator must say
TELLING = [
    ("extra request field", (*BODY, "amount"), 20_000, REQUEST),
    ("missing request field", BODY, {}, REQUEST),
    ("missing route", ("request", "path"), "/nothing/1/payment", ROUTE),
    ("method", ("request", "method"), "POST", ROUTE),
    ("status", ("response", "status"), 302, STATUS),
    (
        "content type",
        ("request", "headers", "Content-Type"),
        ["text/plain"],
        "request.content-type.incompatible",
    ),
]
READING = [
    ("answer's field that is not described", (*ANSWER, "paid_by"), "Ayu", ANSWERED),
    ("missing route to read", ("request", "path"), "/nothing/1", ROUTE),
]
DRIFTS = [
    ("payment-order", "read the order", "type", (*ANSWER, "status"), 1, ANSWERED),
    ("payment-user", "read the user", "type", (*ANSWER, "payment_status"), 1, ANSWERED),
    *(("payment-order", "read the order", *drift) for drift in READING),
    *(("payment-user", "read the user", *drift) for drift in READING),
    *(("payment-order", "tell that the order is paid", *drift) for drift in TELLING),
    *(("payment-user", "tell that the user is paid", *drift) for drift in TELLING),
    ("payment-order", "tell that the order is paid", "enum", (*BODY, "payment_status"), "lunas", REQUEST),
    ("payment-user", "tell that the user is paid", "enum", (*BODY, "status"), "lunas", REQUEST),
    ("restaurant-payment", "pay an order", "type", (*BODY, "amount"), "20000", REQUEST),
    ("restaurant-payment", "pay an order", "enum", (*BODY, "method"), "gold", REQUEST),
    ("restaurant-payment", "pay an order", "status", ("response", "status"), 202, STATUS),
    ("restaurant-payment", "read a payment", "method", ("request", "method"), "DELETE", ROUTE),
    *(
        ("feed-payment", "read the feed from its beginning", what, (*ANSWER, *where), value, ANSWERED)
        for what, where, value in (
            ("no cursor", ("next_cursor",), None),
            ("kind", ("events", 0, "type"), "payment.lost"),
            ("number", ("events", 0, "id"), 2),
            ("other field", ("events", 0, "who"), "kasir-1"),
        )
    ),
    ("feed-payment", "read only what is payment.paid", "filter", ("request", "query", "type"), ["x"], QUERY),
    ("feed-payment", "read the story of a payment", "status", ("response", "status"), 302, STATUS),
]


def drifted(contract: dict[str, Any], interaction: str, what: str, where: tuple[str, ...], value: Any) -> Any:
    """Return an interaction of the contract that says something else there; `what` is its name."""
    (original,) = (one for one in contract["interactions"] if one["description"] == interaction)
    changed = node = copy.deepcopy(original)
    for step in where[:-1]:
        node = node[step]
    node[where[-1]] = value
    return changed | {"description": what}


@pytest.mark.parametrize("name", PAIRS)
def test_a_contract_that_drifts_is_found(name: str, tmp_path: Path) -> None:
    """All in one file beside what fits, as each start of Node takes a second."""
    contract = json.loads((CONTRACTS / f"{name}.json").read_text())
    drifts = [drift[1:] for drift in DRIFTS if drift[0] == name]
    expected = {what: {code} for _, what, _, _, code in drifts}
    assert len(expected) == len(drifts) > 0
    contract["interactions"] += [drifted(contract, *drift[:4]) for drift in drifts]
    (tmp_path / "drifted.json").write_text(json.dumps(contract))

    found: dict[str, set[str]] = {}
    openapi = without_keys(description(PAIRS[name]), tmp_path)
    for one in compare(openapi, tmp_path / "drifted.json"):
        codes = found.setdefault(one["mockDetails"]["interactionDescription"], set())
        if one["type"] == "error":
            codes.add(one["code"])
    assert found == expected, "each is found, and nothing else"


@pytest.mark.parametrize(
    ("original", "instead", "code"),
    [
        ("/users/{user_id}/payment-service:", "/users/{user_id}/payment-status:", ROUTE),
        ("[pending, paid, failed]", "[pending, lunas, failed]", REQUEST),
        ("        payment_status:", "        status_pembayaran:", ANSWERED),
    ],
)
def test_a_provider_whose_description_drifts_is_found(
    original: str, instead: str, code: str, tmp_path: Path
) -> None:
    """What their team would see if they changed openapi/user.yaml, or sent us their own."""
    written = description("user").read_text()
    assert original in written
    (tmp_path / "user.yaml").write_text(written.replace(original, instead))
    found = compare(tmp_path / "user.yaml", CONTRACTS / "payment-user.json")
    assert code in {one["code"] for one in found}


def test_the_lock_names_no_registry() -> None:
    """Npm takes the one that it is set up with."""
    lock = json.loads((CONTRACTS / "opc" / "package-lock.json").read_text())
    installed = [package for path, package in lock["packages"].items() if path]
    assert installed
    assert all(package["integrity"] and "resolved" not in package for package in installed)
