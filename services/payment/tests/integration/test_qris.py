"""A guest pays by QRIS: a gateway's stand-in calls the bridge that we show, and the bridge tells Payment."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from described import ROOT
from key_holders import WRONG, holder, let_in
from payment_life import PENDING, bill_of, booked, new_order_id
from ports import free_port
from processes import Service, Stub, http_client, wait_for, wait_until_told
from programs import Process

BRIDGE = ROOT / "examples" / "qris_bridge.py"
SECRETS = {"MIDTRANS_SERVER_KEY": "SB-Mid-server-uji", "XENDIT_CALLBACK_TOKEN": "token-uji"}
GATEWAYS = pytest.mark.parametrize("gateway", ["midtrans", "xendit"])


def start_bridge(service: Service, key: str, **secrets: str) -> tuple[Process, str]:
    """Start the bridge beside a service; return its process and its address."""
    settings = {"PORT": "0", "PAYMENT_URL": service.url, "PAYMENT_KEY": key} | secrets
    bridge = Process((BRIDGE, ()), settings)
    return bridge, bridge.line_with("bridge on ").split()[-1]


@dataclass
class Street:
    """All who take part."""

    service: Service
    order: Stub
    bridge: Process
    bridge_url: str
    gateway: httpx.Client

    def book(self, order_id: int, amount: int = 20_000, **fields: Any) -> int:
        """Book a payment that waits for its QR code; return its id."""
        return booked(self.service.pay(order_id, amount=amount, fields=PENDING | fields))

    def code(self, payment_id: int, amount: int = 20_000, **fields: Any) -> int:
        """Have the gateway make a QR code for it; return the code's id."""
        made = self.gateway.post("/qr", json={"payment_id": payment_id, "amount": amount} | fields)
        assert made.status_code == 201, made.text
        made_id: int = made.json()["id"]
        return made_id

    def scan(self, code: int, **switches: Any) -> list[tuple[int, str]]:
        """Let the guest pay; return what the bridge has answered when the first attempts are over."""
        paid = self.gateway.post(f"/qr/{code}/pay", json=switches)
        assert paid.status_code == 200, paid.text
        return self.answers(code)

    def resend(self, code: int) -> tuple[int, str]:
        """Have the gateway send the callback again; return the answer."""
        self.gateway.post(f"/qr/{code}/resend").raise_for_status()
        return self.answers(code)[-1]

    def answers(self, code: int) -> list[tuple[int, str]]:
        """Return the bridge's answers about a code."""
        return [(each["status"], each["body"]) for each in self._shown(code)["answers"]]

    def transaction(self, code: int) -> str:
        """Return what the gateway calls what the guest paid."""
        shown = self._shown(code)
        return ("qrpy_" if shown["gateway"] == "xendit" else "") + str(shown["transaction_id"])

    def _shown(self, code: int) -> dict[str, Any]:
        shown: dict[str, Any] = self.gateway.get(f"/qr/{code}").json()
        return shown

    def payment(self, payment_id: int) -> dict[str, Any]:
        """Return the payment."""
        payment: dict[str, Any] = self.service.http.get(f"/payments/{payment_id}").json()
        return payment

    def story(self, payment_id: int) -> list[str]:
        """Return what happened to a payment, but for what its neighbours heard."""
        events = self.service.http.get(f"/payments/{payment_id}/events").json()["events"]
        return [event["type"] for event in events if not event["type"].startswith("notification")]


@pytest.fixture(scope="module")
def street(shared_keyed: Service) -> Iterator[Street]:
    service = shared_keyed
    service.kill()
    service.environment["PORT"] = str(free_port())  # it comes back there, and nobody gets it meanwhile
    service.start()
    with ExitStack() as running:
        order, user = Stub("order"), Stub("user")
        running.callback(order.kill)
        running.callback(user.kill)
        neighbours = {"ORDER_SERVICE_URL": order.url, "USER_SERVICE_URL": user.url}
        often = {"POLL_INTERVAL_S": "0.1", "PENDING_EXPIRES_S": "1"}  # it looks for what has expired often
        worker = Service(service.environment | neighbours | often, "worker")
        running.callback(worker.kill)
        key = holder(service, "payments:read", "payments:write", client="bridge").key
        bridge, url = start_bridge(service, key, **SECRETS)
        running.callback(bridge.kill)
        settings = {"PORT": "0", "BRIDGE_URL": url, "RETRY_MS": "300"} | SECRETS
        gateway = Process((ROOT / "services" / "stubs" / "qris" / "app.py", ()), settings)
        running.callback(gateway.kill)
        let_in(service, "admin")
        with http_client(gateway.line_with(" stub on ").split()[-1]) as http:
            yield Street(service, order, bridge, url, http)


def soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


@GATEWAYS
def test_a_guest_who_pays_the_code_has_paid_the_order(street: Street, order_id: int, gateway: str) -> None:
    payment_id = street.book(order_id, expires_at=soon(900))
    code = street.code(payment_id, gateway=gateway, expires_at=soon(900))
    assert street.scan(code) == [(200, "paid")]
    payment = street.payment(payment_id)
    assert payment["status"] == "paid"
    assert payment["reference"] == street.transaction(code)
    wait_until_told(street.order, order_id)
    (paid,) = [
        event
        for event in street.service.http.get(f"/payments/{payment_id}/events").json()["events"]
        if event["type"] == "payment.paid"
    ]
    assert paid["actor"].startswith("bridge/")


@GATEWAYS
@pytest.mark.parametrize("twice", ["same", "another"])
def test_a_callback_that_comes_twice_at_once_books_once(
    street: Street, order_id: int, gateway: str, twice: str
) -> None:
    """Also with another id, as both shapes can come again: what counts is the transaction."""
    payment_id = street.book(order_id)
    code = street.code(payment_id, gateway=gateway)
    assert street.scan(code, twice=twice) == [(200, "paid")] * 2
    assert street.resend(code) == (200, "paid")
    assert street.story(payment_id) == ["payment.created", "payment.paid"]
    assert bill_of(street.service, order_id) == (20_000, 20_000, 0, 0, True)

    street.service.refund(payment_id).raise_for_status()
    assert street.resend(code)[0] == 200, "the gateway asks no more"
    assert street.payment(payment_id)["status"] == "refunded"


def test_what_nobody_pays_expires_and_money_that_comes_after_that_is_booked(street: Street) -> None:
    never, late = new_order_id(), new_order_id()
    unpaid, paid_late = (street.book(order_id, expires_at=soon(3)) for order_id in (never, late))
    codes = [street.code(payment_id, gateway="xendit") for payment_id in (unpaid, paid_late)]
    assert street.scan(codes[0], never=True) == []
    assert street.scan(codes[1], late_s=600) == []
    for payment_id in (unpaid, paid_late):
        wait_for(lambda: street.payment(payment_id)["status"] == "failed", 20)  # noqa: B023  # it ends before the next
    wait_until_told(street.order, never, "failed")
    assert street.resend(codes[1]) == (200, "paid")
    assert street.story(paid_late) == ["payment.created", "payment.failed", "payment.paid"]
    assert street.story(unpaid) == ["payment.created", "payment.failed"]
    wait_until_told(street.order, late, "paid")


@GATEWAYS
def test_money_that_comes_after_another_has_paid_is_noted(
    street: Street, order_id: int, gateway: str
) -> None:
    """The gateway has nothing to repeat: Payment keeps it until somebody says what became of it."""
    payment_id = street.book(order_id)
    code = street.code(payment_id, gateway=gateway)
    street.scan(code, never=True)
    street.service.settle(payment_id, "failed").raise_for_status()
    booked(street.service.pay(order_id))  # the guest pays in cash
    assert street.resend(code) == (200, "late-payment")
    assert street.resend(code) == (200, "late-payment"), "and again"
    assert bill_of(street.service, order_id) == (20_000, 20_000, 0, 0, True)
    listed = street.service.http.get("/payments", params={"late": "true", "order_id": order_id}).json()
    assert [payment["id"] for payment in listed["payments"]] == [payment_id]
    street.service.http.post(
        f"/payments/{payment_id}/late", json={"resolution": "returned"}
    ).raise_for_status()
    assert street.resend(code) == (200, "late-payment"), "it is not there any more"
    assert street.payment(payment_id)["status"] == "failed"


@pytest.mark.parametrize(("gateway", "amount"), [("midtrans", 19_999), ("xendit", 200_000)])
def test_another_amount_is_not_booked_and_stays_undelivered(
    street: Street, order_id: int, gateway: str, amount: int
) -> None:
    """So the gateway shows it to people, as the log does."""
    payment_id = street.book(order_id)
    code = street.code(payment_id, gateway=gateway)
    street.scan(code, amount=amount)
    wait_for(lambda: len(street.answers(code)) >= 2, what="it is tried again")
    assert set(street.answers(code)) == {(409, "amount-differs")}
    assert street.story(payment_id) == ["payment.created"]

    def warned() -> bool:
        lines = [line for line in street.bridge.lines if line.startswith("WARNING 409 amount-differs")]
        return any(f"payment-{payment_id}'" in line and str(amount) in line for line in lines)

    wait_for(warned)


@GATEWAYS
def test_a_forged_callback_does_nothing(street: Street, order_id: int, gateway: str) -> None:
    payment_id = street.book(order_id)
    code = street.code(payment_id, gateway=gateway)
    assert street.scan(code, forged=True)[0] == (403, "forged")
    assert street.story(payment_id) == ["payment.created"]


def test_a_bridge_without_a_secret_believes_nobody(street: Street, order_id: int) -> None:
    """What is signed with an empty key is what everybody can sign."""
    payment_id = street.book(order_id)
    bridge, url = start_bridge(street.service, WRONG)
    gateway = Process((ROOT / "services" / "stubs" / "qris" / "app.py", ()), {"PORT": "0", "BRIDGE_URL": url})
    try:
        with http_client(gateway.line_with(" stub on ").split()[-1]) as http:
            for name in ("midtrans", "xendit"):
                fields = {"payment_id": payment_id, "amount": 20_000, "gateway": name}
                code = http.post("/qr", json=fields).json()["id"]
                assert http.post(f"/qr/{code}/pay").json()["answers"][0]["status"] == 403
    finally:
        gateway.kill()
        bridge.kill()
    assert street.story(payment_id) == ["payment.created"]


def test_while_payment_is_away_the_gateway_tries_again(street: Street, order_id: int) -> None:
    payment_id = street.book(order_id)
    code = street.code(payment_id)
    street.service.kill()
    try:
        while_away = street.scan(code)
    finally:
        street.service.start()
        let_in(street.service, "admin", client="kasir-2")
    assert set(while_away) == {(503, "try-again")}, "the gateway may have tried more than once already"
    last = wait_for(lambda: [each for each in street.answers(code) if each[0] == 200], 20)
    assert last == [(200, "paid")]
    assert street.story(payment_id) == ["payment.created", "payment.paid"]


def test_a_bridge_whose_key_is_not_taken_lets_the_gateway_try_again(street: Street, order_id: int) -> None:
    payment_id = street.book(order_id)
    bridge, url = start_bridge(street.service, WRONG, **SECRETS)
    answer = httpx.post(f"{url}/callbacks/xendit", json=xendit(payment_id), headers=TOKEN, verify=False)
    said = bridge.line_with("try-again")
    bridge.kill()
    assert (answer.status_code, answer.text) == (503, "try-again")
    assert "401" in said, "the log says why"


def test_an_expired_code_ends_its_payment_but_none_that_is_paid(street: Street) -> None:
    open_id, paid_id = street.book(new_order_id()), street.book(new_order_id())
    street.service.settle(paid_id, "paid").raise_for_status()  # by the cashier
    codes = [street.code(payment_id, expires_at=soon(0.3)) for payment_id in (open_id, paid_id)]
    assert wait_for(lambda: street.answers(codes[0])) == [(200, "failed")]
    assert wait_for(lambda: street.answers(codes[1])) == [(200, "move-not-allowed")]
    assert [street.payment(each)["status"] for each in (open_id, paid_id)] == ["failed", "paid"]
    assert street.gateway.post(f"/qr/{codes[0]}/pay").status_code == 409


def test_what_the_cashier_was_quicker_with_is_not_booked_again(street: Street) -> None:
    by_click, by_hand = new_order_id(), new_order_id()
    clicked = street.book(by_click)
    street.service.settle(clicked, "paid").raise_for_status()
    code = street.code(clicked)
    assert street.scan(code) == [(200, "paid")], "now it has its reference"
    assert street.payment(clicked)["reference"] == street.transaction(code)

    waiting = street.book(by_hand, order_total=40_000)
    code = street.code(waiting)
    typed_in = {"method": "qris", "reference": street.transaction(code), "order_total": 40_000}
    booked(street.service.pay(by_hand, fields=typed_in))
    assert street.scan(code) == [(200, "reference-taken")]
    assert bill_of(street.service, by_hand) == (40_000, 20_000, 20_000, 20_000 - 20_000, False)


def test_a_guest_who_pays_two_codes_of_one_payment_is_shown_to_people(street: Street, order_id: int) -> None:
    payment_id = street.book(order_id)
    assert street.scan(street.code(payment_id)) == [(200, "paid")]
    assert street.scan(street.code(payment_id))[0] == (409, "reference-differs")
    assert bill_of(street.service, order_id) == (20_000, 20_000, 0, 0, True)


IN_JSON = {"Content-Type": "application/json"}
TOKEN = {"x-callback-token": SECRETS["XENDIT_CALLBACK_TOKEN"], "webhook-id": "w-1"}


def xendit(payment_id: object, **data: Any) -> dict[str, Any]:
    told = {"id": f"qrpy_{uuid4()}", "reference_id": f"payment-{payment_id}", "amount": 20_000}
    return {"event": "qr.payment", "data": told | {"status": "SUCCEEDED"} | data}


def test_callbacks_of_nothing_that_we_know_are_answered_and_do_nothing(street: Street, order_id: int) -> None:
    payment_id = street.book(order_id)
    deep = "[" * 30_000 + "]" * 30_000
    with http_client(street.bridge_url) as http:

        def outcome(body: Any) -> tuple[int, str]:
            content = body if isinstance(body, str) else json.dumps(body)
            answer = http.post("/callbacks/xendit", headers=IN_JSON | TOKEN, content=content)
            return answer.status_code, answer.text

        for unknown in (999_999_999, "1x", "", 0):
            assert outcome(xendit(unknown)) == (404, "unknown-payment")
        for nothing in ("{", "[]", "null", deep, {}, {"event": "qr.payment", "data": []}):
            assert outcome(nothing) == (200, "nothing-to-do")
        assert outcome(xendit(payment_id, status="FAILED")) == (200, "nothing-to-do")
        assert outcome(xendit(payment_id) | {"event": "qr.refund"}) == (200, "nothing-to-do")
        wrong: tuple[Any, ...] = (True, None, "20000x", "2e4", [], -20_000, 1e308, 1e3)
        for amount in wrong:
            assert outcome(xendit(payment_id, amount=amount)) == (409, "amount-differs")
        assert outcome(xendit(payment_id, id="r" * 65))[0] == 409
        assert outcome(xendit(payment_id, id="\ud800"))[0] == 409
        assert street.story(payment_id) == ["payment.created"]
        assert outcome(xendit(payment_id, amount=20_000.0)) == (200, "paid")
        assert outcome(xendit(payment_id)) == (409, "idempotency-key-reused"), "the id of another"


def test_the_gateway_says_what_is_wrong_with_a_request(street: Street) -> None:
    right = {"payment_id": 1, "amount": 20_000}
    for fields, named in [
        ({"amount": 1}, "payment_id"),
        (right | {"amount": 0}, "amount"),
        (right | {"amount": True}, "amount"),
        (right | {"gateway": "other"}, "gateway"),
        (right | {"expires_at": "2026-01-31T10:00:00"}, "expires_at"),
        (right | {"status": "PAID"}, "status"),
        ([], "JSON"),
    ]:
        refused = street.gateway.post("/qr", json=fields)
        assert refused.status_code == 400
        assert named in refused.json()["error"]
    code = street.code(1)
    for switches in ({"twice": True}, {"late_s": -1}, {"never": 1}, {"forged": "yes"}, {"hang_s": 1}):
        assert street.gateway.post(f"/qr/{code}/pay", json=switches).status_code == 400
    assert street.answers(code) == []
    for path in ("/qr/999", "/qr/999/pay", "/qr/999/resend"):
        method = "GET" if path == "/qr/999" else "POST"
        assert street.gateway.request(method, path).status_code == 404
