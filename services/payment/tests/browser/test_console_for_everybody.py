"""Every page of the console, full and empty: for everybody (WCAG 2.2 AA), at every width, and small."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chromium import check_accessible, expect
from conftest import DEMO_ENDS
from console_guest import press, sign_in, words_of
from forked import run
from key_holders import holder
from pictures import payment_to_show, served_at
from processes import Service, http_client, wait_for

Visit = Callable[..., Any]
say = words_of("id")

LOOKS = ((360, "light"), (1280, "dark"))
"""Widths of windows, CSS pixels, and colours. No rule of ours asks for both at once."""

HEIGHT = 900
TARGET_MIN = 24
"""Width and height of what is pressed, CSS pixels, if it stands in no text (WCAG 2.2, 2.5.8)."""

REFUSED = say("This key is not valid: it is mistyped, has expired or was revoked.")

SIZE_MAX_BYTES = 60_000
FILES = 5
"""The page, its style, two scripts and the icon."""

_TOO_SMALL = """
least => [...document.querySelectorAll("button, input:not([type=hidden]), select, summary, a.button, nav a")]
  .filter(each => each.checkVisibility())
  .map(each => [each.outerHTML.slice(0, 80), each.getBoundingClientRect()])
  .filter(([, box]) => box.width < least || box.height < least)
  .map(([html, box]) => `${html}: ${box.width} x ${box.height}`)
"""


class Restaurant:
    """A restaurant in the middle of dinner, whose console asks for keys.

    Attributes:
        key: of its owner.
        payments: by what there is to see of them: a share, a paid one, a pending one, one that is told again.
    """

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.key = key
        with http_client(url, headers={"Authorization": f"Bearer {key}"}) as http:
            dead = http.get("/notifications?state=dead").json()["notifications"][0]
            http.post(f"/notifications/{dead['id']}/retry").raise_for_status()
            self.payments = {
                "share": payment_to_show(http),
                "paid": http.get("/payments?status=paid").json()["payments"][0]["id"],
                "pending": http.get("/payments?status=pending").json()["payments"][0]["id"],
                "told again": dead["payment_id"],
            }


@pytest.fixture(scope="module")
def restaurant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restaurant]:
    folder = tmp_path_factory.mktemp("restaurant")
    settings = {"PATH": os.environ["PATH"], "DATABASE_URL": f"sqlite:///{folder}/payment.db"}

    def payment(*arguments: str) -> str:
        done = run("payment", arguments, env=settings, cwd=folder, timeout_s=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    payment("demo", "--days", "8", "--now", DEMO_ENDS)
    key = payment("keys", "create", "--client", "pemilik", "--scope", "admin").strip()
    with served_at(DEMO_ENDS, DATABASE_URL=settings["DATABASE_URL"], AUTH="keys") as url:
        yield Restaurant(url, key)


WIDEST = 3840


def check(page: Any) -> None:
    """Fail if not everybody can use the page, however wide it is and whatever its colours."""
    page.set_viewport_size({"width": WIDEST, "height": HEIGHT})
    assert page.evaluate("document.scrollingElement.scrollWidth - innerWidth") <= 0, f"{page.url} {WIDEST}"
    for width, colors in LOOKS:
        page.set_viewport_size({"width": width, "height": HEIGHT})
        page.emulate_media(color_scheme=colors)
        check_accessible(page)
        assert page.evaluate("document.scrollingElement.scrollWidth - innerWidth") <= 0, f"{page.url} {width}"
        assert page.evaluate(_TOO_SMALL, TARGET_MIN) == [], f"{page.url} {width}"


PAGES = (
    "/console",
    "/console/payments",
    "/console/payments?status=refunded&user_id=1",
    "/console/payments?q=50.000",
    "/console/payments/{share}",
    "/console/payments/{pending}",
    "/console/payments/{told again}",
    "/console/notifications",
    "/console/notifications?state=delivered",
    "/console/closing?date=2026-03-13",
    "/console/keys",
)


@pytest.mark.slow
def test_full_pages_are_for_everybody_and_small(restaurant: Restaurant, visit: Visit) -> None:
    """Small is all that a browser takes that has nothing of the page yet, headers included."""
    page = visit(restaurant.url)
    network = page.context.new_cdp_session(page)
    sizes: list[float] = []
    network.on("Network.loadingFinished", lambda loaded: sizes.append(loaded["encodedDataLength"]))
    network.send("Network.enable")
    network.send("Network.setCacheDisabled", {"cacheDisabled": True})
    for path in ("/console/sign-in", *PAGES):
        if path == PAGES[0]:
            sign_in(page, restaurant.key, say)
        page.goto("about:blank")
        sizes.clear()
        assert page.goto(path.format(**restaurant.payments), wait_until="load").ok
        wait_for(lambda: page.evaluate("'its messages come meanwhile'") and len(sizes) >= FILES)
        print(f"{sum(sizes):8,.0f} bytes in {len(sizes)} answers: {path}")  # noqa: T201  # for pytest -s
        assert sum(sizes) < SIZE_MAX_BYTES, path
        check(page)


def test_pages_that_ask_if_one_is_sure_are_for_everybody(restaurant: Restaurant, visit: Visit) -> None:
    page = visit(restaurant.url)
    sign_in(page, restaurant.key, say)
    page.goto(f"/console/payments/{restaurant.payments['pending']}")
    press(page, say("Paid…"))
    check(page)
    page.goto(f"/console/payments/{restaurant.payments['paid']}")
    page.get_by_label(say("Reason (optional)")).fill("salah masak")
    press(page, say("Refund…"))
    check(page)
    page.goto("/console/notifications?state=dead")
    press(page, say("Tell all of these again…"))
    check(page)
    for act in ("Rotate…", "Revoke…"):
        page.goto("/console/keys")
        page.get_by_role("button", name=say(act)).first.click()
        check(page)


def test_what_is_refused_is_refused_to_everybody(restaurant: Restaurant, visit: Visit) -> None:
    page = visit(restaurant.url, forgives=("status of 400", "status of 401", "status of 404"))
    page.goto("/console/payments")
    page.get_by_label(say("API key")).fill("pk_salah")
    press(page, say("Sign in"))
    expect(page.get_by_role("alert")).to_contain_text(REFUSED)
    check(page)
    sign_in(page, restaurant.key, say)
    for path, status in (("/console/nowhere", 404), ("/console/payments/999999", 404)):
        assert page.goto(path).status == status
        check(page)
    assert page.goto("/console/payments?from=besok").status == 400
    check(page)
    page.goto(f"/console/payments/{restaurant.payments['paid']}")
    page.get_by_label(say("Amount (at most %(left)s; empty for all of it)").partition("%")[0]).fill("0")
    press(page, say("Refund…"))
    expect(page.get_by_role("alert")).to_be_visible()
    check(page)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_empty_pages_are_for_everybody(start_keyed: Callable[..., Service], visit: Visit) -> None:
    """Those of the first day, a key that is shown once, and what a cashier has no right to see."""
    service = start_keyed()
    page = visit(service.url, forgives=("status of 403",))
    sign_in(page, holder(service, "admin").key, say)
    for path in ("", "/payments", "/payments?q=nasi", "/notifications", "/closing"):
        page.goto(f"/console{path}")
        check(page)
    page.goto("/console/keys")
    page.get_by_label(say("Client (its name, kasir-1 for example)")).fill("kasir-1")
    page.get_by_label("payments:write").check()
    press(page, say("Make the key"))
    key = page.get_by_label(say("API key")).input_value()
    check(page)
    press(page, say("Sign out"))
    sign_in(page, key, say)
    check(page)
    assert page.goto("/console/keys").status == 403
    check(page)
