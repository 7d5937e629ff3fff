"""Our side of the contracts: the production clients against Pact's mock server, one interaction at a time."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

import consumer
from consumer import CONTRACTS, check_sound
from described import ROOT
from interaction import Interaction
from neighbours import ORDER, USER
from payment.telling.delivery import send
from promises import PROMISES, Clients, exercise

EVERY = [
    pytest.param(names, interaction, id=f"{'-'.join(names)}: {interaction.description}")
    for names, interactions in CONTRACTS.items()
    for interaction in interactions
]


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


@pytest.mark.parametrize("name", PROMISES)
def test_the_clients_keep_their_promises(name: str) -> None:
    PROMISES[name](Clients(ORDER.client, USER.client, send))
