"""/docs in a browser: Swagger UI does its work within the policy that we send with it."""

import re
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import payment.web
from chromium import DESKTOP, PHONE
from processes import Service

on_sqlite = pytest.mark.parametrize("shared", ["sqlite"], indirect=True)  # nothing here asks the database

Visit = Callable[..., Any]
FILES = Path(payment.web.__file__).parent / "swagger_ui"
ROW = re.compile(r"^\| `([^`]+)` \| .* \| `([0-9a-f]{64})` \|$", re.MULTILINE)
OURS = {"index.j2", "page.css", "page.js", "VENDORED.md"}


@on_sqlite
@pytest.mark.parametrize("window", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_the_page_shows_every_operation(visit: Visit, shared: Service, window: tuple[int, int]) -> None:
    page = visit(shared.url, window=window)
    page.goto("/docs/")
    paths = shared.http.get("/openapi.json").json()["paths"].values()
    described = sum(
        "operationId" in each for path in paths for each in path.values() if isinstance(each, dict)
    )
    page.wait_for_function("many => document.querySelectorAll('.opblock').length === many", arg=described)
    assert page.locator(".errors-wrapper").count() == 0


@on_sqlite
def test_a_key_can_be_given_to_it(visit: Visit, shared: Service) -> None:
    page = visit(shared.url)
    page.goto("/docs/")
    page.get_by_role("button", name="Authorize").first.click()
    dialog = page.locator(".dialog-ux")
    dialog.wait_for()
    assert "bearer" in dialog.inner_text().lower()


@on_sqlite
def test_no_link_makes_it_show_another_description(visit: Visit, shared: Service) -> None:
    """Nor has it a field for one: what a page of ours shows is believed, and gets the key."""
    page = visit(shared.url)
    asked: list[tuple[str, str]] = []
    page.on("request", lambda each: asked.append((each.resource_type, each.url.removeprefix(shared.url))))
    page.goto("/docs/?url=/elsewhere.json&configUrl=/settings.json")
    page.locator(".opblock").first.wait_for()
    assert page.locator(".info .title").inner_text().startswith("Payment")
    assert [url for kind, url in asked if kind in {"fetch", "xhr"}] == ["/openapi.json"]
    assert page.locator("input[type=text]").count() == 0


def test_what_is_not_ours_has_the_hash_that_is_written_down() -> None:
    written = dict(ROW.findall((FILES / "VENDORED.md").read_text()))
    here = {file.name: sha256(file.read_bytes()).hexdigest() for file in FILES.iterdir()}
    assert written == {name: found for name, found in here.items() if name not in OURS}
    versions = re.search(
        r"DOMPurify (\d+)\.(\d+)\.", (FILES / "swagger-ui-bundle.js.LICENSE.txt").read_text()
    )
    assert versions
    assert (int(versions[1]), int(versions[2])) >= (3, 4), "the sanitizer of 4.15.5 let script through"
