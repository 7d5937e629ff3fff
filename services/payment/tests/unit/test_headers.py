"""The headers that operations read by themselves: `Prefer` (RFC 7240) and `traceparent` (W3C)."""

import re
from typing import Any

import pytest

from payment.web.headers import PREFER_MAX_CHARS, WAIT_MAX_S, trace_in, trace_of, wait_of
from payment.web.replies import best_type

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("prefer", "wait_s"),
    [
        ([], 0),
        ([""], 0),
        (["wait=10"], 10),
        (["WAIT = 10"], 10),
        (['wait="10"'], 10),
        (["respond-async, wait=10"], 10),
        (["respond-async", "wait=10"], 10),
        (["wait=10; of=it, wait=5"], 10),
        (["wait=x, wait=5"], 5),
        (["wait=999999999"], WAIT_MAX_S),
        (["wait"], 0),
        (["wait="], 0),
        (["wait=-1"], 0),
        (["wait=1.5"], 0),
        (["wait=\u0663"], 0),
        (["waiting=9"], 0),
        ([",;"], 0),
    ],
)
def test_how_long_a_caller_prefers_to_wait(prefer: list[str], wait_s: float) -> None:
    assert wait_of(prefer) == wait_s


def test_what_stands_in_quotes_is_no_preference_of_its_own() -> None:
    assert wait_of(['note="soon, wait=9, please"']) == 0
    assert wait_of(['note="soon, wait=9, please", wait=2']) == 2


def test_an_endless_preference_is_ignored() -> None:
    """Reading it takes time that all other callers would wait."""
    assert wait_of(["wait=1" + "," * PREFER_MAX_CHARS]) == 0


def test_an_endless_accept_is_any() -> None:
    """Reading it takes time that grows with the square of its length."""
    wanted = "text/csv, " + "a/b, " * 100_000
    assert best_type(wanted[:1000], "application/json", "text/csv") == "text/csv"
    assert best_type(wanted, "application/json", "text/csv") == "application/json"


JSON, CSV, PROBLEM = "application/json", "text/csv", "application/problem+json"


@pytest.mark.parametrize(
    ("accept", "best"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("text/csv", CSV),
        ("text/csv; charset=utf-8", CSV),
        ('TEXT/CSV;CHARSET="UTF-8"', CSV),
        ("text/*", CSV),
        ("text/*; charset=utf-8", CSV),
        ("*/*; charset=utf-8", JSON),
        ("application/json;charset=utf-8", JSON),
        ("application/problem+json; charset=utf-8", PROBLEM),
        ("application/problem+json;charset=utf-8;q=0.4, text/csv;q=0.3", PROBLEM),
        ("text/csv; charset=utf-8, */*", CSV),
        ("text/csv; charset=utf-8; q=0.1, application/*; q=0.2", JSON),
        ("*/*, text/csv;q=0.5", JSON),
        # the most specific range decides, whatever the others say
        ("*/*;q=0.9, application/json;q=0.1, application/problem+json;q=0.1", CSV),
        ("text/csv;q=0.9, text/csv;charset=utf-8;q=0.1, application/json;q=0.5", JSON),
        ("text/*, text/csv;q=0", JSON),
        # what our answers are not
        ("text/csv; charset=iso-8859-1", JSON),
        ("text/csv; header=absent", JSON),
        ("text/csv; charset=iso-8859-1, text/csv;q=0.1", CSV),
        ("text/html", JSON),
        ("text/csv;q=nonsense", JSON),
        (";;,,=;q", JSON),
    ],
)
def test_the_type_that_a_caller_would_rather_have(accept: str | None, best: str) -> None:
    """RFC 9110, 12.5.1."""
    assert best_type(accept, JSON, CSV, PROBLEM) == best


def test_the_callers_trace_goes_on() -> None:
    assert trace_of([TRACE]) == TRACE
    assert trace_of(["nonsense", TRACE]) == TRACE


@pytest.mark.parametrize(
    "said",
    [
        "",
        TRACE.upper(),
        TRACE.replace("00-", "ff-", 1),
        TRACE + "-more",
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01",
    ],
)
def test_a_trace_that_is_none_is_replaced(said: str) -> None:
    made = {trace_of([said]) for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", each) for each in made)


def test_a_request_has_one_trace_whoever_asks() -> None:
    made: dict[str, Any] = {"headers": []}
    assert trace_in(made) == trace_in(made) == made["trace"]
    assert trace_in({"headers": [(b"traceparent", TRACE.encode())]}) == TRACE
    assert trace_in({"headers": [(b"traceparent", TRACE.encode())], "trace": "its span's"}) == "its span's"
