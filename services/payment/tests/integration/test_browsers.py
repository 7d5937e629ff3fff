"""What browsers make of us: a page of another site gets nowhere, ours loads nothing from elsewhere."""

import json
import re
import socket
from collections.abc import Callable, Iterator
from itertools import count

import httpx
import pytest
import yaml

from described import API_HEADERS, ROOT
from processes import Service

_orders: Iterator[int] = count(1_000)
Start = Callable[..., Service]


@pytest.fixture(scope="module")
def start_as(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Return a function that starts a service with these settings; one for all who ask for the same."""
    started: dict[tuple[tuple[str, str], ...], Service] = {}

    def start(**settings: str) -> Service:
        asked = tuple(sorted(settings.items()))
        if asked not in started:
            folder = tmp_path_factory.mktemp("browsers")
            environment = {"DATABASE_URL": f"sqlite:///{folder / 'payment.db'}"} | settings
            started[asked] = Service(environment, "serve", "--no-worker", cwd=folder)
        return started[asked]

    yield start
    for service in started.values():
        service.kill()


def port_of(service: Service) -> str:
    return service.url.rsplit(":", 1)[1]


def pay(service: Service, **headers: str) -> httpx.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    body = {"order_id": next(_orders), "user_id": 1, "amount": 20_000}
    return service.http.post("/payments", json=body, headers=sent)


def exchange(service: Service, *lines: str, body: bytes = b"") -> tuple[int, dict[str, str]]:
    """Send a request as it is; return the status and the JSON of its answer."""
    with socket.create_connection(("127.0.0.1", int(port_of(service))), timeout=10) as wire:
        wire.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        received = b""
        while chunk := wire.recv(65536):
            received += chunk
    head, _, content = received.partition(b"\r\n\r\n")
    said: dict[str, str] = json.loads(content)
    return int(head.split()[1]), said


OURS = ["localhost", "LOCALHOST", "localhost.", "127.0.0.1", "127.8.9.10", "[::1]", "[0:0:0:0:0:0:0:1]"]
OURS += ["[::ffff:127.0.0.1]", "[::FFFF:7f00:1]"]
FOREIGN = [
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "evil.example:5004",
    "0.0.0.0",
    "192.168.1.5",
    "[2001:db8::1]",
    "[::ffff:10.1.2.3]",
    "[::]",
    "127.1",
    "localhost..",
    "localhost:x",
    "localhost:5004:80",
    "evil.example@localhost",
    "localhost@evil.example",
    "localhost/evil.example",
    "localhost evil.example",
    "localhost,evil.example",
    "::1",
    "[::1",
    "[localhost]",
    "lo\xe7alhost",
    "",
    ".",
    ":5004",
]


@pytest.mark.parametrize("port", ["", ":5004", ":80"])
@pytest.mark.parametrize("host", OURS)
def test_loopback_may_be_called_by_its_names(start_as: Start, host: str, port: str) -> None:
    """Whatever the port is: it may have been forwarded."""
    assert pay(start_as(), Host=host + port).status_code == 201


@pytest.mark.parametrize("host", FOREIGN)
def test_a_page_that_reaches_us_by_its_own_name_is_421(start_as: Start, host: str) -> None:
    """DNS rebinding: evil.example is resolved to 127.0.0.1, and its page is of our origin."""
    service = start_as()
    said = f"Layanan ini tidak bernama {host} (lihat ALLOWED_HOSTS)"
    for method, path in (("POST", "/payments"), ("GET", "/payments"), ("GET", "/docs/"), ("GET", "/nothing")):
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", "Content-Length: 0"]
        assert exchange(service, *lines) == (421, {"error": said})
    problem = httpx.get(
        f"{service.url}/payments",
        headers={"Host": "evil.example", "Accept": "application/problem+json", "Accept-Language": "en"},
        verify=False,
    ).json()
    assert (problem["status"], problem["title"]) == (421, "Misdirected Request")
    assert problem["type"] == "urn:payment:problem:host-unknown"
    assert problem["detail"] == "This service is not called evil.example (see ALLOWED_HOSTS)"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_may_call_us_by_any_name(start_as: Start, path: str) -> None:
    assert start_as().http.get(path, headers={"Host": "evil.example"}).status_code == 200
    assert exchange(start_as(), f"GET {path} HTTP/1.0") == (200, {"status": "ok"})


def test_further_names_are_those_of_allowed_hosts(start_as: Start) -> None:
    service = start_as(ALLOWED_HOSTS="kasir.Example , pay_ment,10.1.2.3,[2001:db8::0:1],2001:db8::2")
    for host in ("kasir.example", "KASIR.EXAMPLE.:80", "pay_ment:5004", "10.1.2.3", "[2001:db8::1]:5004"):
        assert pay(service, Host=host).status_code == 201, host
    assert pay(service, Host="[2001:DB8:0::2]").status_code == 201
    assert pay(service, Host="localhost").status_code == 201, "loopback is always ours"
    for host in ("evil.example", "x.kasir.example", "10.1.2.4", "[2001:db8::3]", "kasir_example"):
        assert pay(service, Host=host).status_code == 421, host


def test_a_star_allows_every_name(start_as: Start) -> None:
    service = start_as(ALLOWED_HOSTS="*")
    for host in ("evil.example", "10.1.2.3:80", "localhost", "no name at all"):
        assert pay(service, Host=host).status_code == 201, host


def test_the_address_that_it_is_bound_to_is_its_name(start_as: Start) -> None:
    service = start_as(HOST="127.0.0.2")
    assert pay(service).status_code == 201
    assert pay(service, Host="evil.example").status_code == 421


def test_bound_to_all_addresses_it_has_all_addresses_but_no_name(start_as: Start) -> None:
    """Nobody can rebind an address: a page whose Host is an address of ours came from us."""
    service = start_as(HOST="0.0.0.0", AUTH="none")
    for host in ("127.0.0.1", "localhost", "192.168.1.5:5004", "[2001:db8::1]", "0.0.0.0"):
        assert pay(service, Host=host).status_code == 201, host
    for host in ("evil.example", "payment", "192.168.1.5.evil.example", "192.168.1"):
        assert pay(service, Host=host).status_code == 421, host


@pytest.mark.parametrize("auth", ["none", "keys"])
def test_http_1_1_has_one_host_wherever_it_is_sent(start_as: Start, auth: str) -> None:
    """RFC 9112, 3.2: also to a probe, to the console, to nothing, and whoever is asked for a key."""
    service = start_as(**({"AUTH": auth} if auth == "keys" else {}))
    invalid = (400, {"error": "Ini bukan permintaan HTTP yang sah"})
    for path in ("/healthz", "/payments", "/console", "/docs/", "/nothing", "http://localhost/payments"):
        for hosts in ([], ["Host: localhost", "Host: localhost"], ["Host: localhost", "hOST:"]):
            assert exchange(service, f"GET {path} HTTP/1.1", *hosts, "Connection: close") == invalid, path


def test_http_1_0_needs_no_host(start_as: Start) -> None:
    """What says none is an old program, never a browser (RFC 9112, 3.2)."""
    body = b'{"order_id":%d,"user_id":1,"amount":1}' % next(_orders)
    length = f"Content-Length: {len(body)}"
    assert exchange(start_as(), "POST /payments HTTP/1.0", length, body=body)[0] == 201
    invalid = (400, {"error": "Ini bukan permintaan HTTP yang sah"})
    twice = ["Host: localhost", "Host: evil.example"]
    for hosts in (twice, twice[::-1], ["Host: localhost"] * 2):
        assert exchange(start_as(), "GET /payments HTTP/1.0", *hosts) == invalid
    evil = exchange(start_as(), "GET /payments HTTP/1.0", "Host: evil.example")
    assert evil[0] == 421


def test_a_target_with_a_host_goes_before_the_header(start_as: Start) -> None:
    """RFC 9112, 3.2.2: as a proxy asks."""
    service = start_as()
    close = "Connection: close"
    for target, host, status in (
        ("http://evil.example/payments", "localhost", 421),
        ("http://evil.example:5004/payments", "localhost", 421),
        ("http://localhost@evil.example/payments", "localhost", 421),
        ("HTTP://LOCALHOST:5004/payments", "evil.example", 200),
        ("http://[::1]:5004/payments", "evil.example", 200),
        ("http://[2001:db8::1]/payments", "localhost", 421),
        ("http://127.0.0.1/payments?limit=1", "evil.example", 200),
    ):
        assert exchange(service, f"GET {target} HTTP/1.1", f"Host: {host}", close)[0] == status, target
    for target in ("http:///payments", "http://evil.example", "evil.example/payments"):
        assert exchange(service, f"GET {target} HTTP/1.1", "Host: localhost", close)[0] == 400, target
    for host, status in {"localhost": 404, "evil.example": 421}.items():
        assert exchange(service, "OPTIONS * HTTP/1.1", f"Host: {host}", close)[0] == status


ELSEWHERE = [
    "https://evil.example",
    "http://evil.example:5004",
    "null",
    "",
    "localhost:5004",
    "http://localhost",
    "https://localhost:5005",
    "http://127.0.0.1:5004",
    "http://localhost.evil.example:5004",
    "http://localhost:5004.evil.example",
    "http://localhost:5004/",
    "http://localhost:5004 http://evil.example",
    "ftp://localhost:5004",
    "chrome-extension://localhost:5004",
    "http://evil@localhost:5004",
]
CHANGES = [
    ("POST", "/payments"),
    ("PATCH", "/payments/1"),
    ("POST", "/payments/1/refunds"),
    ("POST", "/notifications/1/retry"),
    ("PUT", "/payments"),
    ("DELETE", "/nothing"),
]


@pytest.mark.parametrize("origin", ELSEWHERE)
def test_a_page_of_another_origin_changes_nothing(start_as: Start, origin: str) -> None:
    service = start_as()
    headers = {"Host": "localhost:5004", "Origin": origin}
    said = {"error": "Halaman dari situs lain tidak boleh mengubah apa pun di sini"}
    for method, path in CHANGES:
        for content in (b"", b'{"order_id":1,"user_id":1,"amount":1}'):
            refused = service.http.request(method, path, headers=headers, content=content)
            assert (refused.status_code, refused.json()) == (403, said), (method, path)
    typed = headers | {"Content-Type": "application/json"}
    assert service.http.post("/payments", headers=typed, content=b"{}").status_code == 403
    for path in ("/payments", "/openapi.json"):
        assert service.http.get(path, headers=headers).status_code == 200, "it cannot read the answer"
    problem = service.http.post(
        "/payments", headers=headers | {"Accept": "application/problem+json", "Accept-Language": "en"}
    ).json()
    assert problem["type"] == "urn:payment:problem:origin-foreign"
    assert problem["detail"] == "A page of another site must not change anything here"


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:5004", "http://localhost:5004"),
        ("LocalHost:5004", "HTTP://localhost:5004"),
        ("localhost:5004", "https://localhost:5004"),  # TLS ended before us
        ("localhost", "http://localhost"),
        ("localhost:80", "http://localhost"),
        ("localhost", "https://localhost:443"),
        ("localhost:443", "https://localhost"),
        ("[::1]:5004", "http://[::1]:5004"),
        ("127.0.0.1:5004", "http://127.0.0.1:5004"),
    ],
)
def test_our_own_page_may_pay(start_as: Start, host: str, origin: str) -> None:
    assert pay(start_as(), Host=host, Origin=origin, Sec_Fetch_Site="same-origin").status_code == 201
    content = json.dumps({"order_id": next(_orders), "user_id": 1, "amount": 1})
    untyped = start_as().http.post("/payments", content=content, headers={"Host": host, "Origin": origin})
    assert untyped.status_code == 201


def test_what_a_browser_says_of_another_site_is_believed(start_as: Start) -> None:
    for foreign in ("cross-site", "same-site"):
        for method, path in CHANGES:
            refused = start_as().http.request(method, path, headers={"Sec-Fetch-Site": foreign})
            assert refused.status_code == 403, (foreign, path)
        assert pay(start_as(), Sec_Fetch_Site=foreign).status_code == 403
        assert start_as().http.get("/payments", headers={"Sec-Fetch-Site": foreign}).status_code == 200
    for own in ("same-origin", "none", ""):
        assert pay(start_as(), Sec_Fetch_Site=own).status_code == 201, own


def test_each_of_several_origins_must_be_ours(start_as: Start) -> None:
    own, other = (b"Origin", b"http://localhost"), (b"Origin", b"https://evil.example")
    for origins in ([own, other], [other, own]):
        refused = start_as().http.post("/payments", headers=[(b"Host", b"localhost"), *origins], json={})
        assert refused.status_code == 403
    without_host = exchange(start_as(), "POST /payments HTTP/1.0", "Origin: http://localhost")
    assert without_host[0] == 403


@pytest.mark.parametrize("settings", [{"ALLOWED_HOSTS": "*"}, {"ALLOWED_HOSTS": "kasir.example"}], ids=repr)
def test_a_foreign_origin_is_one_whatever_hosts_are_allowed(
    start_as: Start, settings: dict[str, str]
) -> None:
    service = start_as(**settings)
    assert pay(service, Host="kasir.example", Origin="https://kasir.example").status_code == 201
    assert pay(service, Host="kasir.example", Origin="https://evil.example").status_code == 403
    assert pay(service, Host="localhost", Origin="https://kasir.example").status_code == 403


def test_compose_says_what_other_containers_call_it() -> None:
    """`port` holds the network of all API replicas; what is set in the shell or .env goes before it."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert services["api"]["network_mode"] == "service:port"
    assert services["api"]["environment"]["ALLOWED_HOSTS"] == "${ALLOWED_HOSTS:-port}"


def head_of(received: bytes) -> dict[str, list[str]]:
    head: dict[str, list[str]] = {}
    for line in received.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]:
        name, _, value = line.partition(": ")
        head.setdefault(name.lower(), []).append(value)
    return head


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /payments HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"HEAD /payments HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /payments HTTP/1.0\r\nAccept: text/csv\r\n\r\n",
        b"GET /payments HTTP/1.1\r\nHost: localhost\r\nAccept: text/csv\r\nConnection: close\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /docs/nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"PUT /docs/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"PUT /payments HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /payments HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        b"POST /payments HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\nConnection: close\r\n\r\n",
        b"POST /payments HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\nExpect: 100-continue"
        + 2 * b"\r\n",
        b"nonsense\r\n\r\n",  # what follows is refused before there is a request
        b"POST /payments HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
    ],
    ids=lambda sent: repr(sent[:60]),
)
def test_every_answer_says_what_a_browser_must_not_do_with_it(start_as: Start, sent: bytes) -> None:
    """Each header once. `described.check` asks the same of every answer that any test gets."""
    with socket.create_connection(("127.0.0.1", int(port_of(start_as()))), timeout=10) as wire:
        wire.sendall(sent)
        received = b""
        while chunk := wire.recv(65536):
            received += chunk
    head = head_of(received)
    assert {name: head.get(name) for name in API_HEADERS} == {n: [v] for n, v in API_HEADERS.items()}


def policy_of(answer: httpx.Response) -> dict[str, list[str]]:
    """Return the sources that a Content-Security-Policy allows for each kind of thing."""
    assert len(answer.headers.get_list("content-security-policy")) == 1
    directives = answer.headers["content-security-policy"].split(";")
    return {name: sources for name, *sources in (directive.split() for directive in directives)}


@pytest.mark.parametrize("path", ["/docs/", "/docs/index.html"])
def test_the_page_may_do_what_it_does_and_nothing_else(start_as: Start, path: str) -> None:
    page = start_as().http.get(path)
    policy = policy_of(page)
    assert policy_of(start_as().http.head(path)) == policy
    assert policy == {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "connect-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
    assert not re.search(r"<style| style=|<script>", page.text), "nothing inline"
    assert not re.search(r"\son\w+=", page.text), "no handler in an attribute"


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/docs", "no-cache"),  # asked for again, but sent only if it has changed
        ("/docs/", "no-cache"),
        ("/docs/swagger-ui.css", "no-cache"),
        ("/docs/swagger-ui-bundle.js", "no-cache"),
        ("/docs/page.js", "no-cache"),
        ("/openapi.json", "no-store"),
        ("/openapi.yaml", "no-store"),
    ],
)
def test_what_belongs_to_the_page_says_what_a_browser_must_not_do_with_it(
    start_as: Start, path: str, kept: str
) -> None:
    answer = start_as().http.get(path)
    assert answer.headers["cache-control"] == kept
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    if path != "/docs/":
        assert answer.headers["content-security-policy"] == API_HEADERS["content-security-policy"]
    if "etag" in answer.headers:
        again = start_as().http.get(path, headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304
        assert again.headers["cache-control"] == kept
        assert policy_of(again) == policy_of(answer)
