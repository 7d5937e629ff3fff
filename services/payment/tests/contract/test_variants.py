"""A contract asks neither less nor more than its consumer needs: each variant is judged by both."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from described import ROOT
from neighbours import ORDER, USER, Told
from payment_contracts.replay import find_contract, verify
from variants import DOES_ITS_WORK, FIRST_ID, VARIANTS, Call, serve_variants

NEIGHBOURS = pytest.mark.parametrize("neighbour", [ORDER, USER], ids=["order", "user"])


def calls_of(neighbour: Told) -> Mapping[str, Call]:
    """Return what each interaction of the contract calls."""
    name = neighbour.name
    return {
        **{f"tell that the {name} is {status}": Call.TELL for status in ("paid", "pending", "failed")},
        f"tell again that the {name} is paid": Call.TELL,
        f"tell of an unknown {name}": Call.TELL_UNKNOWN,
        f"read the {name}": Call.READ,
        f"read an unknown {name}": Call.READ_UNKNOWN,
    }


def contract_for_variants(neighbour: Told) -> dict[str, Any]:
    """Return the committed contract with each interaction once for each variant of its answer."""
    contract = find_contract(ROOT / "contracts", "payment", neighbour.name)
    by_name = {each["description"]: each for each in contract["interactions"]}
    assert by_name.keys() == calls_of(neighbour).keys(), "each interaction has its variants"
    interactions = []
    for number, variant in enumerate(VARIANTS):
        call = Call.TELL if variant.call is Call.NEVER_SENT else variant.call
        for name, interaction in by_name.items():
            if calls_of(neighbour)[name] is call:
                one = copy.deepcopy(interaction)
                one["description"] = f"{number}: {name}"
                one["providerStates"][0]["params"] = {neighbour.placeholder: FIRST_ID + number}
                interactions.append(one)
    return contract | {"interactions": interactions}


@pytest.fixture(params=[ORDER, USER], ids=["order", "user"])
def served(request: pytest.FixtureRequest) -> Iterator[tuple[Told, str]]:
    with serve_variants(request.param) as url:
        yield request.param, url


def test_the_client_and_the_verification_judge_every_variant_alike(served: tuple[Told, str]) -> None:
    """It holds if and only if the client does its work."""
    neighbour, url = served
    results = verify(contract_for_variants(neighbour), url, lambda _, parameters: parameters)
    broken = {int(each.description.split(":")[0]) for each in results if each.faults}
    client = neighbour.connect(url)
    disagreements, lines = [], []
    for number, variant in enumerate(VARIANTS):
        serves, holds = DOES_ITS_WORK[variant.call](client, FIRST_ID + number), number not in broken
        lines.append(f"{neighbour.name:6} {variant!s:45} client {serves!s:6} verification {holds}")
        if not serves == holds == variant.serves:
            disagreements.append(lines[-1])
    print("\n".join(lines))  # noqa: T201  # the table, for whoever runs this with -s
    assert disagreements == []


def test_there_are_variants_enough() -> None:
    assert len(VARIANTS) > 100
    assert len({str(variant) for variant in VARIANTS}) == len(VARIANTS)
    for call in set(Call) - {Call.NEVER_SENT}:
        assert {variant.serves for variant in VARIANTS if variant.call is call} == {True, False}
