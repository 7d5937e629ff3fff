"""Answers: Marshmallow writes what openapi/payment.yaml says."""

import json
import re
from datetime import UTC, datetime
from functools import cache
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft4Validator

from described import description, resolve
from payment.core.states import Method, Status
from payment.core.units import WHOLE_NUMBER_MAX
from payment.ledger.answers import NotificationAnswer, PaymentAnswer, Timestamp


@cache
def validator(schema: str) -> Draft4Validator:
    """Return what judges by the specification alone; formats are not judged."""
    judged = resolve(description()["components"]["schemas"][schema])
    for field in judged["properties"].values():
        if "pattern" in field:
            field["pattern"] = field["pattern"].removesuffix("$") + r"\Z"  # Python's $ is not ECMA-262's
    return Draft4Validator(judged)


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
        "reference": st.none() | st.text(min_size=1, max_size=64),
        "expires_us": st.none() | times_us,
        "late": st.booleans(),
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
        "last_outcome": "outage",
        "last_error": "HTTP 503",
        "failures": [{"at_us": 5, "outcome": "outage", "error": "HTTP 503"}],
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
        "cause": "outage",
        "failures": [{"at": "1970-01-01T00:00:00.000005Z", "cause": "outage", "error": "HTTP 503"}],
        "created_at": "1970-01-01T00:00:00.000000Z",
        "settled_at": None,
    }
