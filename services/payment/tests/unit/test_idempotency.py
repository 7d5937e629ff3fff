"""Idempotency keys: what one may be, what makes two requests the same, what a second one gets."""

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment.core.errors import KeyInvalid, KeyReused
from payment.core.units import WHOLE_NUMBER_MAX
from payment.ledger.idempotency import (
    BookedAnswer,
    Key,
    UsedKey,
    fingerprint,
    read_key,
    replay,
    wordings,
)
from payment.web.schemas import NewPayment

VISIBLE = "".join(chr(code) for code in range(0x21, 0x7F))
ANSWER = BookedAnswer(201, "/payments/1", '{"message":"Pembayaran diproses","payment_id":1}')

whole = st.integers(1, WHOLE_NUMBER_MAX)
bodies = st.fixed_dictionaries(
    {"order_id": whole, "user_id": whole, "amount": whole},
    optional={"method": st.sampled_from(["cash", "card", "qris", "transfer", "ewallet"])},
)


def read(body: Mapping[str, Any]) -> Mapping[str, Any]:
    return NewPayment().read(dict(body))


def key(of_fingerprint: str) -> Key:
    return Key("", "create_payment", "k1", of_fingerprint)


@pytest.mark.parametrize(
    "given_key",
    ["a", "8e03978e-40d5-43e8-bc93-6894a57f9324", '"quoted"', "!", "~", VISIBLE, "k" * 255],
    ids=lambda text: text[:12],
)
def test_a_key_is_one_to_255_visible_ascii_characters(given_key: str) -> None:
    assert read_key([given_key]) == given_key


def test_a_request_need_not_have_a_key() -> None:
    assert read_key([]) is None


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([""], id="empty"),
        pytest.param(["k" * 256], id="256 characters"),
        pytest.param(["k" * 65_536], id="64 KiB"),
        pytest.param([" "], id="a space"),
        pytest.param(["two words"], id="a space within"),
        pytest.param([" k"], id="a space before"),
        pytest.param(["k "], id="a space after"),
        pytest.param(["k\t"], id="a tab"),
        pytest.param(["k\n"], id="a newline after"),
        pytest.param(["k\r\nX-Other: 1"], id="a second header smuggled in"),
        pytest.param(["k\x00"], id="NUL"),
        pytest.param(["k\x7f"], id="DEL"),
        pytest.param(["ké"], id="Latin-1"),
        pytest.param(["k\xa0"], id="a no-break space"),
        pytest.param(["кey"], id="Cyrillic"),
        pytest.param(["１２３"], id="full-width digits"),
        pytest.param(["a", "b"], id="twice"),
        pytest.param(["a", "a"], id="twice the same"),
        pytest.param(["a", ""], id="a second that is empty"),
    ],
)
def test_anything_else_is_refused_by_the_name_of_the_header(values: list[str]) -> None:
    with pytest.raises(KeyInvalid) as refused:
        read_key(values)
    assert refused.value.status == 400
    assert refused.value.field == "Idempotency-Key"


def test_the_order_in_which_fields_were_read_does_not_count() -> None:
    assert fingerprint({"order_id": 1, "amount": 2}) == fingerprint({"amount": 2, "order_id": 1})


@given(bodies, st.randoms(use_true_random=False))
def test_the_order_of_the_fields_makes_no_other_request(body: dict[str, Any], random: Any) -> None:
    shuffled = list(body.items())
    random.shuffle(shuffled)
    assert fingerprint(read(dict(shuffled))) == fingerprint(read(body))


@given(bodies)
def test_neither_unknown_fields_nor_20000_0_for_20000_make_another_request(body: dict[str, Any]) -> None:
    other_spelling = body | {"amount": float(body["amount"]), "note": "for table 7"}
    assert fingerprint(read(other_spelling)) == fingerprint(read(body))


def test_saying_cash_is_the_same_as_saying_nothing() -> None:
    body = {"order_id": 1, "user_id": 1, "amount": 20_000}
    assert fingerprint(read(body | {"method": "cash"})) == fingerprint(read(body))
    assert fingerprint(read(body | {"method": "qris"})) != fingerprint(read(body))


BODY = {"order_id": 1, "user_id": 1, "amount": 20_000}
UNSAID = {"status": "paid", "order_total": 20_000}
SAME = [BODY | said for said in ({}, {"status": "paid"}, {"order_total": 20_000}, UNSAID)]


def in_any_words(body: Mapping[str, Any]) -> Key:
    asked = read(body)
    return replace(key(fingerprint(asked)), in_other_words=partial(wordings, asked, UNSAID))


@pytest.mark.parametrize(("kept", "asked"), list(product(SAME, repeat=2)))
def test_what_is_so_anyway_may_be_said_or_not(kept: dict[str, Any], asked: dict[str, Any]) -> None:
    """Whichever was kept, also by a version that knew no other words."""
    assert replay(UsedKey(fingerprint(read(kept)), ANSWER), in_any_words(asked)).replayed


@pytest.mark.parametrize(
    "other", [{"status": "pending"}, {"order_total": 40_000}, {"status": "pending", "order_total": 20_000}]
)
@pytest.mark.parametrize("kept", SAME)
def test_what_is_not_so_anyway_makes_another_request(kept: dict[str, Any], other: dict[str, Any]) -> None:
    with pytest.raises(KeyReused):
        replay(UsedKey(fingerprint(read(kept)), ANSWER), in_any_words(BODY | other))
    with pytest.raises(KeyReused):
        replay(UsedKey(fingerprint(read(BODY | other)), ANSWER), in_any_words(kept))


@given(bodies, bodies)
def test_two_requests_are_the_same_exactly_if_every_field_is(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert (fingerprint(read(one)) == fingerprint(read(other))) is (read(one) == read(other))


@given(bodies, st.sampled_from(["order_id", "user_id", "amount"]), whole)
def test_another_value_in_any_field_makes_another_request(
    body: dict[str, Any], field: str, value: int
) -> None:
    changed = body | {field: value}
    assert (fingerprint(read(changed)) == fingerprint(read(body))) is (value == body[field])


def test_swapped_values_make_another_request() -> None:
    one = {"order_id": 1, "user_id": 2, "amount": 20_000}
    other = {"order_id": 2, "user_id": 1, "amount": 20_000}
    assert fingerprint(read(one)) != fingerprint(read(other))


def test_a_fingerprint_shows_nothing_of_the_body_and_is_short() -> None:
    """It is stored for 30 days beside every key."""
    printed = fingerprint(read({"order_id": 987_654_321, "user_id": 1, "amount": 20_000}))
    assert len(printed) == 64
    assert "987654321" not in printed


def test_the_same_request_gets_the_first_answer_again_byte_for_byte() -> None:
    again = replay(UsedKey("f1", ANSWER), key("f1"))
    assert again == replace(ANSWER, replayed=True)
    assert again.body == ANSWER.body
    assert json.loads(again.body) == {"message": "Pembayaran diproses", "payment_id": 1}


def test_the_kept_answer_stays_what_it_was() -> None:
    kept = UsedKey("f1", ANSWER)
    replay(kept, key("f1"))
    assert kept == UsedKey("f1", replace(ANSWER, replayed=False))


def test_the_key_of_another_request_is_refused() -> None:
    with pytest.raises(KeyReused) as refused:
        replay(UsedKey("f1", ANSWER), key("f2"))
    assert refused.value.status == 422
    assert refused.value.field == "Idempotency-Key"


def test_a_key_belongs_to_its_caller_and_its_operation() -> None:
    mine = key("f1")
    assert mine.identity != replace(mine, caller="somebody else").identity
    assert mine.identity != replace(mine, operation="settle_payment").identity
    assert mine.identity != replace(mine, key="k2").identity
    assert mine.identity == replace(mine, fingerprint="f2").identity, "or a reused key would go unseen"
