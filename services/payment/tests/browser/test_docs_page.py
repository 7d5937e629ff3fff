"""/docs in a browser: Swagger UI does its work within the policy that we send with it."""

from collections.abc import Callable
from typing import Any

import pytest

from chromium import DESKTOP, PHONE
from processes import Service

pytestmark = pytest.mark.parametrize("shared", ["sqlite"], indirect=True)  # nothing here asks the database

Visit = Callable[..., Any]


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


def test_a_key_can_be_given_to_it(visit: Visit, shared: Service) -> None:
    page = visit(shared.url)
    page.goto("/docs/")
    page.get_by_role("button", name="Authorize").first.click()
    dialog = page.locator(".dialog-ux")
    dialog.wait_for()
    assert "bearer" in dialog.inner_text().lower()
