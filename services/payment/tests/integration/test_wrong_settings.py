"""A wrong path or token of ours is an outage that says which setting it is; nothing dies of it."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from processes import Service, Stub, wait_for, wait_until_settled, wait_until_told

Start = Callable[..., Service]
KONG = '{"message":"no Route matched with those values"}'
QUICK = {"RETRY_MAX_S": "0.2", "RETRY_UNKNOWN_FOR_S": "1", "CIRCUIT_PROBE_MAX_S": "0.2"}


def row_of(service: Service, target_id: int) -> dict[str, Any]:
    return next(
        row
        for row in service.notifications()
        if (row["service"], row["target_id"]) == ("order", target_id) and not row["is_repeat"]
    )


def opened(service: Service) -> list[str]:
    return [line["error"] for line in service.log() if line["event"] == "circuit opened"]


@pytest.fixture
def small(end: ExitStack) -> Stub:
    """An Order service with five orders."""
    stub = Stub("order", count=5)
    end.callback(stub.kill)
    return stub


def test_one_unknown_order_does_not_hold_up_a_lane_that_has_just_begun(start: Start, small: Stub) -> None:
    """The very first news is for an order that is not there: nobody knows yet whether the route is."""
    service = start(ORDER_SERVICE_URL=small.url, **QUICK)
    service.pay(6)
    wait_for(lambda: small.received(6), what="a PUT for the unknown order")
    service.pay(1)
    wait_until_told(small, 1)
    row = wait_for(lambda: (row := row_of(service, 6))["state"] == "dead" and row, what="dead after its hour")
    assert row["last_error"] == "unknown order: HTTP 404 Pesanan tidak ditemukan"
    assert row["attempts"] > 1


def test_many_unknown_orders_do_not_hold_it_up_either(start: Start, small: Stub) -> None:
    service = start(ORDER_SERVICE_URL=small.url)
    service.book(range(6, 56))
    service.book(range(1, 6))
    for order_id in range(1, 6):
        wait_until_told(small, order_id)


def test_unknown_orders_on_a_route_that_is_known_do_not_open_the_circuit(start: Start, small: Stub) -> None:
    service = start(ORDER_SERVICE_URL=small.url, CIRCUIT_FAILURES="3", RETRY_MAX_S="0.2")
    service.pay(1)
    wait_until_told(small, 1)
    for order_id in range(6, 16):
        service.pay(order_id)
    wait_for(lambda: len(small.received()) > 30, what="each is tried again")
    service.pay(2)
    wait_until_told(small, 2)
    assert opened(service) == []
    assert row_of(service, 6)["last_outcome"] == "unknown"


def test_what_a_process_before_this_one_heard_is_enough(start: Start, small: Stub) -> None:
    service = start(ORDER_SERVICE_URL=small.url)
    service.pay(1)
    wait_until_told(small, 1)
    assert service.stop() == 0
    service = start(ORDER_SERVICE_URL=small.url, **QUICK)
    service.pay(6)
    wait_for(lambda: row_of(service, 6)["state"] == "dead", what="unknown for good")
    errors = {line["error"] for line in service.log() if line["event"] == "could not tell"}
    assert errors <= {"unknown order: HTTP 404 Pesanan tidak ditemukan"}, "never: no such route"


@pytest.mark.parametrize("body", [KONG, '{"status":404,"error":"Not Found","path":"/orders/1/payment"}'])
def test_a_gateways_json_404_at_a_wrong_path_lets_nothing_die(start: Start, order: Stub, body: str) -> None:
    """Not even where the right path has been told before: another path is another route."""
    service = start()
    service.pay(1)
    wait_until_told(order, 1)
    assert service.stop() == 0
    order.fault(answer=404, body=body)
    wrong = start(
        ORDER_PAYMENT_PATH="/api/orders/{order_id}/payment", **QUICK | {"RETRY_UNKNOWN_FOR_S": "0.1"}
    )
    wrong.pay(2)
    row = wait_for(lambda: (row := row_of(wrong, 2))["attempts"] >= 4 and row, what="four attempts")
    assert (row["state"], row["last_outcome"], row["unknown_since_us"]) == ("waiting", "no-route", None)
    assert "no such route: order does not serve PUT /api/orders/{order_id}/payment" in row["last_error"]
    assert "see ORDER_PAYMENT_PATH" in row["last_error"]
    assert wrong.stop() == 0
    order.heal()
    start()
    wait_until_told(order, 2)


@pytest.mark.parametrize(
    "body",
    [
        '{"timestamp":"2026-01-31T12:00:00Z","status":404,"error":"Not Found","path":"/orders/2/payment"}',
        '{"statusCode":404,"message":"Cannot PUT /orders/2/payment","error":"Not Found"}',
    ],
    ids=["Spring", "Nest"],
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # what it means is asked of no database
def test_a_frameworks_json_404_lets_nothing_die_where_the_route_was_there_before(
    start: Start, order: Stub, body: str
) -> None:
    """It went with an update of Order's, and comes back."""
    service = start(**QUICK | {"RETRY_UNKNOWN_FOR_S": "0.1"})
    service.pay(1)
    wait_until_told(order, 1)
    order.fault(answer=404, body=body)
    service.pay(2)
    row = wait_for(lambda: (row := row_of(service, 2))["attempts"] >= 4 and row, what="four attempts")
    assert (row["state"], row["last_outcome"], row["unknown_since_us"]) == ("waiting", "no-route", None)
    order.heal()
    wait_until_told(order, 2)


def test_services_that_demand_tokens_are_told_and_asked_with_theirs(start: Start, end: ExitStack) -> None:
    order, user = Stub("order", TOKEN="rahasia-pesanan"), Stub("user", TOKEN="rahasia-tamu")
    end.callback(order.kill)
    end.callback(user.kill)
    service = start(
        ORDER_SERVICE_URL=order.url,
        USER_SERVICE_URL=user.url,
        ORDER_SERVICE_TOKEN="rahasia-pesanan",
        USER_SERVICE_TOKEN="rahasia-tamu",
    )
    service.pay(7, user_id=9)
    rows = wait_until_settled(service, 2)
    assert {(row["state"], row["attempts"]) for row in rows} == {("delivered", 1)}
    assert (order.states(), user.states()) == ({7: "paid"}, {9: "paid"})
    asked = service.cli("reconcile")
    assert asked.returncode == 0, asked.stderr
    assert service.stop() == 0
    said = "".join((*service.process.lines, asked.stdout, asked.stderr))
    assert "rahasia" not in said


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # nothing is asked of it
def test_a_token_that_goes_over_plain_http_to_another_machine_is_warned_of(start: Start) -> None:
    """Once; not of one that stays here, nor over https. 192.0.2.1 is nobody's (RFC 5737)."""
    away = {"ORDER_SERVICE_URL": "http://192.0.2.1:5003", "ORDER_SERVICE_TOKEN": "rahasia-pesanan"}
    here = {"USER_SERVICE_URL": "http://127.0.0.1:1", "USER_SERVICE_TOKEN": "rahasia-tamu"}
    service = start(**away, **here)
    assert service.stop() == 0
    warned = [line for line in service.log() if "plain http" in line["event"]]
    assert [(line["service"], line["see"]) for line in warned] == [("order", "ORDER_SERVICE_URL")]
    assert "rahasia" not in str(service.log())
    safe = start(**away | {"ORDER_SERVICE_URL": "https://192.0.2.1"})
    assert safe.stop() == 0
    assert not any("plain http" in line["event"] for line in safe.log())


@pytest.fixture(params=[401, 403])
def refusing(request: pytest.FixtureRequest, end: ExitStack) -> Stub:
    """An Order service that takes the token `baru` alone; or that takes no news (403) before it is healed."""
    stub = Stub("order", TOKEN="baru" if request.param == 401 else "")
    end.callback(stub.kill)
    if request.param == 403:
        stub.fault(answer=403)
    return stub


def test_an_expired_token_kills_nothing_and_a_new_one_tells_all(
    start: Start, refusing: Stub, user: Stub
) -> None:
    service = start(ORDER_SERVICE_URL=refusing.url, ORDER_SERVICE_TOKEN="kadaluwarsa", **QUICK)
    for order_id in range(1, 11):
        service.pay(order_id, user_id=order_id)
    for order_id in range(1, 11):
        wait_until_told(user, order_id)

    def tried_at_order() -> list[dict[str, Any]]:
        rows = service.notifications()
        return [row for row in rows if row["service"] == "order" and row["last_outcome"]]

    tried = wait_for(tried_at_order, what="an attempt at Order")
    assert all(row["state"] == "waiting" for row in tried)
    assert {row["last_outcome"] for row in tried} == {"denied"}
    assert tried[0]["last_error"].startswith("order refuses our token (HTTP 40")
    assert tried[0]["last_error"].endswith("see ORDER_SERVICE_TOKEN")
    assert service.stop() == 0
    assert "kadaluwarsa" not in str(service.log())
    assert {put["applied"] for put in refusing.received()} == {False}
    refusing.heal()
    start(ORDER_SERVICE_URL=refusing.url, ORDER_SERVICE_TOKEN="baru")
    for order_id in range(1, 11):
        wait_until_told(refusing, order_id)


@pytest.mark.usefixtures("order")
def test_a_path_that_takes_no_put_is_a_wrong_path(start: Start) -> None:
    """405, which a gateway or a framework says of a path that it knows for other methods."""
    service = start(ORDER_PAYMENT_PATH="/orders/{order_id}", **QUICK)
    service.pay(1)
    row = wait_for(lambda: (row := row_of(service, 1))["attempts"] >= 2 and row, what="two attempts")
    assert (row["state"], row["last_outcome"]) == ("waiting", "no-route")
    assert "HTTP 405" in row["last_error"]
    assert "see ORDER_PAYMENT_PATH" in row["last_error"]
