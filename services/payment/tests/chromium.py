"""A real Chromium for the tests of pages: this machine's own, led by Playwright.

`CHROMIUM` names its program, else it is the first of `NAMES` on the PATH. It reaches this machine and nothing
else. What a page must never do (an error on the console, something against its policy, a request to another
host) is a trouble of its `Visitor`, and the fixture `visit` fails for each.
"""

import asyncio
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

import pytest

NAMES = ("chromium", "google-chrome")
NOT_RUN = "NOT RUN, there is no Chromium here: apt-get install chromium"
NO_PLAYWRIGHT = "NOT RUN, there is no Playwright here: make test installs it"
PHONE, DESKTOP = (390, 844), (1280, 800)
"""Widths and heights of windows, CSS pixels."""

# axe calls the levels of WCAG so; what 2.2 adds to level A it cannot test
WCAG_A_AND_AA = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")
_AXE = "(tags) => axe.run(document, {runOnly: tags, resultTypes: ['violations']})"


def program() -> str | None:
    """Return the path of Chromium, None if there is none."""
    given = os.environ.get("CHROMIUM")
    return given or next(filter(None, map(shutil.which, NAMES)), None)


class Chromium:
    """A running Chromium.

    Playwright's loop stays asyncio's running one of this thread until it ends, and no other test could run
    one of its own. So it is set aside between uses.
    """

    def __init__(self) -> None:
        path = program()
        if path is None:
            pytest.skip(NOT_RUN)
        if find_spec("playwright") is None:
            pytest.skip(NO_PLAYWRIGHT)
        from playwright.sync_api import sync_playwright  # noqa: PLC0415  # 0.3 s that only these tests take

        self._playwright = sync_playwright().start()
        self._loop = asyncio.get_running_loop()
        try:
            self._browser: Any = self._playwright.chromium.launch(
                executable_path=path,
                chromium_sandbox=os.geteuid() != 0,  # as root there is none
                args=["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"],
            )
        except BaseException:
            self._playwright.stop()
            raise
        asyncio._set_running_loop(None)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Let this thread talk to it."""
        asyncio._set_running_loop(self._loop)
        try:
            yield
        finally:
            asyncio._set_running_loop(None)

    def visitor(
        self,
        url: str,
        *,
        window: tuple[int, int] = DESKTOP,
        locale: str = "id-ID",
        colors: str = "light",
        forgives: tuple[str, ...] = (),
        **options: Any,
    ) -> "Visitor":
        """Return a new guest of a service, with no cookies and nothing in the cache.

        Args:
            url: the service's; paths are relative to it.
            window: its width and height, CSS pixels.
            locale: what it prefers to read.
            colors: `light` or `dark`.
            forgives: parts of what is no trouble this time (an answer of 403 is an error on the console too).
            options: others of Playwright's `Browser.new_context`.
        """
        context = self._browser.new_context(
            base_url=url,
            viewport={"width": window[0], "height": window[1]},
            locale=locale,
            color_scheme=colors,
            reduced_motion="reduce",
            **options,
        )
        return Visitor(context, url, forgives)

    def close(self) -> None:
        """End it."""
        with self.in_use():
            self._browser.close()
            self._playwright.stop()


class Visitor:
    """A guest of one service, who notes what no page may do.

    Attributes:
        page: Playwright's page.
        troubles: what went wrong so far.
    """

    def __init__(self, context: Any, url: str, forgives: tuple[str, ...] = ()) -> None:
        self._context = context
        self._origin = _origin(url)
        self._forgives = forgives
        self.troubles: list[str] = []
        context.set_default_timeout(20_000)
        context.on("console", self._note_message)
        context.on("weberror", lambda error: self.troubles.append(f"page error: {error.error}"))
        context.on("request", self._note_request)
        self.page = context.new_page()

    def _note_message(self, message: Any) -> None:
        is_forgiven = any(part in message.text for part in self._forgives)
        if message.type == "error" and not is_forgiven:  # what is against the policy is one of these
            self.troubles.append(f"console error: {message.text} ({message.location['url']})")

    def _note_request(self, request: Any) -> None:
        if not request.url.startswith(("data:", "blob:")) and _origin(request.url) != self._origin:
            self.troubles.append(f"request to elsewhere: {request.url}")

    def leave(self) -> None:
        """Close what it opened; fail if anything went wrong."""
        self._context.close()
        if self.troubles:
            pytest.fail("the page:\n" + "\n".join(self.troubles), pytrace=False)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def expect(found: Any, within_s: float = 10) -> Any:
    """Return what waits until a locator or a page is as it is expected to be; Playwright's `expect`."""
    from playwright.sync_api import expect as expected  # noqa: PLC0415  # only these tests have it

    expected.set_options(timeout=within_s * 1000)
    return expected(found)


def check_accessible(page: Any) -> None:
    """Fail if axe finds anything on the page that WCAG 2.2 does not allow, at the levels A and AA."""
    from axe_playwright_python.base import AXE_SCRIPT  # noqa: PLC0415  # only these tests have it

    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    violations = page.evaluate(_AXE, list(WCAG_A_AND_AA))["violations"]
    if violations:
        pytest.fail("not everybody can use the page:\n" + "\n".join(_in_words(violations)), pytrace=False)


def _in_words(violations: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the rule, then each element that breaks it, with why."""
    for found in violations:
        yield f"{found['id']} ({found['impact']}): {found['help']}"
        for node in found["nodes"]:
            why = " ".join(node["failureSummary"].split())
            yield f"  {node['target'][0]}  {node['html'][:120]}\n    {why}"
