"""Bodies and answers: Marshmallow and openapi/payment.yaml say the same, and no bytes do any harm.

Where a test below fails, the specification tells callers something else than the service does.
"""

import json
import math
import re
import time
import unicodedata
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft4Validator

from described import description, resolve
from payment.core.errors import BodyNotObject, FieldInvalid, FieldsRequired, JsonInvalid, PaymentError
from payment.core.states import Method, Status
from payment.core.units import WHOLE_NUMBER_MAX
from payment.ledger.answers import NotificationAnswer, PaymentAnswer, Timestamp
from payment.web.messages import ENGLISH, INDONESIAN, words_of
from payment.web.schemas import BodySchema, Choice, NewPayment, NewRefund, Settlement, Text, WholeNumber

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Connexion and what it loads warn of one another while they load
    from payment.web.operations import parse_json

NUMBERS = ("order_id", "user_id", "amount")
KNOWN = {*NUMBERS, "method", "status", "order_total", "reason", "expected_refunded"}
USUAL = {"order_id": 1, "user_id": 1, "amount": 20_000}


@cache
def validator(schema: str) -> Draft4Validator:
    """Return what judges by the specification alone; formats are not judged."""
    judged = resolve(description()["components"]["schemas"][schema])
    for field in judged["properties"].values():
        if "pattern" in field:
            field["pattern"] = field["pattern"].removesuffix("$") + r"\Z"  # Python's $ is not ECMA-262's
    return Draft4Validator(judged)


def refusal(body: object, schema: BodySchema = NewPayment()) -> PaymentError | None:  # noqa: B008  # stateless
    try:
        schema.read(body)
    except PaymentError as error:
        return error
    return None


# Numbers near every border, of both kinds; nothing that JSON has no word for.
near_limits = st.sampled_from([0, 1, 2, WHOLE_NUMBER_MAX - 1, WHOLE_NUMBER_MAX, WHOLE_NUMBER_MAX + 1])
integers = (
    near_limits
    | near_limits.map(lambda number: -number)
    | st.integers(-(2**70), 2**70)
    | st.integers(300, 4000).map(lambda digits: 10**digits)  # more than a float can be
)
floats = (
    near_limits.map(float)
    | st.integers(-10, 10).map(lambda number: number / 2)
    | st.integers(1, WHOLE_NUMBER_MAX).map(float)
    | st.integers(1, 2**50).map(lambda number: number + 0.5)
    | st.floats(allow_nan=False, allow_infinity=False)
)
other_values = (
    st.none()
    | st.booleans()
    | st.text(max_size=8)
    | st.sampled_from(["1", "20000", "1.0", "cash", "", "1e3", "٣", "\ud800"])
    | st.lists(st.integers(), max_size=2)
    | st.dictionaries(st.text(max_size=3), st.integers(), max_size=2)
)
good_numbers = st.integers(1, WHOLE_NUMBER_MAX) | st.integers(1, WHOLE_NUMBER_MAX).map(float)
good_methods = st.sampled_from([method.value for method in Method])
any_numbers = good_numbers | integers | floats | other_values
any_methods = (
    good_methods | st.sampled_from(["Cash", "cash ", "CASH", "cheque", ""]) | other_values | integers
)
extra_fields = st.dictionaries(
    st.text(max_size=6).filter(lambda name: name not in KNOWN),
    integers | other_values,
    max_size=2,
)


def with_extra(bodies: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(lambda body, extra: extra | body, bodies, extra_fields)


good_bodies = with_extra(
    st.fixed_dictionaries(dict.fromkeys(NUMBERS, good_numbers), optional={"method": good_methods})
)
# One thing at most is wrong with these, so that each rule is met alone ...
near_bodies = st.builds(
    lambda body, change: body | change,
    good_bodies,
    st.builds(lambda name, value: {name: value}, st.sampled_from(NUMBERS), any_numbers)
    | any_methods.map(lambda value: {"method": value}),
) | st.builds(
    lambda body, missing: {name: value for name, value in body.items() if name != missing},
    good_bodies,
    st.sampled_from([*NUMBERS, "method"]),
)
# ... and anything with these.
any_bodies = (
    with_extra(
        st.fixed_dictionaries({}, optional=dict.fromkeys(NUMBERS, any_numbers) | {"method": any_methods})
    )
    | other_values
    | integers
)


@given(good_bodies)
def test_a_good_body_is_accepted_by_the_specification_and_by_the_service(body: dict[str, Any]) -> None:
    assert validator("NewPayment").is_valid(body)
    assert refusal(body) is None


@given(near_bodies | any_bodies)
@example(USUAL | {"amount": 20_000.0})
@example(USUAL | {"amount": 20_000.5})
@example(USUAL | {"amount": "20000"})
@example(USUAL | {"amount": True})
@example(USUAL | {"amount": 0})
@example(USUAL | {"amount": WHOLE_NUMBER_MAX})
@example(USUAL | {"amount": WHOLE_NUMBER_MAX + 1})
@example(USUAL | {"amount": float(WHOLE_NUMBER_MAX + 1)})
@example(USUAL | {"amount": 10**400})
@example(USUAL | {"amount": 1e308})
@example(USUAL | {"method": None})
@example({})
@example([])
@example(None)
def test_the_specification_accepts_exactly_what_the_service_accepts(body: Any) -> None:
    assert validator("NewPayment").is_valid(body) is (refusal(body) is None)


words = st.sampled_from([*Status, "Paid", " paid", ""]).map(str) | other_values | integers
texts = st.text(
    st.characters(exclude_categories=["Cs"])
    | st.sampled_from("\x00\n\x1f\x7f\x9f\xa0 \u061c\u200b\u200d\u200e\u2028\u202e\u2066\ufe0f\ufeff"),
    max_size=4,
)
OTHERS: dict[str, tuple[BodySchema, dict[str, st.SearchStrategy[Any]]]] = {
    "NewPayment": (
        NewPayment(),
        dict.fromkeys(NUMBERS, good_numbers) | {"order_total": any_numbers, "status": words},
    ),
    "Settlement": (Settlement(), {"status": words}),
    "NewRefund": (
        NewRefund(),
        {
            "amount": any_numbers,
            "expected_refunded": any_numbers,
            # half of a surrogate pair is the one thing that a pattern cannot refuse for every reader
            "reason": texts | st.sampled_from([199, 200, 201]).map(lambda size: "x" * size) | integers,
        },
    ),
}


@pytest.mark.parametrize("name", OTHERS)
@given(data=st.data())
def test_the_specification_accepts_exactly_what_the_service_accepts_of_every_body(
    name: str, data: st.DataObject
) -> None:
    schema, fields = OTHERS[name]
    body = data.draw(with_extra(st.fixed_dictionaries({}, optional=fields)) | other_values)
    if body is None and name == "NewRefund":
        body = {}  # no body is an empty one
    assert validator(name).is_valid(body) is (refusal(body, schema) is None)


def is_text(value: str) -> bool:
    return refusal({"reason": value}, NewRefund()) is None


def test_a_free_text_is_described_by_the_very_pattern_that_reads_it() -> None:
    """Each of every body."""
    described = description()["components"]["schemas"]
    texts = 0
    for body in BodySchema.__subclasses__():
        for name, field in body().fields.items():
            if isinstance(field, Text):
                said = described[body.__name__]["properties"][name]
                assert (said["pattern"], said["maxLength"]) == (Text.pattern, Text.max_chars)
                texts += 1
            else:
                assert isinstance(field, WholeNumber | Choice), "a new kind of field: is it free text?"
    assert texts > 0


SHOWN = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2}
"""Of Unicode's format characters, those that are drawn (Prepended_Concatenation_Mark)."""
TURNS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def test_no_character_turns_a_text_around_and_none_that_shows_nothing_is_one() -> None:
    """All of the Basic Multilingual Plane, by Unicode's own tables."""
    for number in {*range(0x10000)} - {*range(0xD800, 0xE000)}:
        character = chr(number)
        category, direction = unicodedata.category(character), unicodedata.bidirectional(character)
        is_mark = character in "\u061c\u200e\u200f"
        is_refused = category in {"Cc", "Zl", "Zp"} or direction in TURNS or is_mark
        is_unseen = category == "Zs" or (category == "Cf" and number not in SHOWN)
        if is_refused:
            assert not is_text(f"a{character}b"), hex(number)
        elif not is_unseen:
            assert is_text(f"a{character}b") or number in range(0xFFF9, 0xFFFC), hex(number)
        if is_refused or is_unseen:
            assert not is_text(character), hex(number)
            assert not is_text(f" {character}"), hex(number)


@pytest.mark.parametrize("size", [1, 199, 200, 201])
def test_a_text_is_counted_in_characters(size: int) -> None:
    for character in ("x", "\N{PILE OF POO}", "é"):
        assert is_text(character * size) is (size <= 200)


@given(good_bodies)
def test_what_is_read_is_whole_numbers_within_the_limits_and_no_more_fields(body: dict[str, Any]) -> None:
    read = NewPayment().read(body)
    assert set(read) == {*NUMBERS, "method"}
    for name in NUMBERS:
        assert type(read[name]) is int
        assert read[name] == body[name]
        assert 1 <= read[name] <= WHOLE_NUMBER_MAX
    assert read["method"] == body.get("method", "cash")


@given(near_bodies)
def test_a_refusal_names_the_field_that_is_wrong(body: dict[str, Any]) -> None:
    error = refusal(body)
    if error is None:
        return
    if any(body.get(name) is None for name in NUMBERS):
        assert isinstance(error, FieldsRequired)
        return
    assert isinstance(error, FieldInvalid)
    wrong = [e.path[0] for e in validator("NewPayment").iter_errors(body)]
    assert set(wrong) == {error.field}


@pytest.mark.parametrize("field", NUMBERS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=str)
def test_what_is_no_number_at_all_is_refused_by_its_field(field: str, value: float) -> None:
    """JSON has no such thing, but Python's parser reads `NaN` and makes 1e999 infinite."""
    error = refusal(USUAL | {field: value})
    assert isinstance(error, FieldInvalid)
    assert error.field == field


def test_of_several_wrong_fields_the_first_is_named() -> None:
    error = refusal({"order_id": 0, "user_id": 0, "amount": 0, "method": "x"})
    assert isinstance(error, FieldInvalid)
    assert error.field == "order_id"


def test_a_missing_field_goes_before_a_wrong_one() -> None:
    assert isinstance(refusal({"order_id": 0, "user_id": 1}), FieldsRequired)


def test_no_body_is_one_whose_fields_are_missing() -> None:
    assert isinstance(refusal(None), FieldsRequired)


@pytest.mark.parametrize("body", [[], [USUAL], "x", 1, 1.5, True, False, math.nan], ids=repr)
def test_a_body_that_is_no_object_is_called_that(body: object) -> None:
    assert isinstance(refusal(body), BodyNotObject)


def test_the_methods_of_the_specification_are_those_of_the_service() -> None:
    schemas = description()["components"]["schemas"]
    for name in ("NewPayment", "Payment"):
        assert schemas[name]["properties"]["method"]["enum"] == [method.value for method in Method]
    assert schemas["Payment"]["properties"]["status"]["enum"] == [status.value for status in Status]


NEW_YEAR_10000_US = 253_402_300_800_000_000
times_us = st.integers(0, NEW_YEAR_10000_US - 1)
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def written(value_us: int | None) -> Any:
    return Timestamp().serialize("at", {"at": value_us})


@given(times_us)
def test_a_time_is_written_in_rfc_3339_to_the_microsecond(time_us: int) -> None:
    text = written(time_us)
    assert RFC_3339.fullmatch(text)
    since = datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)
    assert (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds == time_us


def test_times_are_utc_and_keep_their_zeros() -> None:
    assert written(0) == "1970-01-01T00:00:00.000000Z"
    assert written(1_769_862_896_789_012) == "2026-01-31T12:34:56.789012Z"
    assert written(None) is None


@given(times_us, times_us)
def test_times_sort_as_text(one_us: int, other_us: int) -> None:
    assert (written(one_us) < written(other_us)) is (one_us < other_us)


whole = st.integers(1, WHOLE_NUMBER_MAX)
payment_rows = st.fixed_dictionaries(
    {
        "id": whole,
        "order_id": whole,
        "user_id": whole,
        "amount": whole,
        "amount_refunded": st.integers(0, WHOLE_NUMBER_MAX),
        "status": st.sampled_from(Status),
        "method": st.sampled_from(Method),
        "created_us": times_us,
        "updated_us": times_us,
    }
)


@given(payment_rows)
def test_a_payment_is_shown_as_the_specification_says(row: dict[str, Any]) -> None:
    shown = json.loads(json.dumps(PaymentAnswer().dump(row)))
    validator("Payment").validate(shown)
    assert list(shown) == description()["components"]["schemas"]["Payment"]["required"]
    assert {name: shown[name] for name in shown if name in row} == {n: row[n] for n in row if n in shown}
    assert (shown["created_at"], shown["updated_at"]) == (
        written(row["created_us"]),
        written(row["updated_us"]),
    )


def test_a_notification_is_shown_with_all_that_operators_need() -> None:
    row = {
        "id": 1,
        "service": "order",
        "target_id": 7,
        "payment_id": 3,
        "state": "waiting",
        "told": None,
        "attempts": 2,
        "next_attempt_us": 1_000_000,
        "last_error": "HTTP 503",
        "created_us": 0,
        "settled_us": None,
        "traceparent": "not for them",
    }
    assert NotificationAnswer().dump(row) == {
        "id": 1,
        "service": "order",
        "target_id": 7,
        "payment_id": 3,
        "state": "waiting",
        "told": None,
        "attempts": 2,
        "next_attempt_at": "1970-01-01T00:00:01.000000Z",
        "last_error": "HTTP 503",
        "created_at": "1970-01-01T00:00:00.000000Z",
        "settled_at": None,
    }


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"", None),
        (b" \t\r\n", None),
        (b"null", None),
        (b"{}", {}),
        (b" {} \n", {}),
        (b'{"amount":20000}', {"amount": 20_000}),
        (b'{"amount":20000.0}', {"amount": 20_000.0}),
        (b'{"amount":2e4}', {"amount": 20_000.0}),
        (b'{"amount":-0}', {"amount": 0}),
        (b'{"a":{"b":1},"c":[{"b":1},{"b":1}]}', {"a": {"b": 1}, "c": [{"b": 1}, {"b": 1}]}),
        (b'{"amount":1e999}', {"amount": Decimal("1e999")}),
        (b'{"amount":0.99999999999999999999}', {"amount": Decimal("0.99999999999999999999")}),
        (b'{"amount":1e99999999999999999999}', {"amount": math.inf}),
        (b'{"amount":' + b"9" * 400 + b"}", {"amount": 10**400 - 1}),
        (b'{"amount":' + b"9" * 4300 + b"}", {"amount": 10**4300 - 1}),
        (b'{"amount":' + b"9" * 5000 + b"}", {"amount": math.inf}),
        (b'{"amount":-' + b"9" * 60_000 + b"}", {"amount": -math.inf}),
        (b'"\\ud800"', "\ud800"),  # half a character, but JSON allows it
        (b'{"\\udfff":1}', {"\udfff": 1}),
        ('"\N{PILE OF POO}"'.encode(), "\N{PILE OF POO}"),
        (b'"\\u0000"', "\x00"),
        (b"[" * 500 + b"]" * 500, json.loads("[" * 500 + "]" * 500)),
    ],
    ids=lambda value: repr(value)[:40] if isinstance(value, bytes) else "",
)
def test_this_is_json(body: bytes, value: object) -> None:
    assert parse_json(body) == value


@pytest.mark.parametrize("body", [b"NaN", b'{"amount":NaN}', b'{"amount":-Infinity}'], ids=repr)
def test_python_s_own_numbers_are_json_that_a_schema_refuses_or_no_json(body: bytes) -> None:
    with pytest.raises(PaymentError):
        NewPayment().read(parse_json(body))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\xff", id="no UTF-8"),
        pytest.param(b'{"a":"\xc3"}', id="half a UTF-8 character"),
        pytest.param(b'"\xed\xa0\x80"', id="a surrogate in UTF-8"),
        pytest.param(b'"\xc0\x80"', id="an overlong NUL"),
        pytest.param("{}".encode("utf-16"), id="UTF-16"),
        pytest.param("{}".encode("utf-32-be"), id="UTF-32"),
        pytest.param(b"\xef\xbb\xbf{}", id="a BOM"),
        pytest.param(b"\xef\xbb\xbf", id="a BOM alone"),
        pytest.param(b"\x00", id="NUL"),
        pytest.param(b"\xc2\xa0", id="a no-break space alone"),
        pytest.param(b"\x0c", id="a form feed alone"),
        pytest.param(b"{", id="half an object"),
        pytest.param(b'{"amount":20000', id="an object cut off"),
        pytest.param(b'{"amount":}', id="no value"),
        pytest.param(b"{amount:1}", id="a name without quotes"),
        pytest.param(b"{'amount':1}", id="single quotes"),
        pytest.param(b'{"amount":1,}', id="a comma too many"),
        pytest.param(b'{"amount":01}', id="a leading zero"),
        pytest.param(b'{"amount":+1}', id="a plus"),
        pytest.param(b'{"amount":0x10}', id="hexadecimal"),
        pytest.param(b'{"amount":1_000}', id="an underscore"),
        pytest.param('{"amount":٣}'.encode(), id="Arabic digits"),
        pytest.param(b'{"a":"line\nbreak"}', id="a bare line break in a string"),
        pytest.param(b"{} {}", id="two values"),
        pytest.param(b"{}//", id="a comment"),
        pytest.param(b"amount=20000&order_id=1", id="a form"),
        pytest.param(b"9" * 5000 + b"x", id="a long number and more"),
        pytest.param(b"[" * 100_000, id="100000 brackets"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, id="100000 brackets that close"),
        pytest.param(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, id="100000 objects in one another"),
        pytest.param(b"[" * 100_000 + b"9" * 5000 + b"]" * 100_000, id="a long number deep down"),
    ],
)
def test_this_is_no_json(body: bytes) -> None:
    with pytest.raises(JsonInvalid):
        parse_json(body)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"a":1,"a":2}', id="at the top"),
        pytest.param(b"[" * 400 + b'{"a":1,"a":2}' + b"]" * 400, id="deep in lists"),
        pytest.param(b'{"x":' * 400 + b'{"a":1,"a":2}' + b"}" * 400, id="deep in objects"),
        pytest.param(b'{"a":1,"a":' + b"9" * 5000 + b"}", id="a long number"),
        pytest.param(b'{"a":' + b"9" * 5000 + b',"a":1}', id="after a long number"),
        pytest.param(b'[{"a":1,"a":2},', id="before an error"),
    ],
)
def test_a_member_given_twice_is_refused_by_its_name(body: bytes) -> None:
    with pytest.raises(FieldInvalid) as refused:
        parse_json(body)
    assert refused.value.field == "a"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=5))
def test_an_object_is_read_if_and_only_if_each_member_is_given_once(members: list[tuple[str, int]]) -> None:
    body = "{" + ",".join(f'"{name}":{value}' for name, value in members) + "}"
    if len(dict(members)) == len(members):
        assert parse_json(body.encode()) == dict(members)
    else:
        with pytest.raises(FieldInvalid):
            parse_json(body.encode())


def test_a_huge_body_takes_the_time_of_its_length() -> None:
    """BODY_MAX_BYTES may be megabytes; the first of many that are given twice is named."""

    def seconds(members: int) -> float:
        names = [*range(members), *range(members)]
        body = "{" + ",".join(f'"{name}":1' for name in names) + "}"
        began_s = time.thread_time()
        with pytest.raises(FieldInvalid) as refused:
            parse_json(body.encode())
        assert refused.value.field == "0"
        return time.thread_time() - began_s

    few, many = min(seconds(2_000) for _ in range(5)), min(seconds(40_000) for _ in range(3))
    assert many < 200 * few, "twenty times as many take about twenty times as long, not four hundred"


json_like = st.text(alphabet='{}[]",:0123456789eE+-. \n\\untrueflsaN\x00é', max_size=60).map(str.encode)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
almost_bodies = st.builds(
    lambda body, at, junk: body[: at % (len(body) + 1)] + junk + body[at % (len(body) + 1) :],
    good_bodies.map(lambda body: json.dumps(body).encode()),
    st.integers(0, 200),
    st.binary(max_size=3) | st.sampled_from([b"}", b'"', b",", b"9" * 5000, b"[" * 5000]),
)


def outcome_of(body: bytes) -> Mapping[str, Any] | PaymentError:
    """Read a request's bytes as an endpoint gets them."""
    try:
        return NewPayment().read(parse_json(body))
    except PaymentError as error:
        return error


@given(st.binary(max_size=100) | json_like | almost_bodies)
def test_any_bytes_whatever_are_a_payment_or_a_refusal_with_words(body: bytes) -> None:
    """Nothing that a caller can send may end as a 500."""
    outcome = outcome_of(body)
    if isinstance(outcome, PaymentError):
        assert outcome.status == 400
        assert words_of(outcome, INDONESIAN) != words_of(outcome, ENGLISH)
    else:
        assert all(1 <= outcome[name] <= WHOLE_NUMBER_MAX for name in NUMBERS)


@given(json_values)
def test_what_is_json_is_read_as_what_it_is(value: Any) -> None:
    exact = json.loads(json.dumps(value), parse_float=Decimal)
    assert parse_json(json.dumps(value).encode()) == exact
    assert parse_json(json.dumps(value, ensure_ascii=False).encode("utf-8")) == exact
