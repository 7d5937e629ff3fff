"""Each operation beside each scope: a key is good for what it says, and for nothing else."""

from itertools import chain
from typing import Any

import httpx
import pytest

from described import description, resolve
from key_holders import INVALID, REALM, SCOPES, WRONG, Caller, Holder, holder
from payment_life import new_order_id
from processes import Service

NOWHERE = {
    "payment_id": "404",
    "refund_id": "404",
    "notification_id": "404",
    "order_id": "404",
    "key_id": "R7mQ2xVb",
    "reconciliation_id": "R7mQ2xVb",
}
METHODS = ("get", "post", "patch")
OPERATIONS: list[tuple[str, str, dict[str, Any]]] = [
    (method.upper(), path, operation)
    for path, operations in resolve(description()["paths"]).items()
    for method, operation in operations.items()
    if method in METHODS
]
KEYED = [(method, path, operation) for method, path, operation in OPERATIONS if operation["security"]]
CALLS = KEYED + [("HEAD", path, operation) for method, path, operation in KEYED if method == "GET"]


def named(value: Any) -> str:
    return value["operationId"].rpartition(".")[2] if isinstance(value, dict) else str(value)


def call(http: Caller, method: str, path: str, operation: dict[str, Any], **headers: str) -> httpx.Response:
    """Ask for the operation as its example shows it."""
    body = None
    if "requestBody" in operation:
        examples = operation["requestBody"]["content"]["application/json"]["examples"]
        body = dict(next(iter(examples.values()))["value"])
        if "order_id" in body:
            body["order_id"] = new_order_id()
    return http.request(method, path.format(**NOWHERE), json=body, headers=headers)


@pytest.fixture(scope="module")
def holders(shared_keyed: Service) -> dict[str, Holder]:
    """Somebody for each scope, who has no other."""
    return {scope: holder(shared_keyed, scope) for scope in SCOPES}


@pytest.mark.parametrize(("method", "path", "operation"), CALLS, ids=named)
def test_without_a_key_the_answer_says_what_is_asked_for(
    shared_keyed: Service, method: str, path: str, operation: dict[str, Any]
) -> None:
    refused = call(Caller(shared_keyed), method, path, operation)
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, REALM)
    if method != "HEAD":
        assert refused.json() == {"error": "Perlu kunci API: Authorization: Bearer pk_..."}


@pytest.mark.parametrize(("method", "path", "operation"), CALLS, ids=named)
def test_a_wrong_key_is_told_so(
    shared_keyed: Service, method: str, path: str, operation: dict[str, Any]
) -> None:
    wrong = Caller(shared_keyed, WRONG)
    refused = call(wrong, method, path, operation, Accept_Language="en")
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, INVALID)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize(("method", "path", "operation"), CALLS, ids=named)
def test_a_scope_is_good_for_its_operations_and_for_no_others(
    holders: dict[str, Holder], method: str, path: str, operation: dict[str, Any], scope: str
) -> None:
    needed = "".join(operation["security"][0]["apiKey"])  # one, or none
    answer = call(
        holders[scope],
        method,
        path,
        operation,
        **{"Accept": "application/problem+json", "Accept-Language": "en"},
    )
    if scope in (needed, "admin") or not needed:
        assert answer.status_code in {200, 201, 202, 404, 409}, answer.text
        return
    assert answer.status_code == 403
    assert answer.headers["www-authenticate"] == f'{REALM}, error="insufficient_scope", scope="{needed}"'
    if method != "HEAD":
        problem = answer.json()
        assert problem["type"] == "urn:payment:problem:insufficient-scope"
        assert problem["detail"] == f"The API key lacks the scope {needed}"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/docs/", "/openapi.json", "/openapi.yaml"])
@pytest.mark.parametrize("key", ["", WRONG], ids=["no key", "a wrong key"])
def test_what_is_open_asks_nobody(shared_keyed: Service, path: str, key: str) -> None:
    assert Caller(shared_keyed, key).get(path).status_code == 200


def test_several_scopes_are_good_for_each(shared_keyed: Service) -> None:
    both = holder(shared_keyed, "payments:read", "refunds:write")
    assert both.get("/payments").status_code == 200
    assert both.post("/payments/404/refunds").status_code == 404
    assert both.post("/payments", json={}).status_code == 403


def test_who_may_not_call_is_told_nothing_of_the_request(shared_keyed: Service) -> None:
    """Which paths and methods there are, the description tells everybody; all else comes after the key."""
    http = Caller(shared_keyed)
    assert http.get("/nothing").status_code == 404
    assert http.request("PUT", "/payments").status_code == 405
    assert http.get("/payments?limit=0&x=1").status_code == 401
    assert http.get("/payments/x").status_code == 401
    assert http.post("/payments", content=b"{", headers={"Content-Type": "text/plain"}).status_code == 401


def test_with_keys_it_may_be_called_by_any_name(shared_keyed: Service) -> None:
    http = holder(shared_keyed, "payments:write")
    own = {"Host": "kasir.example", "Origin": "https://kasir.example", "Sec-Fetch-Site": "same-origin"}
    body = {"order_id": new_order_id(), "user_id": 1, "amount": 1}
    assert http.post("/payments", json=body, headers=own).status_code == 201
    assert Caller(shared_keyed).post("/payments", json=body, headers=own).status_code == 401


def test_the_page_of_the_api_can_bring_a_key(shared_keyed: Service) -> None:
    """Swagger UI shows *Authorize* for this, and sends what is typed there to where the page came from."""
    described = shared_keyed.http.get("/openapi.json").json()
    scheme = described["components"]["securitySchemes"]["apiKey"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    assert "`pk_…`" in scheme["description"], "the dialog says what to enter"
    assert described["servers"] == description()["servers"], "the page calls where it came from, and says so"
    for path, methods in description()["paths"].items():
        for method, operation in methods.items():
            shown = described["paths"][path][method]
            assert shown["security"] == operation["security"]
            needed = [*chain(*(asked["apiKey"] for asked in operation["security"]))]
            for scope in needed:
                assert shown["description"].endswith(f"the API key must be good for `{scope}`.")
    policy = shared_keyed.http.get("/docs/").headers["content-security-policy"]
    assert "connect-src 'self'" in policy
    assert "script-src 'self'" in policy


def test_no_page_of_another_origin_changes_anything_even_with_a_good_key(holders: dict[str, Holder]) -> None:
    """With a body or without: a form of another site needs none. A back end says nothing of all this."""
    admin = holders["admin"]
    foreign = {"error": "Halaman dari situs lain tidak boleh mengubah apa pun di sini"}
    for said in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        for method, path, operation in KEYED:
            if method != "GET":
                refused = call(admin, method, path, operation, **said)
                assert (refused.status_code, refused.json()) == (403, foreign), (path, said)
                bare = admin.request(method, path.format(**NOWHERE), headers=said)
                assert (bare.status_code, bare.json()) == (403, foreign), (path, said)
        assert admin.get("/payments", headers=said).status_code == 200
    assert admin.post("/notifications/404/retry").status_code == 404
