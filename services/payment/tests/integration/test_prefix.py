"""Behind a real nginx that shows the service at /pay: whatever it says of where things are is right."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import pytest

from console_visitor import Visitor
from key_holders import Holder, holder
from nginx import Nginx
from processes import Service, http_client

LINKS = re.compile(r'\b(?:href|src|action|hx-get|hx-post|data-stream)="([^"]*)"')
LEADS_RIGHT = re.compile(r"/pay/(console|docs)\b|[?#]|$")


@pytest.fixture(scope="module")
def prefixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that asks for keys, and knows that it is shown at /pay."""
    folder = tmp_path_factory.mktemp("prefixed")
    environment = {"DATABASE_URL": f"sqlite:///{folder}/payment.db", "AUTH": "keys", "ROOT_PATH": "/pay/"}
    service = Service(environment, "serve", "--no-worker", cwd=Path(folder))
    yield service
    service.kill()


@pytest.fixture(scope="module")
def proxy(prefixed: Service) -> Iterator[Nginx]:
    """The proxy before it."""
    nginx = Nginx(prefixed.url, "/pay")
    yield nginx
    nginx.remove()


@pytest.fixture(scope="module")
def admin(prefixed: Service) -> Holder:
    """Somebody who may do everything."""
    return holder(prefixed, "admin")


def test_locations_and_links_lead_through_the_proxy(proxy: Nginx, admin: Holder) -> None:
    bearer = {"Authorization": f"Bearer {admin.key}"}
    with http_client(proxy.url, headers=bearer) as http:
        for order_id in (1, 2, 3):
            body = {"order_id": order_id, "user_id": 5, "amount": 20_000}
            made = http.post("/pay/payments", json=body, headers={"Idempotency-Key": f"k{order_id}"})
            assert made.status_code == 201
        assert re.fullmatch("/pay/payments/[0-9]+", made.headers["location"])
        assert http.get(made.headers["location"]).json()["order_id"] == 3
        again = http.post("/pay/payments", json=body, headers={"Idempotency-Key": "k3"})
        assert again.headers["idempotency-replayed"] == "true"
        assert again.headers["location"] == made.headers["location"]
        refund = http.post(f"{made.headers['location']}/refunds", json={"amount": 1})
        assert http.get(refund.headers["location"]).json()["amount"] == 1
        page = http.get("/pay/payments", params={"limit": 1, "user_id": 5})  # nobody else's
        orders = []
        while True:
            orders += [each["order_id"] for each in page.json()["payments"]]
            if "next" not in page.links:
                break
            assert page.links["next"]["url"].startswith("/pay/payments?")
            page = http.get(page.links["next"]["url"])
        assert orders == [3, 2, 1]
        assert http.get("/pay/").headers["location"] == "/pay/console"


def test_the_first_page_of_all_leads_to_the_docs(tmp_path: Path) -> None:
    """It is another once there are payments."""
    environment = {"DATABASE_URL": f"sqlite:///{tmp_path}/payment.db", "ROOT_PATH": "/pay"}
    empty = Service(environment, "serve", "--no-worker", cwd=tmp_path)
    try:
        with http_client(empty.url) as http:
            links = LINKS.findall(http.get("/console").text)
    finally:
        empty.kill()
    assert "/pay/docs" in links
    assert all(LEADS_RIGHT.match(link) for link in links), links


def test_what_is_kept_of_a_request_has_no_prefix(proxy: Nginx, prefixed: Service, admin: Holder) -> None:
    """So a key that is used again leads to the right place wherever the service is shown by then."""
    body = {"order_id": 9, "user_id": 1, "amount": 20_000}
    headers = {"Authorization": f"Bearer {admin.key}", "Idempotency-Key": "moved"}
    with http_client(proxy.url, headers=headers) as http:
        first = http.post("/pay/payments", json=body).headers["location"]
    moved = Service(prefixed.environment | {"ROOT_PATH": ""}, "serve", "--no-worker")
    try:
        again = moved.http.post("/payments", json=body, headers=headers)
        assert again.headers["idempotency-replayed"] == "true"
        assert again.headers["location"] == first.removeprefix("/pay")
    finally:
        moved.kill()


def test_the_docs_find_their_files_and_call_the_right_place(proxy: Nginx) -> None:
    with http_client(proxy.url, follow_redirects=True) as http:
        page = http.get("/pay/docs")
        assert (page.status_code, page.url.path) == (200, "/pay/docs/")
        assert '"/pay/openapi.json"' in page.text
        for link in LINKS.findall(page.text):
            if not link.startswith("data:"):
                assert http.get(urljoin(str(page.url), link)).status_code == 200, link
        described = http.get("/pay/openapi.json").json()
        assert described["servers"] == [{"url": "/pay"}]
        assert http.get("/pay/openapi.yaml").status_code == 200


def test_each_link_of_the_console_leads_through_the_proxy(proxy: Nginx, admin: Holder) -> None:
    """From the front door, by signing in, to every page that another one leads to."""
    with Visitor(proxy.url) as visitor:
        asked = visitor.http.get("/pay/console/payments", params={"status": "paid"})
        assert asked.url.path == "/pay/console/sign-in"
        form = next(iter(re.findall(r'name="back" value="([^"]*)"', asked.text)))
        assert form == "/console/payments?status=paid", "within, nobody knows of the prefix"
        token = next(iter(re.findall(r'name="token" value="([^"]*)"', asked.text)))
        signed_in = visitor.http.post(
            "/pay/console/sign-in", data={"token": token, "back": form, "key": admin.key}
        )
        assert (signed_in.status_code, signed_in.url.path) == (200, "/pay/console/payments")
        cookies = {cookie.name: cookie.path for cookie in visitor.http.cookies.jar}
        assert cookies["payment_console"] == "/pay/console"
        to_see, seen = ["/pay/console"], set[str]()
        while to_see and len(seen) < 25:
            path = to_see.pop(0)
            page = visitor.http.get(path)
            assert page.status_code == 200, path
            if "content-encoding" not in page.headers:
                assert int(page.headers["content-length"]) == len(page.content)
            seen.add(path)
            links = [link.replace("&amp;", "&") for link in LINKS.findall(page.text)]
            assert all(LEADS_RIGHT.match(link) for link in links), links
            pages = [link for link in links if link.startswith("/pay/console") and "stream" not in link]
            found = (link for link in pages if not re.search(r"sign-out|\.csv", link))
            to_see += [link for link in found if link not in seen and link not in to_see]
        assert any("/static/" in path for path in seen)
        with visitor.http.stream("GET", "/pay/console/stream", params={"after": "newest"}) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")


def test_a_part_of_a_page_that_may_be_seen_no_more_leads_to_sign_in_and_back(proxy: Nginx) -> None:
    with Visitor(proxy.url) as visitor:
        shown_at = f"{proxy.url}/pay/console/payments?status=paid"
        part = visitor.http.get("/pay/console", headers={"HX-Request": "true", "HX-Current-URL": shown_at})
    assert part.status_code == 401
    assert part.headers["hx-redirect"] == "/pay/console/sign-in?back=%2Fconsole%2Fpayments%3Fstatus%3Dpaid"


def test_what_guests_write_is_no_link(proxy: Nginx, admin: Holder) -> None:
    """The prefix is put into attributes only: a reason that looks like one is shown as it is."""
    reason = 'lihat href="/console/keys" saja'
    bearer = {"Authorization": f"Bearer {admin.key}"}
    with http_client(proxy.url, headers=bearer) as http:
        made = http.post("/pay/payments", json={"order_id": 77, "user_id": 1, "amount": 20_000})
        http.post(f"{made.headers['location']}/refunds", json={"reason": reason}).raise_for_status()
    with Visitor(proxy.url) as visitor:
        page = visitor.http.get("/pay/console/sign-in")
        token = next(iter(re.findall(r'name="token" value="([^"]*)"', page.text)))
        visitor.http.post("/pay/console/sign-in", data={"token": token, "back": "", "key": admin.key})
        shown = visitor.http.get(made.headers["location"].replace("/pay/", "/pay/console/"))
    assert "lihat href=&#34;/console/keys&#34; saja" in shown.text
