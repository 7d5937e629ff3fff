"""What is JSON, and what is not: nothing is rounded, nothing is given twice."""

import json
import math
import time
import warnings
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment.core.errors import PaymentError
from payment.web.http_errors import FieldInvalid, JsonInvalid
from payment.web.schemas import NewPayment

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Connexion and what it loads warn of one another while they load
    from payment.web.json_text import parse_json


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"", {}),
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
        pytest.param(b" \t\r\n", id="blanks alone"),
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


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_what_is_json_is_read_as_what_it_is(value: Any) -> None:
    exact = json.loads(json.dumps(value), parse_float=Decimal)
    assert parse_json(json.dumps(value).encode()) == exact
    assert parse_json(json.dumps(value, ensure_ascii=False).encode("utf-8")) == exact
