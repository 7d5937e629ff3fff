"""A day of a restaurant with the console, in a browser; with our worker, Order and User beside it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chromium import check_accessible, expect
from console_guest import card, press, sign_in, words_of
from key_holders import Holder, holder, let_in
from pages import where_it_is_noon
from payment_life import PENDING, booked, new_order_id
from processes import Service, Stub, wait_until_told

Visit = Callable[..., Any]
ENDED = ("status of 401", "Status Error Code 401", "net::ERR_INCOMPLETE_CHUNKED_ENCODING")
"""What the browser and htmx write on its console when a session ends, and its stream with it."""

SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def keyed(start: Callable[..., Service]) -> Service:
    """A service with its worker that asks for keys, whose own client has one."""
    service = start(AUTH="keys", RETRY_MAX_S="0.5", TIMEZONE=where_it_is_noon())  # its day is not over soon
    let_in(service, "payments:write", "payments:read", client="pelayan")
    return service


@pytest.fixture
def owner(keyed: Service) -> Holder:
    return holder(keyed, "admin", client="pemilik")


@pytest.mark.parametrize(
    ("database_url", "language"), [("sqlite", "id"), ("postgresql", "en")], indirect=["database_url"]
)
def test_a_qris_payment_is_settled_and_a_part_of_it_given_back(
    keyed: Service, order: Stub, user: Stub, visit: Visit, language: str
) -> None:
    say = words_of(language)
    order_id, user_id = new_order_id(), new_order_id()
    payment_id = booked(keyed.pay(order_id, user_id, 50_000, PENDING))
    cashier = holder(keyed, "payments:read", "payments:write", "refunds:write", "events:read")
    page = visit(keyed.url)
    if language == "en":
        page.goto("/console/sign-in?lang=en")
    sign_in(page, cashier.key, say)
    expect(page.locator("html")).to_have_attribute("lang", language)
    page.get_by_role("link", name=str(payment_id), exact=True).click()
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_contain_text(say("pending"))

    press(page, say("Paid…"))
    expect(heading).to_have_text(say("Has %(amount)s come?", amount="Rp\xa050.000"))
    press(page, say("Yes, it is paid"))
    expect(heading).to_contain_text(say("paid"))
    expect(page.get_by_role("status")).to_have_text(say("The payment is paid."))
    wait_until_told(order, order_id)
    wait_until_told(user, user_id)

    page.locator("#amount").fill("20.000")
    page.get_by_label(say("Reason (optional)")).fill("satu porsi salah")
    press(page, say("Refund…"))
    expect(heading).to_have_text(say("Refund %(amount)s?", amount="Rp\xa020.000"))
    expect(page.locator(".facts")).to_contain_text("Rp\xa030.000")  # left after it
    press(page, say("Refund %(amount)s", amount="Rp\xa020.000"))
    expect(page.get_by_role("status")).to_have_text(say("The refund is booked."))

    moments = page.locator(".timeline li")
    for moment in (
        f"{say('Booked')} Rp\xa050.000, {say('by')} pelayan",
        f"{say('Paid')}, {say('by')} kasir-1",
        f"{say('Refund')} Rp\xa020.000, {say('by')} kasir-1",
    ):
        expect(moments.filter(has_text=moment)).to_have_count(1)
    for service in ("Order service", "User service"):
        told = moments.filter(has_text=f"{say(service)} {say('was told')} paid")
        expect(told).to_have_count(1)
    expect(page.get_by_text("satu porsi salah")).to_have_count(2)  # in the story, and among the refunds
    check_accessible(page)
    assert keyed.http.get(f"/payments/{payment_id}").json()["amount_refunded"] == 20_000


@SQLITE
def test_an_outage_of_order_and_its_end_are_seen_without_a_reload(
    keyed: Service, owner: Holder, order: Stub, visit: Visit
) -> None:
    say = words_of("id")
    order.fault(answer=503)
    order_id = new_order_id()
    payment_id = booked(keyed.pay(order_id))
    page = visit(keyed.url)
    sign_in(page, owner.key, say)
    expect(card(page, say("Order service"))).to_contain_text(say("out of reach"))
    expect(card(page, say("User service"))).to_contain_text(say("knows all"))
    today = page.context.new_page()
    today.goto("/console")

    page.goto(f"/console/payments/{payment_id}")
    page.evaluate("window.isTheSame = true")
    moments = page.locator(".timeline li")
    not_told = f"{say('Order service')} {say('was not told')}: {say('out of reach')}"
    expect(moments.filter(has_text=not_told).first).to_be_visible()
    check_accessible(page)
    order.heal()
    expect(moments.filter(has_text=f"{say('Order service')} {say('was told')} paid")).to_have_count(1)
    expect(card(today, say("Order service"))).to_contain_text(say("knows all"))
    assert page.evaluate("window.isTheSame")
    wait_until_told(order, order_id)


@SQLITE
def test_dead_notifications_are_told_again_one_and_all(
    keyed: Service, owner: Holder, order: Stub, user: Stub, visit: Visit
) -> None:
    say = words_of("id")
    order.fault(answer=400)
    user.fault(answer=400, times=1)
    orders = [new_order_id() for _ in range(3)]
    for order_id in orders:
        booked(keyed.pay(order_id))
    page = visit(keyed.url)
    sign_in(page, owner.key, say)
    page.get_by_role("link", name=say("Notifications")).click()
    kind = card(page, say("Order service")).get_by_role("link", name=f"3 {say('dead')} · {say('rejected')}")
    kind.click()
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(3)
    check_accessible(page)

    order.fault(answer=400, ids=orders[1:])
    rows.filter(has_text=f"{say('Order service')} {orders[0]}").get_by_role("button").click()
    expect(page.get_by_role("status")).to_have_text(say("Told again: %(number)s", number="1"))
    wait_until_told(order, orders[0])
    expect(rows).to_have_count(2)

    order.heal()
    press(page, say("Tell all of these again…"))
    expect(page.get_by_role("heading", level=1)).to_contain_text("2")
    press(page, say("Tell them again"))
    expect(page.get_by_role("status")).to_have_text(say("Told again: %(number)s", number="2"))
    for order_id in orders[1:]:
        wait_until_told(order, order_id)
    expect(rows).to_have_count(0)
    nothing = say("There is nothing like this: everybody knows what there is to know.")
    expect(page.get_by_text(nothing)).to_be_visible()
    expect(page.get_by_role("button", name=say("Tell all of these again…"))).to_have_count(0)


@pytest.mark.parametrize("language", ["id", "en"])
@SQLITE
def test_the_day_is_closed_printed_and_saved(
    keyed: Service, owner: Holder, visit: Visit, tmp_path: Path, language: str
) -> None:
    say = words_of(language)
    booked(keyed.pay(new_order_id(), amount=50_000))
    refunded = booked(keyed.pay(new_order_id(), amount=30_000, fields={"method": "card"}))
    assert owner.post(f"/payments/{refunded}/refunds", json={"amount": 10_000}).status_code == 201
    page = visit(keyed.url, colors="dark")
    if language == "en":
        page.goto("/console/sign-in?lang=en")
    sign_in(page, owner.key, say)
    page.get_by_role("link", name=say("Closing")).click()
    total = page.locator("tfoot tr")
    figures = f"{say('All')} 2 Rp\xa080.000 Rp\xa010.000 Rp\xa070.000".split(" ")
    assert total.locator("th, td").all_inner_texts() == figures

    page.evaluate("window.print = () => { window.isPrinted = true }")
    press(page, say("Print"))
    assert page.evaluate("window.isPrinted")
    page.emulate_media(media="print")
    expect(total).to_be_visible()
    expect(page.get_by_text(say("Signature"))).to_be_visible()
    expect(page.get_by_text(say("This day is not over: the figures still change."))).to_be_visible()
    expect(page.locator("header")).to_be_hidden()
    for button in page.locator("button, a.button, nav").all():
        expect(button).to_be_hidden()
    faintest = page.locator("thead th").first.evaluate("each => getComputedStyle(each).color")
    assert max(map(int, re.findall(r"\d+", faintest))) < 128, f"{faintest} on white paper"
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")

    page.emulate_media(media="screen")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    download.value.save_as(tmp_path / "closing.csv")
    assert download.value.suggested_filename.endswith(".csv")
    assert "70000" in (tmp_path / "closing.csv").read_text()

    page.get_by_role("link", name=say("Day before")).click()
    expect(page.get_by_text(say("Nothing was paid or given back on this day."))).to_be_visible()


@pytest.mark.parametrize("scopes", [("payments:read",), ("payments:read", "events:read")], ids=" ".join)
@SQLITE
def test_a_key_is_made_signed_in_with_and_revoked(
    keyed: Service, owner: Holder, visit: Visit, scopes: tuple[str, ...]
) -> None:
    say = words_of("id")
    page, other = visit(keyed.url), visit(keyed.url, forgives=ENDED)
    sign_in(page, owner.key, say)
    page.get_by_role("link", name=say("Keys")).click()
    page.get_by_label(say("Client (its name, kasir-1 for example)")).fill("kasir-2")
    for scope in scopes:
        page.get_by_label(scope).check()
    press(page, say("Make the key"))
    key = page.get_by_label(say("API key")).input_value()
    page.get_by_role("link", name=say("I have copied it")).click()
    assert key not in page.content()

    sign_in(other, key, say)
    expect(other.locator(".client")).to_have_text("kasir-2")
    expect(other.get_by_role("link", name=say("Keys"))).to_have_count(0)
    payment_id = booked(keyed.pay(new_order_id()))
    expect(other.locator(f"#payment-{payment_id}")).to_be_visible()

    page.get_by_role("row").filter(has_text="kasir-2").get_by_role("button", name=say("Revoke…")).click()
    press(page, say("Revoke"))
    expect(page.get_by_role("row").filter(has_text="kasir-2")).to_contain_text(say("revoked"))
    expect(other, within_s=20).to_have_url(re.compile("/console/sign-in"))
    expect(other.get_by_role("status")).to_contain_text("Sesi Anda berakhir")
