"""Dead: what is refused for good or not delivered in time is kept, explained, and sent again by hand."""

from collections.abc import Callable
from contextlib import ExitStack

from processes import Service, Stub, wait_for, wait_until_settled, wait_until_told

Start = Callable[..., Service]


def test_an_unknown_order_is_tried_again_then_dead_then_sent_by_hand(start: Start, end: ExitStack) -> None:
    small = Stub("order", count=5)
    end.callback(small.kill)
    service = start(ORDER_SERVICE_URL=small.url, RETRY_UNKNOWN_FOR_S="1", RETRY_MAX_S="0.3")
    service.pay(1)
    wait_until_told(small, 1)
    service.pay(6)
    row = next(row for row in wait_until_settled(service, 4) if row["target_id"] == 6)
    assert row["state"] == "dead"
    assert row["last_error"].startswith("unknown order")
    assert row["attempts"] > 1

    listed = service.cli("notifications", "list", "--state", "dead")
    assert "unknown order" in listed.stdout
    again = service.cli("notifications", "retry", str(row["id"]))
    assert (again.returncode, again.stdout.strip()) == (0, "Dikirim lagi / to be sent again: 1")
    puts = len(small.received(6))
    wait_for(lambda: len(small.received(6)) > puts, what="a PUT after the retry")


def test_a_missing_route_is_retried_and_said_in_those_words(start: Start, user: Stub) -> None:
    service = start(USER_PAYMENT_PATH="/users/{user_id}/payment-status")
    service.pay(1, user_id=1)
    wait_for(lambda: [row for row in service.notifications() if row["last_error"]])  # logged before that
    failed = wait_for(lambda: [line for line in service.log() if line["event"] == "could not tell"])
    said = "no such route: user does not serve PUT /users/{user_id}/payment-status"
    assert said in failed[0]["error"]
    assert "USER_PAYMENT_PATH" in failed[0]["error"]
    assert said in service.cli("notifications", "list").stdout
    assert service.stop() == 0  # a killed one leaves its lease behind

    mended = start()  # the setting is put right: nothing was lost
    wait_until_told(user, 1)
    wait_until_settled(mended, 2)


def test_a_rejection_is_dead_at_once_and_can_be_sent_again(start: Start, order: Stub) -> None:
    service = start()
    statuses = (400, 409, 422)
    for count, status in enumerate(statuses, start=1):
        order.fault(answer=status)
        service.pay(status)
        row = next(row for row in wait_until_settled(service, 2 * count) if row["target_id"] == status)
        assert (row["state"], row["attempts"], row["told"]) == ("dead", 1, None)
        assert f"HTTP {status}" in row["last_error"]
    assert order.states() == {}
    order.heal()
    again = service.cli("notifications", "retry", "--all-dead")
    assert again.stdout.strip() == f"Dikirim lagi / to be sent again: {len(statuses)}"
    for status in statuses:
        wait_until_told(order, status)


def test_a_redirect_for_a_while_is_an_outage(start: Start, order: Stub) -> None:
    """A maintenance page: it is not followed, the error names the setting, and nothing dies of it."""
    service = start()
    order.fault(answer=302)
    service.pay(1, user_id=1)
    service.pay(2, user_id=2)
    waiting = wait_for(
        lambda: [row for row in service.notifications() if row["last_error"] and row["attempts"] > 1]
    )
    assert {row["state"] for row in waiting} == {"waiting"}
    assert "see ORDER_SERVICE_URL" in waiting[0]["last_error"]
    assert order.states() == {}
    order.heal()
    for order_id in (1, 2):
        wait_until_told(order, order_id)
    assert {row["state"] for row in wait_until_settled(service, 4)} == {"delivered"}


def test_what_cannot_be_told_in_time_is_dead_not_dropped(start: Start, order: Stub) -> None:
    service = start(RETRY_FOR_S="1", RETRY_MAX_S="0.2")
    order.fault(answer=500)
    service.pay(1)
    row = next(row for row in wait_until_settled(service, 2) if row["service"] == "order")
    assert (row["state"], row["last_error"]) == ("dead", "HTTP 500 Internal Server Error")


def test_retry_refuses_what_is_not_there_or_settled(start: Start, order: Stub) -> None:
    service = start()
    service.pay(1)
    wait_until_told(order, 1)
    for arguments in ([str(wait_until_settled(service, 2)[0]["id"])], ["999"]):
        refused = service.cli("notifications", "retry", *arguments)
        assert refused.returncode == 1
        assert "tidak ada atau sudah selesai" in refused.stderr
    assert service.cli("notifications", "retry").returncode == 2
    assert service.cli("notifications", "retry", "1", "--all-dead").returncode == 2
    for nonsense in ("0", "99999999999999999999"):
        refused = service.cli("notifications", "retry", nonsense)
        assert refused.returncode == 2
        assert "Traceback" not in refused.stderr
