"""Neighbours over https: whom we trust, what we show them, and what it looks like if that fails. Real TLS."""

import ssl
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from trustme import CA

from https import Files, Rude, SecureOrder, home_made
from payment.core.neighbours import ORDER
from payment.core.settings import NeighbourSettings
from payment.core.states import Outcome, Status
from payment.telling.downstream import DeliveryResult, NeighbourClient
from processes import Service, wait_for, wait_until_all_told, wait_until_told

Start = Callable[..., Service]
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A CA, and a folder for what it issues."""
    return Files(tmp_path)


@pytest.fixture
def serve(end: ExitStack) -> Callable[[Path], SecureOrder]:
    """Start Order with a certificate."""

    def serve(certificate: Path) -> SecureOrder:
        order = SecureOrder(certificate)
        end.callback(order.server_close)
        end.callback(order.shutdown)
        return order

    return serve


Serve = Callable[[Path], SecureOrder]


def failure(service: Service, attempts: int = 2) -> str:
    """Wait until Order could not be told so often; return what is said of it. It is not dead."""

    def found() -> list[dict[str, Any]]:
        rows = [row for row in service.notifications() if row["service"] == "order"]
        return [row for row in rows if row["attempts"] >= attempts]

    (row,) = wait_for(found, what=f"{attempts} attempts")
    assert row["state"] == "waiting"
    return str(row["last_error"])


@pytest.mark.parametrize("name", ["ORDER_SERVICE_CA_FILE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_a_service_whose_ca_we_were_told_of_is_told_and_asked(
    start: Start, serve: Serve, files: Files, name: str
) -> None:
    order = serve(files.issue("localhost"))
    service = start(ORDER_SERVICE_URL=order.url, **{name: str(files.ca_file)})
    service.pay(1)
    wait_until_told(order, 1)
    wait_until_all_told(service)
    asked = service.cli("reconcile", "--service", "order")
    assert (asked.returncode, asked.stderr) == (0, "")
    assert "agree: 1;" in asked.stdout


def test_a_services_own_ca_goes_before_the_one_of_all(start: Start, serve: Serve, files: Files) -> None:
    order = serve(files.issue("localhost"))
    other = str(files.trust(CA(), "other.pem"))
    service = start(
        ORDER_SERVICE_URL=order.url, ORDER_SERVICE_CA_FILE=str(files.ca_file), SSL_CERT_FILE=other
    )
    service.pay(1)
    wait_until_told(order, 1)


@pytest.mark.parametrize("kind", ["of a home-made CA", "of an intermediate CA", "signed by itself"])
def test_what_people_have_inside_their_network_can_be_trusted(
    start: Start, serve: Serve, files: Files, tmp_path: Path, kind: str
) -> None:
    """The same on each Python."""
    if kind == "of a home-made CA":
        ca_file, certificate = home_made(tmp_path)
    elif kind == "of an intermediate CA":  # whose root we are not given
        below = files.ca.create_child_ca()
        ca_file, certificate = files.trust(below), files.issue("localhost", by=below)
    else:
        certificate = files.issue("localhost")
        ca_file = files.write("itself.pem", certificate.read_bytes())
    order = serve(certificate)
    service = start(ORDER_SERVICE_URL=order.url, ORDER_SERVICE_CA_FILE=str(ca_file))
    service.pay(1)
    wait_until_told(order, 1)


NOT_TRUSTED = {
    "no CA that we know": "unable to get local issuer certificate; see ORDER_SERVICE_CA_FILE",
    "another CA than the one we were told of": "issuer certificate; see ORDER_SERVICE_CA_FILE",
    "another host": "certificate is not valid for 'localhost'",
    "last year": "certificate has expired",
}


@pytest.mark.parametrize("of", NOT_TRUSTED)
def test_whom_we_cannot_trust_is_told_nothing_until_we_can(
    start: Start, serve: Serve, files: Files, of: str
) -> None:
    """An outage, never dead; and nothing was sent, so nothing is repeated."""
    certificate = {
        "no CA that we know": lambda: files.issue("localhost"),
        "another CA than the one we were told of": lambda: files.issue("localhost", by=CA()),
        "another host": lambda: files.issue("order.example", "127.0.0.1"),
        "last year": lambda: files.issue("localhost", not_after=datetime.now(UTC) - timedelta(days=1)),
    }[of]()
    order = serve(certificate)
    trusted = {} if of == "no CA that we know" else {"ORDER_SERVICE_CA_FILE": str(files.ca_file)}
    service = start(ORDER_SERVICE_URL=order.url, RESEND_AFTER_S="0.1", **trusted)
    service.pay(1)
    said = failure(service)
    assert NOT_TRUSTED[of] in said
    assert "TLS" in said
    assert order.puts == 0

    if trusted:  # the service mends itself
        order.context.load_cert_chain(files.issue("localhost"))
    else:  # we do
        assert service.stop() == 0
        service = start(
            ORDER_SERVICE_URL=order.url, RESEND_AFTER_S="0.1", ORDER_SERVICE_CA_FILE=str(files.ca_file)
        )
    wait_until_told(order, 1)
    wait_until_all_told(service)
    time.sleep(0.5)  # the observation is what does not come
    assert order.puts == 1
    assert len(service.notifications()) == 2


def test_reconcile_says_why_it_got_no_answer(start: Start, serve: Serve, files: Files) -> None:
    order = serve(files.issue("localhost"))
    service = start(ORDER_SERVICE_URL=order.url, ORDER_SERVICE_CA_FILE=str(files.ca_file))
    service.pay(1)
    wait_until_told(order, 1)
    wait_until_all_told(service)
    del service.environment["ORDER_SERVICE_CA_FILE"]
    asked = service.cli("reconcile", "--service", "order")
    assert asked.returncode == 1
    assert "see ORDER_SERVICE_CA_FILE" in asked.stdout


def test_no_setting_switches_verification_off(start: Start, serve: Serve, files: Files) -> None:
    """What other programs take for such a switch; CURL_CA_BUNDLE is not read at all."""
    order = serve(files.issue("localhost"))
    service = start(
        ORDER_SERVICE_URL=order.url,
        PYTHONHTTPSVERIFY="0",
        CURL_CA_BUNDLE="",
        REQUESTS_CA_BUNDLE="",
        SSL_CERT_FILE="",
        ORDER_SERVICE_CA_FILE="",
        NODE_TLS_REJECT_UNAUTHORIZED="0",
        GIT_SSL_NO_VERIFY="1",
    )
    service.pay(1)
    assert "unable to get local issuer certificate" in failure(service)
    assert order.puts == 0


@pytest.mark.parametrize("bundle", ["/no/such/file", "False", "0"])
def test_what_curl_trusts_is_nothing_to_us(start: Start, serve: Serve, files: Files, bundle: str) -> None:
    order = serve(files.issue("localhost"))
    service = start(
        ORDER_SERVICE_URL=order.url, CURL_CA_BUNDLE=bundle, ORDER_SERVICE_CA_FILE=str(files.ca_file)
    )
    service.pay(1)
    wait_until_told(order, 1)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_service_that_demands_a_certificate_gets_ours(
    start: Start, serve: Serve, files: Files, version: ssl.TLSVersion
) -> None:
    order = serve(files.issue("localhost"))
    order.context.maximum_version = version
    order.context.verify_mode = ssl.CERT_REQUIRED
    clients = CA()
    order.context.load_verify_locations(files.trust(clients, "clients.pem"))
    given = {
        "ORDER_SERVICE_URL": order.url,
        "ORDER_SERVICE_CA_FILE": str(files.ca_file),
        "RESEND_AFTER_S": "0.1",
    }

    without = start(**given)
    without.pay(1)
    assert ("TLS handshake failed" in failure(without)) == (version is ssl.TLSVersion.TLSv1_2)
    assert without.stop() == 0

    def pair(name: str, by: CA) -> dict[str, str]:
        leaf = by.issue_cert("payment.example", common_name=name)
        chain = b"".join(pem.bytes() for pem in leaf.cert_chain_pems)
        return {
            "ORDER_SERVICE_CLIENT_CERT_FILE": str(files.write(f"{name}.pem", chain)),
            "ORDER_SERVICE_CLIENT_KEY_FILE": str(files.write(f"{name}.key", leaf.private_key_pem.bytes())),
        }

    stranger = start(**given, **pair("stranger", CA()))
    failure(stranger, attempts=4)
    assert order.puts == 0
    assert stranger.stop() == 0

    service = start(**given, **pair("payment", clients))
    wait_until_told(order, 1)
    assert order.shown == {"payment"}
    wait_until_all_told(service)
    assert service.cli("reconcile", "--service", "order").returncode == 0


def tell(neighbour: NeighbourSettings, connect_timeout_s: float = 20) -> DeliveryResult:
    client = NeighbourClient(ORDER, neighbour, connect_timeout_s=connect_timeout_s, read_timeout_s=20)
    return client.tell(1, Status.PAID, idempotency_key="1", traceparent="00-1-1-01")


def order_at(url: str, **more: Any) -> NeighbourSettings:
    return NeighbourSettings(url, "/orders/{order_id}/payment", None, **more)


@pytest.mark.parametrize("hangs_up", [True, False])
def test_what_failed_in_the_handshake_was_never_sent(end: ExitStack, *, hangs_up: bool) -> None:
    rude = Rude(hangs_up=hangs_up)
    end.callback(rude.close)
    heard = tell(order_at(rude.url), connect_timeout_s=0.3)
    assert heard.outcome is Outcome.OUTAGE
    assert not heard.may_come_late
    assert "TLS handshake failed" in (heard.error or "")


def test_what_was_sent_over_tls_and_not_answered_may_come_late(serve: Serve, files: Files) -> None:
    order = serve(files.issue("localhost"))
    order.hangs_up = True
    heard = tell(order_at(order.url, ca_file=files.ca_file))
    assert (heard.outcome, heard.may_come_late) == (Outcome.OUTAGE, True)


def test_one_context_is_read_once_and_trusts_nobody_else(serve: Serve, files: Files) -> None:
    """Nor are the public CAs read with each connection, and trusted beside the private one."""
    order = serve(files.issue("localhost"))
    client = NeighbourClient(
        ORDER, order_at(order.url, ca_file=files.ca_file), connect_timeout_s=20, read_timeout_s=20
    )
    files.ca_file.unlink()
    for order_id in (1, 2):
        heard = client.tell(order_id, Status.PAID, idempotency_key="1", traceparent="00-1-1-01")
        assert heard.outcome is Outcome.DELIVERED
    assert client._tls is not None
    assert client._tls.cert_store_stats()["x509"] == 1
