"""The console and whoever wants in: signing in, forms of others, and the end of a session."""

from collections.abc import Callable, Iterator

import httpx
import pytest

from console_visitor import SIGN_IN, Visitor
from key_holders import WRONG, Holder, holder
from payment_life import new_order_id
from processes import Service, http_client, wait_for

PAGES = ("/console", "/console/payments", "/console/payments/1", "/console/notifications", "/console/closing")
POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
EVIL = "https://evil.example"


@pytest.fixture
def cashier(shared_keyed: Service) -> Holder:
    return holder(shared_keyed, "payments:read", "payments:write", "refunds:write")


@pytest.fixture
def visitor(shared_keyed: Service) -> Iterator[Visitor]:
    with Visitor(shared_keyed.url) as visitor:
        yield visitor


def pay(cashier: Holder, **fields: object) -> int:
    body = {"order_id": new_order_id(), "user_id": 1, "amount": 20_000} | fields
    paid = cashier.post("/payments", json=body)
    assert paid.status_code == 201
    return int(paid.json()["payment_id"])


@pytest.mark.parametrize("path", PAGES)
def test_who_has_not_signed_in_is_asked_to_and_comes_back(
    visitor: Visitor, cashier: Holder, path: str
) -> None:
    page = visitor.open(path)
    assert (page.status, httpx.URL(page.url).path) == (200, SIGN_IN)
    assert "Rp" not in page.text
    after = visitor.send(page.form(back="" if path == "/console" else path), key=cashier.key)
    assert httpx.URL(after.url).path == path


def test_a_part_of_a_page_sends_the_whole_page_to_sign_in(visitor: Visitor) -> None:
    part = visitor.http.get("/console", headers={"HX-Request": "true"})
    assert (part.status_code, part.headers["hx-redirect"], part.text) == (401, SIGN_IN, "")
    page = f"{visitor.http.base_url}/console/payments?status=paid"
    part = visitor.http.get("/console", headers={"HX-Request": "true", "HX-Current-URL": page})
    assert part.headers["hx-redirect"] == f"{SIGN_IN}?back=%2Fconsole%2Fpayments%3Fstatus%3Dpaid"


def test_the_cookie_is_for_this_browser_and_these_pages_alone(visitor: Visitor, cashier: Holder) -> None:
    form = visitor.open(SIGN_IN).form(back="")
    visitor.http.follow_redirects = False
    answer = visitor.http.post(form.action, data=form.fields | {"key": f" {cashier.key}\n"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/console")
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/console", "Max-Age=43200"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert cashier.secret not in str(answer.headers)
    secure = visitor.http.get(SIGN_IN, headers={"X-Forwarded-Proto": "https", "Cookie": ""})
    assert "; Secure" in secure.headers["set-cookie"]


def test_the_cookie_is_another_one_after_signing_in(visitor: Visitor, cashier: Holder) -> None:
    visitor.open(SIGN_IN)
    before = visitor.http.cookies["payment_console"]
    visitor.sign_in(cashier.key)
    assert visitor.http.cookies["payment_console"] != before


@pytest.mark.parametrize("key", ["", WRONG, "x" * 10_000, "pk_é", "\x00"])
def test_a_wrong_key_does_not_sign_in(visitor: Visitor, key: str) -> None:
    page = visitor.sign_in(key)
    assert page.status == 401
    assert "Kunci ini tidak berlaku" in page.text
    assert httpx.URL(visitor.open("/console/payments").url).path == SIGN_IN


@pytest.mark.parametrize(
    "back",
    [
        "https://evil.example/console",
        "//evil.example",
        "/console/../docs\\@evil",
        "/console//evil.example:80@",
        "/consoleevil",
        "javascript:alert(1)",
        "/console\r\nSet-Cookie: a=b",
        SIGN_IN,
    ],
)
def test_signing_in_leads_to_no_other_place(visitor: Visitor, cashier: Holder, back: str) -> None:
    form = visitor.open(SIGN_IN).form(back="")
    visitor.http.follow_redirects = False
    answer = visitor.http.post(form.action, data=form.fields | {"key": cashier.key, "back": back})
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/console")
    assert "evil" not in httpx.URL(answer.headers["location"]).host
    assert answer.headers["location"] != SIGN_IN


def test_signing_out_ends_the_session(visitor: Visitor, cashier: Holder) -> None:
    page = visitor.sign_in(cashier.key)
    assert "kasir-1" in page.text
    out = next(form for form in page.forms if form.action == "/console/sign-out")
    assert httpx.URL(visitor.send(out).url).path == SIGN_IN
    assert httpx.URL(visitor.open("/console/payments").url).path == SIGN_IN


def test_a_session_ends_with_its_key_in_every_browser(
    start_keyed: Callable[..., Service],
) -> None:
    service = start_keyed()
    cashier = holder(service, "payments:read")
    with Visitor(service.url) as one, Visitor(service.url) as other:
        for visitor in (one, other):
            assert httpx.URL(visitor.sign_in(cashier.key).url).path == "/console"
        assert service.cli("keys", "revoke", cashier.id).returncode == 0
        for visitor in (one, other):
            wait_for(lambda v=visitor: "Sesi Anda berakhir" in v.open("/console/payments").text)  # type: ignore[misc]
            assert httpx.URL(visitor.open("/console/payments").url).path == SIGN_IN


def test_sessions_go_on_in_a_process_with_the_same_secret(start_keyed: Callable[..., Service]) -> None:
    service = start_keyed(CONSOLE_SECRET="c" * 32)
    cashier = holder(service, "payments:read")
    with Visitor(service.url) as visitor:
        visitor.sign_in(cashier.key)
        cookie = visitor.http.cookies["payment_console"]
    service.stop()
    service.start()
    with Visitor(service.url, Cookie=f"payment_console={cookie}") as visitor:
        assert httpx.URL(visitor.open("/console/payments").url).path == "/console/payments"


def test_the_api_takes_no_session(visitor: Visitor, cashier: Holder) -> None:
    visitor.sign_in(cashier.key)
    cookie = {"Cookie": f"payment_console={visitor.http.cookies['payment_console']}"}
    assert visitor.http.get("/payments", headers=cookie).status_code == 401


def test_a_form_without_this_sessions_token_changes_nothing(shared_keyed: Service, cashier: Holder) -> None:
    payment_id = pay(cashier, status="pending")
    path = f"/console/payments/{payment_id}"
    settle = {"do": "settle", "status": "paid", "sure": "yes", "once": "once-1"}
    with Visitor(shared_keyed.url) as one, Visitor(shared_keyed.url) as other:
        one.sign_in(cashier.key)
        other.sign_in(cashier.key)
        others = other.open(path).form(do="settle", status="paid").fields["token"]
        for token in ({}, {"token": ""}, {"token": others}, {"token": "é"}):
            refused = one.http.post(path, data=settle | token)
            assert refused.status_code == 403
            assert "Tidak ada yang diubah" in refused.text
    assert cashier.get(f"/payments/{payment_id}").json()["status"] == "pending"


@pytest.mark.parametrize(
    "headers", [{"Origin": EVIL}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}], ids=str
)
def test_a_page_of_another_site_changes_nothing(
    visitor: Visitor, cashier: Holder, headers: dict[str, str]
) -> None:
    payment_id = pay(cashier, status="pending")
    visitor.sign_in(cashier.key)
    path = f"/console/payments/{payment_id}"
    form = visitor.open(path).form(do="settle", status="paid")
    sure = form.fields | {"sure": "yes", "once": "once-2"}
    assert visitor.http.post(path, data=sure, headers=headers).status_code == 403
    assert cashier.get(f"/payments/{payment_id}").json()["status"] == "pending"


def test_who_comes_from_another_site_is_known_again_a_moment_later(visitor: Visitor, cashier: Holder) -> None:
    """The browser keeps a strict cookie to itself then; another cookie in its place would end the session."""
    visitor.sign_in(cashier.key)
    with http_client(visitor.http.base_url) as stranger:  # type: ignore[arg-type]
        answer = stranger.get("/console/payments", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200
    assert 'http-equiv="refresh"' in answer.text
    assert "set-cookie" not in answer.headers


def test_every_page_says_what_a_browser_may_do_with_it(visitor: Visitor, cashier: Holder) -> None:
    visitor.sign_in(cashier.key)
    for path in (*PAGES, SIGN_IN, "/console/nothing"):
        headers = visitor.http.get(path).headers
        assert headers["content-security-policy"] == POLICY
        assert headers["cache-control"] == "no-store"
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert len(headers.get_list("x-request-id")) == 1


def test_what_a_key_may_not_do_is_neither_offered_nor_done(shared_keyed: Service, cashier: Holder) -> None:
    payment_id = pay(cashier)
    path = f"/console/payments/{payment_id}"
    reader = holder(shared_keyed, "payments:read", client="pelayan")
    with Visitor(shared_keyed.url) as visitor:
        visitor.sign_in(reader.key)
        page = visitor.open(path)
        assert page.status == 200
        assert [form.action for form in page.forms] == ["/console/payments", "/console/sign-out"]
        token = page.forms[1].fields["token"]
        refund = {"do": "refund", "sure": "yes", "amount": "1000", "once": "once-3", "token": token}
        refused = visitor.http.post(path, data=refund)
        assert refused.status_code == 403
        assert "refunds:write" in refused.text
        assert visitor.open("/console/keys").status == 403
    assert cashier.get(f"/payments/{payment_id}").json()["amount_refunded"] == 0


def test_what_is_no_form_is_none(visitor: Visitor, cashier: Holder) -> None:
    visitor.sign_in(cashier.key)
    assert visitor.http.post("/console/keys", json={"do": "create"}).status_code == 415
    many = "&".join(f"a{number}=1" for number in range(100))
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert visitor.http.post("/console/keys", content=many, headers=form).status_code == 400
    assert visitor.http.post("/console/keys", content="a" * 70_000, headers=form).status_code == 413
    assert visitor.http.request("DELETE", "/console/payments").status_code == 405


def test_without_a_console_there_is_none(start_keyed: Callable[..., Service]) -> None:
    service = start_keyed(CONSOLE="false")
    assert service.http.get("/console").status_code == 404
    with http_client(service.url) as http:
        front = http.get("/")
    assert (front.status_code, front.headers["location"]) == (302, "/docs")


def test_the_front_door_leads_to_the_console(shared_keyed: Service) -> None:
    with http_client(shared_keyed.url) as http:
        front = http.get("/")
    assert (front.status_code, front.headers["location"]) == (302, "/console")
