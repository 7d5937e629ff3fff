"""Pages that change while one looks at them: at once, and without a hand being taken from what it holds."""

from collections.abc import Callable
from typing import Any

import pytest

from chromium import PHONE, expect
from console_guest import sign_in, words_of
from key_holders import holder, let_in
from payment_life import PENDING, booked, new_order_id
from ports import free_port
from processes import Service

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

Visit = Callable[..., Any]
say = words_of("id")
SOON_S = 9
"""Less than a page waits before it listens again."""
WHILE_IT_IS_AWAY = ("net::ERR_", "htmx:")
"""What the browser and htmx write on its console while the service does not answer."""

CONNECTIONS = 6
"""So many has a browser to a service, for all its tabs."""

HIDING = """
let isHidden = false;
Object.defineProperty(document, "hidden", {get: () => isHidden});
window.hide = yes => { isHidden = yes; document.dispatchEvent(new Event("visibilitychange")); };
"""
"""A script: no tab of a headless browser is ever hidden by itself."""


def row_of(page: Any, payment_id: int) -> Any:
    """Return the link to a payment in a list."""
    return page.locator(f"#payment-{payment_id}")


@pytest.mark.parametrize("scopes", [("events:read",), ()], ids=["hears", "polls"])
def test_todays_page_shows_what_is_booked(
    start_keyed: Callable[..., Service], visit: Visit, scopes: tuple[str, ...]
) -> None:
    service = start_keyed()
    let_in(service, "payments:write", client="pelayan")
    page = visit(service.url)
    sign_in(page, holder(service, "payments:read", "reports:read", *scopes).key, say)
    page.evaluate("window.isTheSame = true")
    for _ in range(2):
        payments = [booked(service.pay(new_order_id())) for _ in range(3)]
        expect(row_of(page, payments[-1]), within_s=SOON_S).to_be_visible()
        for payment_id in payments:
            expect(row_of(page, payment_id)).to_be_visible()
    assert page.evaluate("window.isTheSame")


def test_it_polls_where_no_stream_comes_through(start_alone: Service, visit: Visit) -> None:
    page = visit(start_alone.url, forgives=WHILE_IT_IS_AWAY)
    page.route("**/console/stream**", lambda route: route.abort())
    page.goto("/console")
    for _ in range(2):
        expect(row_of(page, booked(start_alone.pay(new_order_id()))), within_s=SOON_S).to_be_visible()


def test_what_is_open_focused_or_scrolled_stays_so(start_alone: Service, visit: Visit) -> None:
    booked(start_alone.pay(7))
    page = visit(start_alone.url, window=PHONE)
    page.goto("/console")
    details = page.locator("details#figures")
    details.locator("summary").click()
    table = page.get_by_role("region", name=say("Last payments"))
    of_order = table.get_by_role("link", name="7", exact=True)  # it has no id
    of_order.focus()
    table.evaluate("each => each.scrollLeft = 90")
    for _ in range(2):
        payment_id = booked(start_alone.pay(new_order_id()))
        expect(row_of(page, payment_id)).to_be_attached()
        expect(details).to_have_attribute("open", "")
        expect(of_order).to_be_focused()
        assert table.evaluate("each => each.scrollLeft") == 90


def test_what_may_be_done_changes_with_the_payment_and_not_while_one_types(
    start_alone: Service, visit: Visit
) -> None:
    payment_id = booked(start_alone.pay(7, fields=PENDING))
    page = visit(start_alone.url)
    page.goto(f"/console/payments/{payment_id}")
    heading, settle = page.get_by_role("heading", level=1), page.get_by_role("button", name=say("Paid…"))
    expect(settle).to_be_visible()
    start_alone.settle(payment_id, "paid")
    expect(heading).to_contain_text(say("paid"))
    expect(settle).to_have_count(0)

    amount = page.locator("#amount")
    amount.fill("5.00")
    with page.expect_response(lambda answer: answer.url.endswith(f"/payments/{payment_id}")):
        booked(start_alone.pay(8))
    amount.press_sequentially("0")
    expect(amount).to_have_value("5.000")
    start_alone.refund(payment_id, {"amount": 15_000})
    expect(page.get_by_text("Rp\xa05.000;")).to_be_visible()  # at most so much is left


def test_the_page_says_that_the_service_does_not_answer_until_it_does(
    start: Callable[..., Service], visit: Visit
) -> None:
    service = start("serve", "--no-worker", PORT=str(free_port()))  # it comes back there
    page = visit(service.url, forgives=WHILE_IT_IS_AWAY)
    page.goto("/console")
    offline = page.locator("#offline")
    expect(offline).to_be_hidden()
    service.kill()
    expect(offline).to_be_visible()
    service.start()
    expect(offline).to_be_hidden()
    expect(row_of(page, booked(service.pay(7))), within_s=SOON_S).to_be_visible()


def test_tabs_that_nobody_sees_leave_the_connections_to_others(start_alone: Service, visit: Visit) -> None:
    first = visit(start_alone.url)
    first.context.add_init_script(HIDING)
    first.goto("/console")
    for page in [first, *(first.context.new_page() for _ in range(CONNECTIONS - 1))]:
        with page.expect_response(lambda answer: "/console/stream" in answer.url):
            page.goto("/console")
        page.evaluate("hide(true)")
    assert first.context.new_page().goto("/console").ok
    payment_id = booked(start_alone.pay(7))
    first.evaluate("hide(false)")
    expect(row_of(first, payment_id), within_s=SOON_S).to_be_visible()
    expect(row_of(first, booked(start_alone.pay(8))), within_s=SOON_S).to_be_visible()
