"""What others rely on: every answer and every refusal, over real HTTP."""

import json
from collections.abc import Iterator
from itertools import count

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processes import Service

MAX = 2**53 - 1
REQUIRED = "order_id, user_id, dan amount wajib diisi"
_orders: Iterator[int] = count(1_000)


@pytest.fixture
def order_id() -> int:
    """An order that no other test pays."""
    return next(_orders)


def body(order_id: int, **changes: object) -> dict[str, object]:
    return {"order_id": order_id, "user_id": 1, "amount": 20_000} | changes


def test_a_payment_is_booked_and_can_be_read(shared: Service, order_id: int) -> None:
    booked = shared.pay(order_id, user_id=7, amount=20_000)
    assert booked.status_code == 201
    payment_id = booked.json()["payment_id"]
    assert booked.text == f'{{"message":"Pembayaran diproses","payment_id":{payment_id}}}'
    assert booked.headers["location"] == f"/payments/{payment_id}"
    assert booked.headers["content-type"] == "application/json"

    read = shared.http.get(booked.headers["location"])
    assert read.status_code == 200
    payment = read.json()
    assert payment.pop("created_at") == payment.pop("updated_at") == payment.pop("settled_at")
    assert payment == {
        "id": payment_id,
        "order_id": order_id,
        "user_id": 7,
        "amount": 20_000,
        "status": "paid",
        "method": "cash",
        "amount_refunded": 0,
        "reference": None,
        "expires_at": None,
        "late": False,
    }


def test_the_first_payment_of_a_new_database_has_id_1(start_alone: Service) -> None:
    booked = start_alone.pay(1)
    assert booked.text == '{"message":"Pembayaran diproses","payment_id":1}'
    assert start_alone.http.get("/payments/1").json()["status"] == "paid"


def test_an_unknown_payment_is_404(shared: Service) -> None:
    unknown = shared.http.get("/payments/999999")
    assert (unknown.status_code, unknown.text) == (404, '{"error":"Pembayaran tidak ditemukan"}')


@pytest.mark.parametrize("method", ["cash", "card", "qris", "transfer", "ewallet"])
def test_a_method_is_kept(shared: Service, order_id: int, method: str) -> None:
    booked = shared.http.post("/payments", json=body(order_id, method=method))
    assert shared.http.get(booked.headers["location"]).json()["method"] == method


@pytest.mark.parametrize("amount", [20_000.0, 1, MAX])
def test_a_whole_number_is_one_however_it_is_written(shared: Service, order_id: int, amount: float) -> None:
    booked = shared.http.post("/payments", content=json.dumps(body(order_id, amount=amount)))
    assert booked.status_code == 201
    read = shared.http.get(booked.headers["location"])
    assert f'"amount":{int(amount)},' in read.text


def test_unknown_fields_are_ignored(shared: Service, order_id: int) -> None:
    booked = shared.http.post("/payments", json=body(order_id, colour="red", nested={"a": [1]}))
    assert booked.status_code == 201


@pytest.mark.parametrize("name", ["order_id", "user_id", "amount"])
@pytest.mark.parametrize("wrong", ["absent", "null"])
def test_a_missing_field_is_400(shared: Service, order_id: int, name: str, wrong: str) -> None:
    sent = body(order_id)
    if wrong == "absent":
        del sent[name]
    else:
        sent[name] = None
    refused = shared.http.post("/payments", json=sent)
    assert (refused.status_code, refused.text) == (400, f'{{"error":"{REQUIRED}"}}')


@pytest.mark.parametrize("content", [b"", b"null", b"{}", b'{"order_id":null}'])
def test_no_body_is_400(shared: Service, content: bytes) -> None:
    refused = shared.http.post("/payments", content=content, headers={"Content-Type": "application/json"})
    assert (refused.status_code, refused.json()) == (400, {"error": REQUIRED})


@pytest.mark.parametrize("name", ["order_id", "user_id", "amount"])
@pytest.mark.parametrize(
    "literal",
    [
        "0",
        "-1",
        "20000.5",
        "0.99999999999999999999",  # a float would be 1
        "9007199254740991.4",
        "1e99999999999999999999",
        '"20000"',
        "true",
        "false",
        "NaN",
        "Infinity",
        "-Infinity",
        "1e400",
        str(MAX + 1),
        "-" + "9" * 30,
        "9" * 5_000,
        "[]",
        "{}",
        '""',
    ],
)
def test_a_number_that_is_none_is_400_and_named(
    shared: Service, order_id: int, name: str, literal: str
) -> None:
    sent = json.dumps(body(order_id) | {name: "@"}).replace('"@"', literal)
    refused = shared.http.post("/payments", content=sent, headers={"Content-Type": "application/json"})
    assert refused.status_code == 400
    assert refused.json() == {"error": f"{name} harus bilangan bulat dari 1 sampai {MAX}"}
    assert_not_booked(shared, order_id)


@pytest.mark.parametrize("method", [None, "", "CASH", "gold", 1, [], {}, True])
def test_an_unknown_method_is_400_and_named(shared: Service, order_id: int, method: object) -> None:
    refused = shared.http.post("/payments", json=body(order_id, method=method))
    assert refused.status_code == 400
    assert refused.json() == {"error": "method harus salah satu dari: cash, card, qris, transfer, ewallet"}
    assert_not_booked(shared, order_id)


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"nonsense",
        b'{"order_id":1,}',
        b"\xff\xfe",
        b'{"order_id": "\xff"}',
        "{}".encode("utf-16"),
        b"\xef\xbb\xbf{}",
        b"[" * 60_000,
        b'{"a":' * 9_000,
        b"1 2",
    ],
    ids=lambda content: repr(content[:12]),
)
def test_a_body_that_is_not_json_is_400(shared: Service, content: bytes) -> None:
    refused = shared.http.post("/payments", content=content, headers={"Content-Type": "application/json"})
    assert (refused.status_code, refused.json()) == (400, {"error": "Isi permintaan bukan JSON yang sah"})


@pytest.mark.parametrize("content", [b"[]", b"1", b'"text"', b"true", b"[[[]]]", b"NaN"])
def test_a_body_that_is_not_an_object_is_400(shared: Service, content: bytes) -> None:
    refused = shared.http.post("/payments", content=content, headers={"Content-Type": "application/json"})
    assert (refused.status_code, refused.json()) == (400, {"error": "Isi permintaan harus berupa objek JSON"})


def test_a_body_may_come_in_chunks_and_without_a_content_type(shared: Service, order_id: int) -> None:
    def chunks() -> Iterator[bytes]:
        for character in json.dumps(body(order_id)):
            yield character.encode()

    assert shared.http.post("/payments", content=chunks()).status_code == 201


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", "APPLICATION/JSON;charset=UTF-8"],
)
def test_json_may_be_called_so(shared: Service, order_id: int, content_type: str) -> None:
    sent = json.dumps(body(order_id))
    booked = shared.http.post("/payments", content=sent, headers={"Content-Type": content_type})
    assert booked.status_code == 201


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "application/json; charset=utf-16"},
        {"Content-Type": "application/problem+json"},
        {"Content-Type": "nonsense"},
        {"Content-Type": "application/json" + "; a=1" * 50},  # longer than any that is meant
        {"Content-Type": ""},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
    ids=repr,
)
def test_anything_but_utf8_json_is_415(shared: Service, order_id: int, headers: dict[str, str]) -> None:
    refused = shared.http.post("/payments", content=json.dumps(body(order_id)), headers=headers)
    assert refused.status_code == 415
    assert refused.headers["accept-post"] == "application/json"
    assert set(refused.json()) == {"error"}
    assert_not_booked(shared, order_id)
    refused = shared.http.patch("/payments/1", content='{"status":"paid"}', headers=headers)
    assert refused.status_code == 415
    assert refused.headers["accept-patch"] == "application/json"
    assert "accept-post" not in refused.headers


def test_a_body_of_64_kib_is_read_and_a_byte_more_is_413(shared: Service, order_id: int) -> None:
    sent = json.dumps(body(order_id)).encode()
    refused = shared.http.post("/payments", content=sent.ljust(64 * 1024 + 1))
    assert refused.status_code == 413
    assert refused.json() == {"error": "Isi permintaan lebih besar dari 65536 byte"}
    assert shared.http.post("/payments", content=sent.ljust(64 * 1024)).status_code == 201


def test_a_large_body_in_chunks_is_413(shared: Service) -> None:
    refused = shared.http.post("/payments", content=iter([b" " * 1_000] * 500))
    assert refused.status_code == 413


def test_a_second_payment_of_an_order_is_409(shared: Service, order_id: int) -> None:
    assert shared.pay(order_id).status_code == 201
    again = shared.pay(order_id, user_id=2, amount=5)
    assert (again.status_code, again.json()) == (409, {"error": f"Pesanan {order_id} sudah lunas"})


@pytest.mark.parametrize(
    "payment_id", ["0", "-1", "abc", "1.0", "1e3", str(MAX + 1), "9" * 5_000, "%20", "١"]
)
def test_an_id_that_is_none_is_400_and_named(shared: Service, payment_id: str) -> None:
    refused = shared.http.get(f"/payments/{payment_id}")
    assert refused.status_code == 400
    assert refused.json() == {"error": f"payment_id harus bilangan bulat dari 1 sampai {MAX}"}


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/consoles",
        "/payments/",
        "/payments/1/2",
        "//payments",
        "/payments/{payment_id}",
        "/docs/x",
    ],
)
def test_an_unknown_path_is_404(shared: Service, path: str) -> None:
    unknown = shared.http.get(shared.url + path)
    assert unknown.status_code in {400, 404}
    assert set(unknown.json()) == {"error"}


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/payments", "GET, HEAD, POST"),
        ("OPTIONS", "/payments", "GET, HEAD, POST"),
        ("PUT", "/payments/1", "GET, HEAD, PATCH"),
        ("TRACE", "/payments/1", "GET, HEAD, PATCH"),
        ("DELETE", "/payments/1/refunds", "GET, HEAD, POST"),
        ("PATCH", "/payments/1/refunds/1", "GET, HEAD"),
        ("GET", "/notifications/1/retry", "POST"),
        ("HEAD", "/notifications/1/retry", "POST"),
        ("POST", "/healthz", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_405_with_all_that_are_allowed(
    shared: Service, method: str, path: str, allow: str
) -> None:
    refused = shared.http.request(method, path)
    assert (refused.status_code, refused.headers["allow"]) == (405, allow)
    if method != "HEAD":
        assert set(refused.json()) == {"error"}


def test_head_is_get_without_a_body(shared: Service, order_id: int) -> None:
    location = shared.pay(order_id).headers["location"]
    head = shared.http.head(location)
    assert (head.status_code, head.content) == (200, b"")


ERRORS = [
    ("GET", "/payments/999999", None, 404, "payment-not-found", "Payment not found"),
    ("GET", "/nothing", None, 404, "route-not-found", "There is nothing at /nothing"),
    ("PUT", "/bills/1", None, 405, "method-not-allowed", "PUT is not allowed here; allowed: GET, HEAD"),
    ("POST", "/payments", b"{}", 400, "fields-required", "order_id, user_id, and amount are required"),
    ("POST", "/payments", b"{", 400, "json-invalid", "The request body is not valid JSON"),
    ("POST", "/payments", b"[]", 400, "body-not-object", "The request body must be a JSON object"),
    (
        "POST",
        "/payments",
        b'{"order_id":1,"user_id":1,"amount":0}',
        400,
        "field-invalid",
        f"amount must be a whole number from 1 to {MAX}",
    ),
]


@pytest.mark.parametrize(("method", "path", "content", "status", "code", "english"), ERRORS)
def test_an_error_speaks_english_and_rfc_9457_on_request(
    shared: Service, method: str, path: str, content: bytes | None, status: int, code: str, english: str
) -> None:
    plain = shared.http.request(method, path, content=content, headers={"Accept-Language": "en-US,id;q=0.5"})
    assert (plain.status_code, plain.json()) == (status, {"error": english})
    assert plain.headers["content-language"] == "en"
    problem = shared.http.request(
        method,
        path,
        content=content,
        headers={"Accept-Language": "en", "Accept": "application/problem+json"},
    )
    assert problem.headers["content-type"] == "application/problem+json"
    said = problem.json()
    assert (said["type"], said["status"]) == (f"urn:payment:problem:{code}", status)
    assert said["detail"] == english


def test_the_problem_of_a_field_names_it(shared: Service) -> None:
    problem = shared.http.post(
        "/payments",
        json={"order_id": 1, "user_id": 1, "amount": -1},
        headers={"Accept": "application/problem+json"},
    )
    assert problem.json()["field"] == "amount"


@pytest.mark.parametrize(
    "accept",
    ["*/*", "application/json", "text/html", "application/json, application/problem+json;q=0.5", ","],
)
def test_an_error_is_plain_json_unless_problem_json_is_wanted(shared: Service, accept: str) -> None:
    plain = shared.http.get("/nothing", headers={"Accept": accept})
    assert plain.headers["content-type"] == "application/json"
    assert set(plain.json()) == {"error"}


def test_the_key_must_be_visible_ascii(shared: Service, order_id: int) -> None:
    for key in [b"", b"a b", b"\xc3\xa9", b"x" * 256, b"tab\there"]:
        refused = shared.http.post("/payments", json=body(order_id), headers=[(b"Idempotency-Key", key)])
        assert refused.status_code == 400, key
        assert "Idempotency-Key" in refused.json()["error"]
    twice = shared.http.post(
        "/payments",
        json=body(order_id),
        headers=[(b"Idempotency-Key", b"a"), (b"Idempotency-Key", b"b")],
    )
    assert twice.status_code == 400
    assert shared.pay(order_id, Idempotency_Key="x" * 255).status_code == 201


junk = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
some_body = st.dictionaries(
    st.sampled_from(["order_id", "user_id", "amount", "method", "status", "x"]), junk, max_size=6
)


@given(sent=some_body | junk)
def test_no_json_body_gives_a_500(shared: Service, sent: object) -> None:
    """Most are refused; the few that are valid are booked or settled already."""
    answer = shared.http.post(
        "/payments", content=json.dumps(sent), headers={"Content-Type": "application/json"}
    )
    assert_agreed(answer, {201, 400, 409})


@given(
    content=st.binary(max_size=300),
    headers=st.dictionaries(
        st.sampled_from(
            [
                "Content-Type",
                "Accept",
                "Accept-Language",
                "Idempotency-Key",
                "traceparent",
                "X-Request-Id",
                "Content-Encoding",
            ]
        ),
        st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=40),
        max_size=4,
    ),
    path=st.sampled_from(["/payments", "/payments/1", "/payments/x", "/nothing"])
    | st.text(max_size=10).map(lambda text: "/payments/" + text),
    method=st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
)
def test_no_request_gives_a_500_or_another_shape(
    shared: Service, content: bytes, headers: dict[str, str], path: str, method: str
) -> None:
    try:
        request = shared.http.build_request(
            method,
            path,
            content=content,
            headers=[(name.encode(), value.strip().encode("latin-1")) for name, value in headers.items()],
        )
    except (httpx.InvalidURL, UnicodeEncodeError):
        return  # not to be had as a URL
    assert_agreed(shared.http.send(request), {200, 201, 400, 404, 405, 409, 415, 422})


def assert_agreed(answer: httpx.Response, statuses: set[int]) -> None:
    assert answer.status_code in statuses, answer.text
    said = answer.json()
    if answer.status_code >= 400:
        assert answer.headers["content-type"] in {"application/json", "application/problem+json"}
        assert set(said) == {"error"} or said["type"].startswith("urn:payment:problem:")


def assert_not_booked(service: Service, order_id: int) -> None:
    """A refusal changes nothing: the order can still be paid."""
    assert service.pay(order_id).status_code == 201
