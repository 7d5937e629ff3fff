"""The console at its edges: HEAD, slashes, numbers and days beyond all sense, refusals, what others wrote."""

import json
import re
from collections.abc import Callable, Iterator

import httpx
import pytest

from console_visitor import SIGN_IN, Visitor
from key_holders import Holder, holder
from pages import where_it_is_noon
from payment.core.units import WHOLE_NUMBER_MAX
from payment_life import booked, new_order_id
from processes import Service, Stub, wait_for

LONG = "9" * 5000
"""Of a number with so many digits Python makes none."""

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"' {{7*7}} %(id)s &amp; "
ESCAPED = (
    "&lt;script&gt;alert(1)&lt;/script&gt;&lt;img src=x onerror=alert(2)&gt;"
    "&#34;&#39; {{7*7}} %(id)s &amp;amp;"
)


@pytest.fixture
def visitor(shared: Service) -> Iterator[Visitor]:
    with Visitor(shared.url) as visitor:
        yield visitor


@pytest.fixture
def owner(shared_keyed: Service) -> Holder:
    return holder(shared_keyed, "admin", client="pemilik")


@pytest.mark.parametrize(
    "path",
    ["", "/payments", "/payments.csv", "/closing", "/closing.csv", "/notifications", "/keys", "/stream"],
)
def test_head_has_the_head_of_get_and_ends(visitor: Visitor, path: str) -> None:
    """That of the stream too: what comes after it on the connection must not wait for ever."""
    head = visitor.http.head(f"/console{path}")
    assert (head.status_code, head.content) == (200, b"")
    with visitor.http.stream("GET", f"/console{path}") as got:
        assert head.headers["content-type"] == got.headers["content-type"]
        assert head.headers["content-security-policy"] == got.headers["content-security-policy"]


@pytest.mark.parametrize(
    "path", ["/console/", "/console//", "/console/payments/", "/console/closing/?date=2026-01-01"]
)
def test_a_slash_too_many_leads_to_the_page(visitor: Visitor, path: str) -> None:
    page = visitor.open(path)
    assert page.status == 200
    assert httpx.URL(page.url).path == path.partition("?")[0].rstrip("/")


@pytest.mark.parametrize(
    "path",
    ["/console//payments", f"/console/payments/{LONG}", "/console/payments/1/", "/console//evil.example/"],
)
def test_what_is_no_page_is_none(visitor: Visitor, path: str) -> None:
    assert visitor.open(path).status == 404


@pytest.mark.parametrize("day", ["0001-01-01", "1900-01-01", "9999-12-31"])
def test_days_of_all_years_may_be_asked_for(shared: Service, visitor: Visitor, day: str) -> None:
    """In 1900 the restaurant's clocks were 7 hours, 7 minutes and 12 seconds ahead: no time of the API is."""
    shared.pay(new_order_id())
    listed = visitor.open("/console/payments", **{"from": day})
    assert (listed.status, bool(re.findall(r"/console/payments/\d", " ".join(listed.links)))) == (
        200,
        day < "2000",
    )
    assert visitor.open("/console/payments", to=day).status == 200
    closing = visitor.open("/console/closing", date=day)
    assert (closing.status, "Tidak ada yang dibayar" in closing.text) == (200, True)


def test_the_largest_amount_is_shown_found_and_given_back(start: Callable[..., Service]) -> None:
    service = start("serve", "--no-worker", TIMEZONE=where_it_is_noon())
    payment_id = booked(service.pay(new_order_id(), amount=WHOLE_NUMBER_MAX))
    largest = "Rp 9.007.199.254.740.991"
    with Visitor(service.url) as visitor:
        assert f"/console/payments/{payment_id}" in visitor.open("/console/payments", q=largest).links
        for path in ("/console", "/console/closing"):
            assert "Rp 9.007.199" in visitor.open(path).text
        asked = visitor.send(visitor.open(f"/console/payments/{payment_id}").form(do="refund"))
        assert f"Kembalikan {largest}?" in asked.text
        assert visitor.send(asked.form(sure="yes")).status == 200
    assert service.http.get(f"/payments/{payment_id}").json()["status"] == "refunded"


def test_a_key_that_is_good_to_the_end_of_time_is_listed(shared_keyed: Service, owner: Holder) -> None:
    body = {"client": "abadi", "scopes": ["payments:read"], "expires_at": "9999-12-31T23:59:59Z"}
    assert owner.post("/keys", json=body).status_code == 201
    with Visitor(shared_keyed.url) as visitor:
        visitor.sign_in(owner.key)
        page = visitor.open("/console/keys")
    assert (page.status, "abadi" in page.text) == (200, True)


@pytest.mark.parametrize("overlap_s", [LONG, "-1", "besok", "9" * 16])
def test_an_overlap_that_is_none_rotates_nothing(
    shared_keyed: Service, owner: Holder, overlap_s: str
) -> None:
    old = holder(shared_keyed, "payments:read")
    with Visitor(shared_keyed.url) as visitor:
        visitor.sign_in(owner.key)
        asked = visitor.send(visitor.open("/console/keys").form(key=old.id), do="rotate")
        assert visitor.send(asked.form(sure="yes"), overlap_s=overlap_s).status == 400
    assert owner.get(f"/keys/{old.id}").json()["state"] == "active"
    assert len([key for key in owner.get("/keys").json()["keys"] if key["id"] == old.id]) == 1


def test_too_long_a_way_back_is_not_kept(shared_keyed: Service) -> None:
    """Else each redirect would be longer than its request, until a server takes it no more."""
    with Visitor(shared_keyed.url) as visitor:
        visitor.http.follow_redirects = False
        for path, is_kept in (("q=" + "a" * 1000, True), ("q=" + "a" * 3000, False)):
            place = visitor.http.get(f"/console/payments?{path}").headers["location"]
            assert (place == SIGN_IN) != is_kept, place


@pytest.mark.parametrize("path", ["/console/payments.csv", "/console/stream"])
def test_a_file_for_which_there_is_no_place_is_refused_on_a_page(
    start: Callable[..., Service], path: str
) -> None:
    service = start("serve", "--no-worker", STREAMS_MAX="1")
    with Visitor(service.url) as visitor, Visitor(service.url) as other:
        with other.http.stream("GET", "/console/stream") as listening:
            assert listening.status_code == 200
            refused = visitor.http.get(path)
        assert refused.status_code == 503
        assert refused.headers["content-type"] == "text/html; charset=utf-8"
        assert int(refused.headers["retry-after"]) >= 1
        assert "content-disposition" not in refused.headers
        assert "Layanan sedang sibuk" in refused.text
        assert len(refused.headers.get_list("x-request-id")) == 1
        wait_for(lambda: visitor.http.head(path).status_code == 200, what="its place is free again")


def test_a_last_event_that_is_none_is_refused_on_a_page(visitor: Visitor) -> None:
    refused = visitor.http.get("/console/stream", headers={"Last-Event-ID": "x"})
    assert (refused.status_code, refused.headers["content-type"]) == (400, "text/html; charset=utf-8")


def test_what_others_wrote_is_text_on_every_page(start: Callable[..., Service], order: Stub) -> None:
    """A reason, a neighbour's answer, a request's id, a search: no tag of theirs becomes one of ours."""
    service = start()
    order.fault(answer=400, body=json.dumps({"error": HOSTILE + "W" * 3000}))
    payment_id = booked(service.pay(new_order_id(), X_Request_Id="<script>alert(1)</script>"))
    service.refund(
        payment_id, {"amount": 1, "reason": HOSTILE.strip()}, X_Request_Id="<script>alert(1)</script>"
    )
    wait_for(lambda: service.http.get("/notifications?state=dead").json()["notifications"])
    with Visitor(service.url) as visitor:
        story = visitor.http.get(f"/console/payments/{payment_id}").text
        dead = visitor.http.get("/console/notifications").text
        searched = visitor.http.get("/console/payments", params={"q": HOSTILE}).text
        asked = {"sent": HOSTILE, "lang": HOSTILE, "state": "waiting"}
        said = visitor.http.get("/console/notifications", params=asked).text
        nowhere = visitor.http.get(
            f"/console/{HOSTILE}", headers={"X-Request-Id": "<script>alert(1)</script>"}
        ).text
    for page in (story, dead, searched, said, nowhere):
        assert set(re.findall(r"<script[^>]*>", page)) == set(
            re.findall(r'<script src="/console/static/[^>]*>', page)
        )
        assert "<img src=x" not in page
    assert story.count(ESCAPED) == 4, "the reason and what Order said: in the story, and beside it"
    assert "&lt;script&gt;alert(1)" in dead
    assert ESCAPED in searched
    assert "alert(" not in said, "who makes a link writes nothing on a page"
