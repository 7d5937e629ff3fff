"""Forms of the console: without JavaScript, and however often they are sent."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from chromium import expect
from console_guest import press, sign_in, words_of
from key_holders import holder, let_in
from payment_life import PENDING, booked, new_order_id
from processes import Service, Stub, wait_until_told

Visit = Callable[..., Any]
SHARED = pytest.mark.parametrize("shared", ["sqlite"], indirect=True)
say = words_of("id")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_everything_works_without_javascript(
    start: Callable[..., Service], order: Stub, user: Stub, visit: Visit
) -> None:
    service = start(AUTH="keys")
    let_in(service, "payments:write", "payments:read", "refunds:write", client="pelayan")
    order_id, user_id = new_order_id(), new_order_id()
    payment_id = booked(service.pay(order_id, user_id, fields=PENDING))
    wait_until_told(order, order_id, "pending")
    page = visit(service.url, java_script_enabled=False)
    sign_in(page, holder(service, "admin").key, say)

    page.goto(f"/console/payments/{payment_id}")
    order.fault(answer=400, times=1)
    press(page, say("Paid…"))
    press(page, say("Yes, it is paid"))
    wait_until_told(user, user_id, "paid")
    page.reload()
    press(page, f"{say('Tell now')}: {say('Order service')}, {dead(service)}")
    expect(page.get_by_role("status")).to_have_text(say("It is being told again."))
    wait_until_told(order, order_id, "paid")

    page.locator("#amount").fill("20000")
    press(page, say("Refund…"))
    press(page, say("Refund %(amount)s", amount="Rp\xa020.000"))
    expect(page.get_by_role("heading", level=1)).to_contain_text(say("refunded"))

    service.book(range(900_000, 900_030))
    page.goto("/console/payments")
    page.get_by_label(say("Method")).select_option("qris")
    press(page, say("Filter"))
    expect(page.locator("a.row")).to_have_text([str(payment_id)])
    page.get_by_role("link", name=say("Without filters")).click()
    expect(page.locator("a.row")).to_have_count(25)
    page.get_by_role("link", name=say("Older")).click()
    expect(page.locator("a.row")).to_have_count(6)
    page.goto("/console/closing")
    expect(page.get_by_role("button", name=say("Print"))).to_be_hidden()
    press(page, say("Sign out"))
    expect(page.get_by_label(say("API key"))).to_be_visible()


def dead(service: Service) -> int:
    """Return the one notification that is dead."""
    return int(next(each["id"] for each in service.notifications() if each["state"] == "dead"))


@SHARED
@pytest.mark.parametrize("has_script", [True, False], ids=["script", "no script"])
def test_a_double_click_counts_once(shared: Service, visit: Visit, *, has_script: bool) -> None:
    payment_id = booked(shared.pay(new_order_id()))
    page = visit(shared.url, java_script_enabled=has_script)
    page.goto(f"/console/payments/{payment_id}")
    page.locator("#amount").fill("5.000")
    page.get_by_role("button", name=say("Refund…")).dblclick()
    page.get_by_role("button", name=say("Refund %(amount)s", amount="Rp\xa05.000")).dblclick()
    expect(page.get_by_role("status")).to_have_text(say("The refund is booked."))
    assert shared.http.get(f"/payments/{payment_id}").json()["amount_refunded"] == 5_000


@SHARED
def test_two_tabs_with_one_old_page_give_back_once(shared: Service, visit: Visit) -> None:
    payment_id = booked(shared.pay(new_order_id()))
    tab = visit(shared.url, forgives=("status of 409",))
    tabs = [tab, tab.context.new_page()]
    for page in tabs:
        page.goto(f"/console/payments/{payment_id}")
        page.locator("#amount").fill("5.000")
        press(page, say("Refund…"))
    for page in tabs:
        press(page, say("Refund %(amount)s", amount="Rp\xa05.000"))
    expect(tabs[0].get_by_role("status")).to_have_text(say("The refund is booked."))
    expect(tabs[1].get_by_role("alert").filter(has_text=say("Nothing was changed."))).to_be_visible()
    expect(tabs[1].locator(".big")).to_contain_text("Rp\xa05.000")  # what is true now
    assert shared.http.get(f"/payments/{payment_id}").json()["amount_refunded"] == 5_000


@SHARED
def test_a_key_is_made_once_by_a_double_click_and_shown(shared: Service, visit: Visit) -> None:
    client = f"kasir-{new_order_id()}"
    page = visit(shared.url)
    page.goto("/console/keys")
    page.get_by_label(say("Client (its name, kasir-1 for example)")).fill(client)
    page.get_by_label("payments:read").check()
    page.get_by_role("button", name=say("Make the key")).dblclick()
    expect(page.get_by_label(say("API key"))).to_have_value(re.compile("^pk_"))
    keys = shared.http.get("/keys").json()["keys"]
    assert [key["client"] for key in keys].count(client) == 1
