"""What the clients of Order and User promise, each as something that can be tried with any client.

`test_consumer.py` tries each with the production clients; `mutants.py` with clients that have one fault, each
of which must break a promise.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from ssl import CERT_REQUIRED
from tempfile import TemporaryDirectory
from typing import Any

from trustme import CA

from consumer import new_pact
from https import Files, SecureOrder
from interaction import Interaction
from neighbours import ORDER, TRACE, USER, MakeClient, Told, interactions_with, is_told
from payment.core import neighbours
from payment.core.settings import NeighbourSettings
from payment.core.states import Status
from payment.ledger.claims import Claim
from payment.telling.downstream import NeighbourClient
from variants import DOES_ITS_WORK, FIRST_ID, VARIANTS, serve_variants

TOKEN = "rahasia-4711"
CLAIM = Claim(
    id=7,
    neighbour=neighbours.ORDER,
    target_id=1,
    payment_id=3,
    status=Status.PAID,
    attempts=0,
    created_us=1_700_000_000_000_000,
    due_since_us=0,
    unknown_since_us=None,
    resend_us=None,
    is_repeat=False,
    traceparent=TRACE,
    request_id=None,
)


@dataclass(frozen=True)
class Clients:
    """The clients that are tried, and how a claim is sent with one."""

    order: MakeClient
    user: MakeClient
    send: Callable[[NeighbourClient, Claim], Any]

    def of(self, neighbour: Told) -> MakeClient:
        """Return the client of this neighbour."""
        return self.order if neighbour is ORDER else self.user


def exercise(names: tuple[str, str], interaction: Interaction) -> None:
    """Make the call against a mock that knows this interaction alone; raises if either side differs."""
    pact = new_pact(*names)
    interaction.declare(pact)
    with pact.serve(addr="127.0.0.1") as server:
        interaction.call(str(server.url))


def keeps_the_contracts(clients: Clients) -> None:
    """Each call is the contract's, and its answer is understood."""
    for neighbour in (ORDER, USER):
        for interaction in interactions_with(neighbour, clients.of(neighbour)):
            exercise(("payment", neighbour.name), interaction)


def keeps_the_contracts_with_a_token_too(clients: Clients) -> None:
    """They say nothing of `Authorization`, so a service that asks for it can keep them too."""

    def with_token(make: MakeClient, settings: NeighbourSettings, **options: Any) -> NeighbourClient:
        return make(replace(settings, token=TOKEN), **options)

    for neighbour in (ORDER, USER):
        for interaction in interactions_with(neighbour, partial(with_token, clients.of(neighbour))):
            exercise(("payment", neighbour.name), interaction)


def does_its_work_with_every_answer_that_serves(clients: Clients) -> None:
    """And with no other, see `variants`."""
    for neighbour in (ORDER, USER):
        with serve_variants(neighbour) as url:
            client = neighbour.connect(url, clients.of(neighbour))
            for number, variant in enumerate(VARIANTS):
                works = DOES_ITS_WORK[variant.call](client, FIRST_ID + number)
                assert works == variant.serves, str(variant)


def sends_the_token(clients: Clients) -> None:
    """As a bearer token (RFC 6750, 2.1), with every call, and none where none is set."""
    for neighbour in (ORDER, USER):
        with serve_answer() as served:
            for token in (TOKEN, None):
                client = connect(neighbour, clients, served.url, token)
                is_told(client, 1, Status.PAID)
                client.read(1)
        assert [headers.get("Authorization") for headers in served.received] == [
            f"Bearer {TOKEN}",
            f"Bearer {TOKEN}",
            None,
            None,
        ]


def keys_tell_news_apart(clients: Clients) -> None:
    """An attempt of the same news has the same key; other news, another state, another database another."""
    news = [
        CLAIM,
        replace(CLAIM, id=8),
        replace(CLAIM, status=Status.FAILED),
        replace(CLAIM, created_us=CLAIM.created_us + 1),
        replace(CLAIM, attempts=3),
    ]
    with serve_answer() as served:
        for claim in news:
            clients.send(connect(ORDER, clients, served.url), claim)
    keys = [headers["Idempotency-Key"] for headers in served.received]
    assert len(set(keys[:4])) == 4
    assert keys[4] == keys[0]


def takes_a_404_for_unknown_only_where_the_route_is_known(clients: Clients) -> None:
    """A JSON 404 of a route that never gave another answer says that the path is wrong."""
    with serve_answer() as served:
        for neighbour in (ORDER, USER):
            for status, shows in ((200, True), (204, True), (400, True), (422, True), *NOT_SHOWING):
                client = connect(neighbour, clients, served.url)
                served.status = 404
                assert judged(client) == ("no-route", False)
                served.status = status
                judged(client)
                served.status = 404
                assert judged(client) == (("unknown", True) if shows else ("no-route", False)), status


NOT_SHOWING = tuple(
    (status, False) for status in (302, 401, 403, 404, 405, 407, 408, 421, 426, 429, 500, 502, 503)
)


def takes_a_refused_token_for_an_outage(clients: Clients) -> None:
    """401 and 403 say that our token is wrong, and which setting holds it."""
    for neighbour in (ORDER, USER):
        with serve_answer() as served:
            client = connect(neighbour, clients, served.url, TOKEN)
            for served.status in (401, 403):
                result = client.tell(1, Status.PAID, idempotency_key="k", traceparent=TRACE)
                assert result.outcome == "denied"
                setting = f"see {neighbour.name.upper()}_SERVICE_TOKEN"
                for said in (result.error, client.read(1).error):
                    assert said is not None
                    assert setting in said
                    assert TOKEN not in said


def trusts_only_whom_it_was_told_to(clients: Clients) -> None:
    """Over https: a certificate of a CA that it knows, for the very host; and it shows its own if asked."""
    with TemporaryDirectory() as folder, ExitStack() as end:
        files = Files(Path(folder))
        ours = files.issue("payment", name="ours.pem", common_name="payment")
        stranger = {"ca_file": files.trust(CA(), "stranger.pem")}
        for certificate, trusted, is_served in (
            (files.issue("localhost"), {"ca_file": files.ca_file}, True),
            (files.issue("localhost"), stranger, False),
            (files.issue("order", name="other.pem"), {"ca_file": files.ca_file}, False),
        ):
            order = SecureOrder(certificate)
            end.callback(order.server_close)
            end.callback(order.shutdown)
            order.context.load_verify_locations(files.ca_file)
            order.context.verify_mode = CERT_REQUIRED
            shows = {"client_cert_file": ours, "client_key_file": ours}
            settings = NeighbourSettings(url=order.url, path=ORDER.put_path, token=None, **trusted, **shows)
            client = clients.order(settings, connect_timeout_s=2, read_timeout_s=5)
            assert is_told(client, 1, Status.PAID) == is_served
            assert bool(order.states()) == is_served


PROMISES: Mapping[str, Callable[[Clients], None]] = {
    each.__name__.replace("_", " "): each
    for each in (
        sends_the_token,
        keys_tell_news_apart,
        takes_a_refused_token_for_an_outage,
        trusts_only_whom_it_was_told_to,
        keeps_the_contracts,
        keeps_the_contracts_with_a_token_too,
        takes_a_404_for_unknown_only_where_the_route_is_known,
        does_its_work_with_every_answer_that_serves,
    )
}


def connect(neighbour: Told, clients: Clients, url: str, token: str | None = None) -> NeighbourClient:
    """Return a client that has never been answered."""
    settings = NeighbourSettings(url=url, path=neighbour.put_path, token=token)
    return clients.of(neighbour)(settings, connect_timeout_s=2, read_timeout_s=5)


def judged(client: NeighbourClient) -> tuple[str, bool]:
    """Return what the client makes of the answer to a PUT, and if it reads "unknown" in that to a GET."""
    result = client.tell(1, Status.PAID, idempotency_key="k", traceparent=TRACE)
    return str(result.outcome), client.read(1).is_unknown


@dataclass
class Served:
    """A server of one answer with a JSON object, to everything.

    Attributes:
        received: the headers of each request.
        status: of the answer, from now on.
    """

    url: str
    received: list[Mapping[str, str]]
    status: int = 200


@contextmanager
def serve_answer() -> Iterator[Served]:
    """Serve 200, or what is said later."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def answer(self) -> None:
            """Note the headers, answer."""
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            served.received.append(dict(self.headers))
            body = b'{"error":"x"}'
            self.send_response(served.status)
            if served.status != 204:
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body if served.status != 204 else b"")

        do_GET = do_PUT = answer  # noqa: N815  # the standard library's names

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        served = Served(f"http://127.0.0.1:{server.server_port}", [])
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield served
        finally:  # else the thread looks at a closed socket for ever
            server.shutdown()
            thread.join()
