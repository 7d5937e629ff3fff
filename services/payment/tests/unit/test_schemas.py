"""Bodies: Marshmallow and openapi/payment.yaml say the same, and no bytes do any harm.

Where a test below fails, the specification tells callers something else than the service does.
"""

import json
import math
import unicodedata
import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft4Validator
from marshmallow import ValidationError

from described import description, resolve
from payment.core.errors import PaymentError
from payment.core.neighbours import NEIGHBOURS
from payment.core.states import Method, Outcome, Resolution, State, Status
from payment.core.units import WHOLE_NUMBER_MAX
from payment.web.fields import (
    Choice,
    ClientName,
    Day,
    Moment,
    ProviderReference,
    Scopes,
    Text,
    WholeNumber,
    YesNo,
)
from payment.web.http_errors import BodyNotObject, FieldInvalid, FieldsRequired
from payment.web.messages import ENGLISH, INDONESIAN, words_of
from payment.web.schemas import (
    OVERLAP_MAX_S,
    BodySchema,
    KeyRotation,
    LateResolution,
    NewKey,
    NewPayment,
    NewReconciliation,
    NewRefund,
    Retry,
    Settlement,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Connexion and what it loads warn of one another while they load
    from payment.web.json_text import parse_json

NUMBERS = ("order_id", "user_id", "amount")
KNOWN = {
    *NUMBERS,
    "method",
    "status",
    "order_total",
    "reason",
    "expected_refunded",
    "client",
    "scopes",
    "expires_at",
    "service",
    "cause",
    "state",
    "overlap_s",
    "reference",
    "resolution",
}
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


def is_read_alike(body: object, schema: BodySchema = NewPayment()) -> bool:  # noqa: B008  # stateless
    """Say whether the way of bodies in which nothing is wrong and Marshmallow's own read it alike."""
    if not isinstance(body, dict):
        return True
    try:
        loaded = schema.load(body)
    except ValidationError:
        loaded = None
    return bool(schema.load_plain(body) == loaded)


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
    assert is_read_alike(body)


words = st.sampled_from([*Status, "Paid", " paid", ""]).map(str) | other_values | integers
texts = st.text(
    st.characters(exclude_categories=["Cs"])
    | st.sampled_from("\x00\n\x1f\x7f\x9f\xa0 \u061c\u200b\u200d\u200e\u2028\u202e\u2066\ufe0f\ufeff"),
    max_size=4,
)
SCOPES: list[str] = description()["components"]["schemas"]["Scope"]["enum"]
client_names = (
    st.sampled_from(
        ["kasir-1", "a", "A.b_c-9", "x" * 64, "x" * 65, "cli:root", "a/b", "kasir 1", "kasir\n", "é", "٣"]
    )
    | texts
    | other_values
)
scope_lists = (
    st.lists(st.sampled_from(SCOPES), max_size=9)
    | st.lists(st.sampled_from([*SCOPES, "Admin", "payments", ""]) | other_values, max_size=2)
    | other_values
    | integers
    | st.sampled_from(SCOPES)
)
# a date that no calendar has is the one thing that a pattern cannot refuse
times = (
    st.datetimes().map(lambda moment: f"{moment.isoformat()}Z")
    | st.sampled_from(
        ["2026-01-31T12:34:56+07:00", "2026-01-31t12:34:56.123456789z", "2026-01-31 12:34:56 07:00"]
    )
    | st.sampled_from(
        ["2026-01-31", "2026-01-31T12:34:56", "2026-01-31T12:34:56Z\n", "tomorrow", "٢٠٢٦-01-31T12:34:56Z"]
    )
    | other_values
    | integers
)
dates = (
    st.dates().map(str)
    | st.sampled_from(["2026-13-01", "2026-01-32", "2026-1-1", "20260131", "2026-01-31\n", "٢٠٢٦-01-31"])
    | times
)
references = (
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=3)
    | st.sampled_from([64, 65]).map(lambda size: "x" * size)
    | st.sampled_from(["a b", "a\n", "\x20", "\x7f", "é"])
    | other_values
    | integers
)
OTHERS: dict[str, tuple[BodySchema, dict[str, st.SearchStrategy[Any]]]] = {
    "NewPayment": (
        NewPayment(),
        dict.fromkeys(NUMBERS, good_numbers)
        | {"order_total": any_numbers, "status": words, "reference": references, "expires_at": times},
    ),
    "Settlement": (Settlement(), {"status": words, "reference": references}),
    "NewRefund": (
        NewRefund(),
        {
            "amount": any_numbers,
            "expected_refunded": any_numbers,
            "reference": references,
            # half of a surrogate pair is the one thing that a pattern cannot refuse for every reader
            "reason": texts | st.sampled_from([199, 200, 201]).map(lambda size: "x" * size) | integers,
        },
    ),
    "LateResolution": (
        LateResolution(),
        {
            "resolution": st.sampled_from([*Resolution, "lost"]).map(str) | other_values,
            "reference": references,
        },
    ),
    "Retry": (
        Retry(),
        {
            "service": st.sampled_from([*NEIGHBOURS, "menu", "Order"]) | other_values,
            "cause": st.sampled_from([*Outcome, "Outage"]).map(str) | other_values,
            "state": st.sampled_from([*State]).map(str) | other_values,
        },
    ),
    "NewReconciliation": (
        NewReconciliation(),
        {
            "service": st.sampled_from([*NEIGHBOURS, "menu", "Order"]) | other_values,
            "since": dates,
            "repair": st.booleans() | st.sampled_from([0, 1, "true"]) | other_values,
        },
    ),
    "NewKey": (
        NewKey.described_by(resolve(description()["components"]["schemas"]["NewKey"])),
        {"client": client_names, "scopes": scope_lists, "expires_at": times},
    ),
    "KeyRotation": (
        KeyRotation(),
        {"overlap_s": any_numbers | st.sampled_from([0, 86_400, OVERLAP_MAX_S, OVERLAP_MAX_S + 1])},
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
    assert is_read_alike(body, schema)


def test_nothing_but_its_fields_judges_a_body() -> None:
    """What hooks of a schema and validators of a field say would not be asked in `load_plain`."""
    for body in BodySchema.__subclasses__():
        schema = body()
        assert not any(schema._hooks.values()), body  # Marshmallow has no other word for it
        for name, field in schema.fields.items():
            assert not any((field.validators, field.attribute, field.data_key, field.allow_none)), name


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
                known = WholeNumber | Choice | ClientName | ProviderReference | Scopes | Moment | Day | YesNo
                assert isinstance(field, known), "a new kind of field: is it free text?"
    assert texts > 0


def test_a_client_is_described_by_the_very_pattern_that_reads_its_name() -> None:
    described = description()["components"]["schemas"]["NewKey"]["properties"]["client"]
    assert described["pattern"] == ClientName.pattern


def test_a_reference_is_described_by_the_very_pattern_that_reads_it() -> None:
    assert description()["components"]["schemas"]["Reference"]["pattern"] == ProviderReference.pattern


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


json_like = st.text(alphabet='{}[]",:0123456789eE+-. \n\\untrueflsaN\x00é', max_size=60).map(str.encode)
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
