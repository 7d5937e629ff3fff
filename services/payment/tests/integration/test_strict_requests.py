"""What a request says must be meant: unknown parameters, members given twice, texts that show nothing."""

import json
import re
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from described import description, resolve
from processes import Service

ALWAYS_ANSWERED = ("/healthz", "/readyz")
BAD_REASON = (
    "reason harus 1 sampai 200 karakter, bukan spasi saja, tanpa karakter kendali atau pembalik arah tulisan"
)
_orders: Iterator[int] = count(1_000)


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    """Return the method, path and description of each operation."""
    return [
        (method.upper(), path, operation)
        for path, methods in resolve(description())["paths"].items()
        for method, operation in methods.items()
    ]


def path_of(template: str) -> str:
    return re.sub(r"\{\w+\}", "1", re.sub(r"\{(key|reconciliation)_id\}", "R7mQ2xVb", template))


ASKED = [(method, path, each) for method, path, each in operations() if path not in ALWAYS_ANSWERED]
WITH_BODY = [(method, path) for method, path, operation in operations() if "requestBody" in operation]


@pytest.mark.parametrize(("method", "path", "operation"), ASKED, ids=[f"{m} {p}" for m, p, _ in ASKED])
def test_a_parameter_that_the_operation_does_not_have_is_400_and_named(
    shared: Service, method: str, path: str, operation: dict[str, Any]
) -> None:
    """Else `?stauts=failed` would list everything."""
    names = [each["name"] for each in operation.get("parameters", []) if each["in"] == "query"]
    known = ", ".join(names) or "-"
    for unknown in ("stauts", "Limit", "limit ", "status[]", "ids"):
        refused = shared.http.request(method, path_of(path), params={unknown: "failed"})
        said = f"Tidak ada parameter {unknown}; yang dikenal di sini: {known}"
        assert (refused.status_code, refused.json()) == (400, {"error": said})
    problem = shared.http.request(
        method,
        f"{path_of(path)}?stauts=failed",
        headers={"Accept": "application/problem+json", "Accept-Language": "en"},
    ).json()
    assert (problem["type"], problem["field"]) == ("urn:payment:problem:parameter-unknown", "stauts")
    assert problem["detail"] == f"There is no parameter stauts; known here: {known}"


@pytest.mark.parametrize("path", ALWAYS_ANSWERED)
def test_probes_may_ask_with_whatever_parameters(shared: Service, path: str) -> None:
    """Monitors add something that no cache on the way knows."""
    assert shared.http.get(f"{path}?_=1769862896").status_code == 200


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("status=paid&stauts=failed", "stauts"),
        ("limit=0&colour=red", "colour"),  # a name that is not known is told before a value that is wrong
        ("stauts", "stauts"),
        ("st%61uts=paid", "stauts"),
        ("=paid", ""),
        ("%00=1", "\0"),
        ("%ff=1", "\N{REPLACEMENT CHARACTER}"),
        ("x" * 30_000 + "=1", "x" * 200),
    ],
    ids=lambda text: text[:30].encode("unicode-escape").decode(),
)
def test_an_unknown_parameter_is_named_however_it_is_written(shared: Service, query: str, named: str) -> None:
    refused = shared.http.get(f"/payments?{query}")
    assert refused.status_code == 400
    assert refused.json()["error"].startswith(
        f"Tidak ada parameter {named}; yang dikenal di sini: order_id, "
    )


def test_more_parameters_than_anything_takes_are_400(shared: Service) -> None:
    """However many there are, only so many are looked at."""
    for query in ("&".join(f"p{n}=1" for n in range(17)), "limit=1&" * 17):
        refused = shared.http.get(f"/payments?{query}")
        said = {"error": "Permintaan membawa lebih dari 16 parameter"}
        assert (refused.status_code, refused.json()) == (400, said)
    assert "p0" in shared.http.get("/payments?" + "&".join(f"p{n}=1" for n in range(16))).json()["error"]


def test_an_empty_query_is_none(shared: Service) -> None:
    for query in ("?", "?&", "?&&"):
        assert shared.http.get(f"{shared.url}/payments{query}").status_code == 200


def test_an_unknown_parameter_books_nothing(shared: Service) -> None:
    order_id = next(_orders)
    body = {"order_id": order_id, "user_id": 1, "amount": 20_000}
    assert shared.http.post("/payments?dry_run=true", json=body).status_code == 400
    assert shared.http.post("/payments", json=body).status_code == 201


TWICE = {
    "a field": '{"status":"paid","status":"failed"}',
    "the same value": '{"status":"paid","status":"paid"}',
    "once escaped": r'{"status":"paid","st\u0061tus":"failed"}',
    "an unknown member": '{"note":1,"status":1,"note":1}',
    "in an object": '{"status":"paid","x":{"a":1,"a":2}}',
    "in a list": '{"status":"paid","x":[[{"a":1},{"b":{"a":1,"a":2}}]]}',
    "deep down": '{"status":"paid","x":' + "[" * 200 + '{"a":1,"a":1}' + "]" * 200 + "}",
    "in no object": '[{"a":1,"a":2}]',
    "beside a long number": '{"status":"paid","n":' + "9" * 5_000 + ',"a":1,"a":2}',
    "half a character": r'{"\ud800":1,"\ud800":2}',
    "nothing": '{"":1,"":2}',
    "a long name": '{"' + "x" * 20_000 + '":1,"' + "x" * 20_000 + '":2}',
}
NAMED = {
    "a field": "status",
    "the same value": "status",
    "once escaped": "status",
    "an unknown member": "note",
    "half a character": "?",
    "nothing": "",
    "a long name": "x" * 200,
}


@pytest.mark.parametrize("case", TWICE)
@pytest.mark.parametrize(("method", "path"), WITH_BODY)
def test_a_member_given_twice_is_400_and_named(shared: Service, method: str, path: str, case: str) -> None:
    refused = shared.http.request(method, path_of(path), content=TWICE[case])
    assert refused.status_code == 400
    assert refused.json() == {"error": f"{NAMED.get(case, 'a')} harus diberikan satu kali"}


def test_an_amount_given_twice_books_nothing(shared: Service) -> None:
    order_id = next(_orders)
    start = f'{{"order_id":{order_id},"user_id":1,"amount":1'
    refused = shared.http.post("/payments", content=start + ',"amount":20000}')
    assert (refused.status_code, refused.json()) == (400, {"error": "amount harus diberikan satu kali"})
    english = {"Accept": "application/problem+json", "Accept-Language": "en"}
    problem = shared.http.post("/payments", content=start + ',"amount":20000}', headers=english).json()
    assert (problem["type"], problem["field"]) == ("urn:payment:problem:field-invalid", "amount")
    assert problem["detail"] == "amount must be given once"
    assert shared.http.post("/payments", content=start + "}").status_code == 201


def test_the_same_name_in_different_objects_is_no_repetition(shared: Service) -> None:
    body = {"order_id": next(_orders), "user_id": 1, "amount": 1, "x": {"amount": 1}, "y": [{"amount": 1}]}
    assert shared.http.post("/payments", content=json.dumps(body)).status_code == 201


def paid(service: Service) -> int:
    payment_id: int = service.pay(next(_orders)).json()["payment_id"]
    return payment_id


NO_REASONS = {
    "a blank": " ",
    "blanks": "   ",
    "a no-break space": "\xa0",
    "other blanks": "\u2003\u3000\u202f",
    "nothing to see": "\u200b\u2060\ufeff",
    "joiners": "\u200d\u200c",
    "a soft hyphen": "\xad",
    "fillers": "\u3164\u115f\u2800",
    "an override": "Rp \u202e000.05",
    "an embedding": "\u202aa\u202c",
    "an isolate": "a\u2066b\u2069",
    "a mark": "a\u200eb",
    "another mark": "\u200fa",
    "an Arabic mark": "\u061ca",
    "a line": "a\u2028b",
    "a paragraph": "a\u2029b",
    "a control": "a\x1b[2Jb",
}


@pytest.mark.parametrize("reason", NO_REASONS.values(), ids=NO_REASONS)
def test_a_reason_that_shows_nothing_or_turns_the_text_around_is_400(shared: Service, reason: str) -> None:
    payment_id = paid(shared)
    refused = shared.refund(payment_id, {"reason": reason})
    assert (refused.status_code, refused.json()) == (400, {"error": BAD_REASON})
    assert shared.http.get(f"/payments/{payment_id}").json()["amount_refunded"] == 0


REASONS = {
    "Indonesian": "Es teh tidak datang",
    "blanks around": " a ",
    "emoji": "👨\u200d👩\u200d👧 ☕\ufe0f",
    "Persian": "می\u200cخواهم",
    "Hebrew": "התה לא הגיע",
    "pasted": "es\u200b te\xadh",
    "Korean": "차가 오지 않았다",
    "a full stop": ".",
}


@pytest.mark.parametrize("reason", REASONS.values(), ids=REASONS)
def test_a_reason_in_any_script_is_kept_as_it_is(shared: Service, reason: str) -> None:
    refunded = shared.refund(paid(shared), {"reason": reason})
    assert (refunded.status_code, refunded.json()["reason"]) == (201, reason)
