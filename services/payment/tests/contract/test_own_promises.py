"""Our own API against the contracts of those who call it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from consumer import CONTRACTS
from described import ROOT
from key_holders import holder, let_in
from own_states import states_of
from payment_contracts.access import Access
from payment_contracts.replay import find_contract, verify
from processes import Service

SCOPES = {
    "restaurant": ("payments:read", "payments:write", "refunds:write", "reports:read"),
    "feed": ("events:read",),
}
"""By consumer: all that its API key has to be good for."""

EVERY = pytest.mark.parametrize("consumer", SCOPES)


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """One kind of database is enough: a contract is about HTTP, and the integration tests run on both."""
    return f"sqlite:///{tmp_path / 'payment.db'}"


def test_everybody_who_calls_us_has_a_contract() -> None:
    assert {consumer for consumer, provider in CONTRACTS if provider == "payment"} == set(SCOPES)


@EVERY
def test_we_keep_what_others_rely_on(consumer: str, start_alone: Service) -> None:
    contract = find_contract(ROOT / "contracts", consumer, "payment")
    results = verify(contract, start_alone.url, states_of(start_alone))
    assert [result for result in results if result.faults] == []
    assert len(results) == len(contract["interactions"])


@EVERY
def test_we_keep_it_for_those_who_bring_an_api_key(
    consumer: str, start_keyed: Callable[..., Service]
) -> None:
    """A key of these scopes is all that is needed."""
    service = start_keyed()
    let_in(service, "admin")  # who sets up the states
    contract = find_contract(ROOT / "contracts", consumer, "payment")
    caller = holder(service, *SCOPES[consumer])
    results = verify(contract, Access(service.url, token=caller.key), states_of(service))
    assert [result for result in results if result.faults] == []
    assert len(results) == len(contract["interactions"])


@EVERY
def test_without_an_api_key_nothing_of_it_holds(consumer: str, start_keyed: Callable[..., Service]) -> None:
    """Else the test above would say nothing."""
    service = start_keyed()
    let_in(service, "admin")
    contract = find_contract(ROOT / "contracts", consumer, "payment")
    results = verify(contract, service.url, states_of(service))
    assert all(any("401" in came for _, came, _ in result.faults) for result in results)


def test_a_promise_to_the_restaurant_that_we_break_is_found(start_alone: Service) -> None:
    contract = find_contract(ROOT / "contracts", "restaurant", "payment")
    for interaction in contract["interactions"]:
        if interaction["description"] == "pay an order":
            interaction["response"]["status"] = 200
            interaction["response"]["body"]["content"]["message"] = "Pembayaran berhasil"
        if interaction["description"] == "send a payment again with its Idempotency-Key":
            interaction["response"]["headers"]["Idempotency-Replayed"] = ["false"]
        if interaction["description"] == "list the payments a page at a time":
            interaction["response"]["headers"]["Link"] = ["</payments>"]
            del interaction["response"]["matchingRules"]["header"]
    results = verify(contract, start_alone.url, states_of(start_alone))
    broken = {result.description: result.faults for result in results if result.faults}
    assert set(broken) == {
        "pay an order",
        "send a payment again with its Idempotency-Key",
        "list the payments a page at a time",
    }
    assert {came for _, came, _ in broken["pay an order"]} >= {"status 201"}


def test_a_promise_to_a_follower_that_we_break_is_found(start_alone: Service) -> None:
    contract = find_contract(ROOT / "contracts", "feed", "payment")
    for interaction in contract["interactions"]:
        if interaction["description"] == "read the feed from its beginning":
            interaction["response"]["body"]["content"]["events"][0]["who"] = "kasir-1"
        if interaction["description"] == "read on at the end of the log":
            del interaction["request"]["query"], interaction["request"]["generators"]
        if interaction["description"] == "read on from a cursor that is not in the log":
            interaction["response"]["status"] = 200
        if interaction["description"] == "read only what is payment.paid":
            interaction["request"]["query"]["type"] = ["payment.created"]
        if interaction["description"] == "read the feed as the bare array of CloudEvents":
            del interaction["request"]["headers"]["Accept"]
    results = verify(contract, start_alone.url, states_of(start_alone))
    broken = {result.description: result.faults for result in results if result.faults}
    assert set(broken) == {
        "read the feed from its beginning",
        "read on at the end of the log",
        "read on from a cursor that is not in the log",
        "read only what is payment.paid",
        "read the feed as the bare array of CloudEvents",
    }
    assert {came for _, came, _ in broken["read on from a cursor that is not in the log"]} >= {"status 410"}
