"""Our side of the contracts: the production clients against Pact's mock server, one interaction at a time."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pact.error import PactError

import consumer
from consumer import CONTRACTS, Interaction, check_sound, new_pact
from described import ROOT
from payment import downstream

EVERY = [
    pytest.param(names, interaction, id=f"{'-'.join(names)}: {interaction.description}")
    for names, interactions in CONTRACTS.items()
    for interaction in interactions
]


def exercise(names: tuple[str, str], interaction: Interaction) -> None:
    """Make the call against a mock that knows this interaction alone; raises if either side differs."""
    pact = new_pact(*names)
    interaction.declare(pact)
    with pact.serve(addr="127.0.0.1") as server:
        returned = interaction.call(str(server.url))
    assert interaction.expected(returned), returned


@pytest.mark.parametrize(("names", "interaction"), EVERY)
def test_we_call_as_the_contract_says_and_understand_the_answer(
    names: tuple[str, str], interaction: Interaction
) -> None:
    exercise(names, interaction)


def test_the_committed_contracts_are_what_the_interactions_generate(tmp_path: Path) -> None:
    """`make contracts` mends it; a contract is never edited by hand."""
    generator = Path(consumer.__file__)
    subprocess.run(
        [sys.executable, str(generator), str(tmp_path)],
        check=True,
        cwd=generator.parent,
        env={"PACT_DO_NOT_TRACK": "true"},
    )
    generated = {file.name: file.read_text() for file in tmp_path.iterdir()}
    committed = {file.name: file.read_text() for file in (ROOT / "contracts").glob("*-*.json")}
    for contract in (*generated.values(), *committed.values()):
        assert json.loads(contract)["interactions"]
    assert committed == generated


def test_a_contract_without_interactions_is_refused() -> None:
    with pytest.raises(ValueError, match="no interactions"):
        check_sound("payment-order", [])


def test_two_interactions_of_one_name_and_state_are_refused() -> None:
    first, second, *_ = CONTRACTS["payment", "order"]
    twin = dataclasses.replace(second, description=first.description)
    with pytest.raises(ValueError, match="two interactions"):
        check_sound("payment-order", [first, twin])


def test_generating_into_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("{}")
    with pytest.raises(ValueError, match="not empty"):
        consumer.write_contracts(tmp_path)


# What a change of the clients would do to the contract, each by a small edit of downstream.py. Every one must
# be caught here: a mutation that passes is a hole in the contract.
MUTATIONS = {
    "method": ('"PUT",', '"POST",'),
    "path": ("self._base_url + path,", 'self._base_url + path + "s",'),
    "field name": ("{self.status_field: status}", '{self.status_field + "x": status}'),
    "type": ("{self.status_field: status}", "{self.status_field: [status]}"),
    "value": ("{self.status_field: status}", "{self.status_field: status.upper()}"),
    "content type": ('"Content-Type": "application/json",', '"Content-Type": "text/plain",'),
    "missing body": ("data=json.dumps({self.status_field: status}),", ""),
    "extra field": ("{self.status_field: status}", '{self.status_field: status, "amount": 1}'),
    "swallowing a 404": ("if status == HTTPStatus.NOT_FOUND:", "if status == 999:"),
    "treating 404 as success": ("if 200 <= status < 300:", "if 200 <= status < 300 or status == 404:"),
    "treating 400 as success": ("if 200 <= status < 300:", "if 200 <= status < 300 or status == 400:"),
    "no idempotency key": ('"Idempotency-Key": idempotency_key,', ""),
    "no traceparent": ('"traceparent": traceparent,', ""),
    "reading another field": ('read_field = "status"', 'read_field = "payment_status"'),
    "reading another path": ('read_path = "/orders/{order_id}"', 'read_path = "/order/{order_id}"'),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_change_of_the_clients_does_not_go_unnoticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(downstream.__file__).read_text()
    original, mutated = MUTATIONS[name]
    assert original in source
    namespace: dict[str, Any] = {"__name__": "payment.downstream"}
    changed = compile(source.replace(original, mutated), downstream.__file__, "exec")
    exec(changed, namespace)
    namespace.update({"Heard": downstream.Heard, "Seen": downstream.Seen})  # what is heard stays comparable
    for client in ("OrderClient", "UserClient"):
        for method in ("tell", "read", "_judge", "_call"):
            monkeypatch.setattr(
                getattr(downstream, client), method, getattr(namespace[client], method), raising=False
            )
        for attribute in ("read_field", "read_path"):
            monkeypatch.setattr(getattr(downstream, client), attribute, getattr(namespace[client], attribute))
    noticed = []
    for interaction in CONTRACTS["payment", "order"]:
        try:
            exercise(("payment", "order"), interaction)
        except (AssertionError, PactError) as error:
            noticed.append((interaction.description, type(error).__name__))
    assert noticed, f"{name}: nothing noticed"
