"""The console with a keyboard alone."""

from collections.abc import Callable
from typing import Any

import pytest

from chromium import expect
from console_guest import words_of
from payment_life import booked, new_order_id
from processes import Service

Visit = Callable[..., Any]
pytestmark = pytest.mark.parametrize("shared", ["sqlite"], indirect=True)
say = words_of("id")

TABBED = """
() => [...document.querySelectorAll(
    "a[href], button, input:not([type=hidden]), select, summary, [tabindex='0']")]
  .filter(each => each.checkVisibility({visibilityProperty: true}))
  .map(each => each.outerHTML.slice(0, 150))
"""
"""A script: all that can be focused, in the order in which it is read."""

FOCUSED = """
() => {
  const each = document.activeElement, box = each.getBoundingClientRect(), style = getComputedStyle(each);
  const isSeen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2
    && box.right > 0 && box.bottom > 0 && box.left < innerWidth && box.top < innerHeight;
  return [each.outerHTML.slice(0, 150), isSeen];
}
"""


def test_search_and_results_by_keys(shared: Service, visit: Visit) -> None:
    user_id = new_order_id()
    payments = [booked(shared.pay(new_order_id(), user_id)) for _ in range(3)]
    page = visit(shared.url)
    page.goto("/console")
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type(f"tamu {user_id}")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text(str(user_id))
    rows = page.locator("a.row")
    expect(rows).to_have_count(3)
    for key, place in (("ArrowDown", 0), ("ArrowDown", 1), ("ArrowUp", 0), ("ArrowDown", 1)):
        page.keyboard.press(key)
        expect(rows.nth(place)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{shared.url}/console/payments/{payments[1]}")


def test_the_tab_key_reaches_everything_in_order_and_shows_where_it_is(shared: Service, visit: Visit) -> None:
    payment_id = booked(shared.pay(new_order_id(), fields={"order_total": 30_000}))
    page = visit(shared.url)
    for path in ("", "/payments", f"/payments/{payment_id}", "/notifications", "/closing", "/keys"):
        page.goto(f"/console{path}")
        before = ""
        for expected in page.evaluate(TABBED):
            page.keyboard.press("Tab")
            focused, is_seen = page.evaluate(FOCUSED)
            while focused == before and 'type="date"' in focused:  # its day, month, year, and the calendar
                page.keyboard.press("Tab")
                focused, is_seen = page.evaluate(FOCUSED)
            assert (focused, is_seen) == (expected, True), page.url
            before = focused


def test_the_first_link_leads_past_the_head(shared: Service, visit: Visit) -> None:
    page = visit(shared.url)
    page.goto("/console/closing")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name=say("To the content"))
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name=say("Day before"))).to_be_focused()


def test_a_refund_by_keys(shared: Service, visit: Visit) -> None:
    payment_id = booked(shared.pay(new_order_id()))
    page = visit(shared.url)
    page.goto("/console")
    page.keyboard.type(f"/#{payment_id}")
    page.keyboard.press("Enter")
    expect(page.locator("a.row")).to_have_count(1)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    tab_to(page, page.locator("#amount"))
    page.keyboard.type("5.000")
    tab_to(page, page.get_by_label(say("Reason (optional)")))
    page.keyboard.type("gosong")
    tab_to(page, page.get_by_role("button", name=say("Refund…")))
    page.keyboard.press("Enter")
    tab_to(page, page.get_by_role("button", name=say("Refund %(amount)s", amount="Rp\xa05.000")))
    page.keyboard.press("Space")
    expect(page.get_by_role("status")).to_have_text(say("The refund is booked."))
    assert shared.http.get(f"/payments/{payment_id}").json()["amount_refunded"] == 5_000


def tab_to(page: Any, wanted: Any) -> None:
    """Press the tab key until this has the focus."""
    wanted.wait_for()
    for _ in range(100):
        if wanted.evaluate("each => each === document.activeElement"):
            return
        page.keyboard.press("Tab")
    pytest.fail(f"no tab leads to {wanted}")
