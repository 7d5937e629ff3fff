"""`make screenshots`: pictures of the console for docs/pictures, each page narrow and wide, light and dark.

They show the days of `payment demo` up to a fixed time, and the service runs as if it were that time. So
"today" is in the middle of dinner whenever they are taken, and a picture changes only if its page does.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import NamedTuple

import httpx

from chromium import DESKTOP, NAMES, PHONE, Chromium, program
from described import ROOT
from payment.core.units import read_time
from processes import http_client
from programs import Process


class Page(NamedTuple):
    """A page to be taken.

    Attributes:
        path: {payment_id} in it is a share of a split bill of which something was given back.
        auth: the setting AUTH of the service that shows it.
    """

    name: str
    path: str
    auth: str = "none"


PAGES = (
    Page("today", "/console"),
    Page("payments", "/console/payments"),
    Page("payment", "/console/payments/{payment_id}"),
    Page("notifications", "/console/notifications"),
    Page("closing", "/console/closing"),
    Page("keys", "/console/keys"),
    Page("sign-in", "/console", auth="keys"),
)
WINDOWS, COLORS = (PHONE, DESKTOP), ("light", "dark")
HEIGHT_MAX = 1600
"""Of a picture, CSS pixels; what a page has below it is left out."""

NOW = "2026-11-21T20:30:00+07:00"
"""A Saturday evening."""

INTO = ROOT / "docs" / "pictures"

CLOCK = """
import sys, time
behind_ns, sys.argv = int(sys.argv[1]), ["payment", *sys.argv[2:]]
present_ns = time.time_ns
time.time_ns = lambda: present_ns() - behind_ns
time.time = lambda: time.time_ns() / 1e9
from payment.cli.program import main
main()
"""
"""A Python program: `payment` with a clock that is so many nanoseconds behind."""


@contextmanager
def served_at(now: str, **settings: str) -> Iterator[str]:
    """Run the service without its worker, as if it were this time (RFC 3339); give its URL."""
    behind_ns = time.time_ns() - read_time(now) * 1_000
    process = Process(
        [sys.executable, "-c", CLOCK, str(behind_ns), "serve", "--no-worker"],
        {"PORT": "0", "LOG_FORMAT": "json"} | settings,
    )
    try:
        yield json.loads(process.line_with('"listening"'))["url"]
    finally:
        process.stop()


def payment_to_show(http: httpx.Client) -> int:
    """Return the newest payment that is a share of a bill and was given back, in part or as a whole."""
    path: str | None = "/payments?limit=100"
    while path:
        page = http.get(path).raise_for_status().json()
        for payment in page["payments"]:
            bill = http.get(f"/bills/{payment['order_id']}").json() if payment["amount_refunded"] else None
            if bill and bill["total"] > payment["amount"]:
                return int(payment["id"])
        path = page["next_cursor"] and f"/payments?limit=100&cursor={page['next_cursor']}"
    raise LookupError("no share of a split bill was given back")


def take(chromium: Chromium, url: str, pages: Sequence[Page], into: Path) -> Iterator[Path]:
    """Take the pictures of pages; yield the file of each.

    Raises:
        LookupError: a page is not there.
    """
    with http_client(url) as http:
        payment_id = payment_to_show(http) if any("{payment_id}" in page.path for page in pages) else 0
    into.mkdir(parents=True, exist_ok=True)
    for page, window, colors in product(pages, WINDOWS, COLORS):
        file = into / f"{page.name}-{window[0]}-{colors}.png"
        with chromium.in_use():
            visitor = chromium.visitor(url, window=window, colors=colors)
            answer = visitor.page.goto(page.path.format(payment_id=payment_id))
            if not answer.ok:
                raise LookupError(f"{answer.url} answers {answer.status}")
            height = visitor.page.evaluate("document.documentElement.scrollHeight")
            clip = {"x": 0, "y": 0, "width": window[0], "height": min(height, HEIGHT_MAX)}
            visitor.page.screenshot(path=file, clip=clip, full_page=True, animations="disabled")
            visitor.leave()
        yield file


def name_and_path(text: str) -> Page:
    name, path = text.split("=", 1)  # argparse says what is wrong if there are no two
    return Page(name, path)


def main() -> None:
    """Fill a database, and take the pictures that are asked for."""
    parser = ArgumentParser(description=__doc__)
    words = "other pages than those of the console"
    parser.add_argument("pages", nargs="*", type=name_and_path, metavar="NAME=PATH", help=words)
    parser.add_argument("--into", type=Path, default=INTO)
    asked = parser.parse_args()
    pages = asked.pages or PAGES
    if program() is None:
        sys.exit(f"NO PICTURES: there is no {' or '.join(NAMES)} here: apt-get install {NAMES[0]}")
    with tempfile.TemporaryDirectory() as folder:
        database = {"DATABASE_URL": f"sqlite:///{folder}/payment.db", "TIMEZONE": "Asia/Jakarta"}
        command = [sys.executable, "-m", "payment", "demo", "--now", NOW]
        subprocess.run(command, env=os.environ | database, check=True)
        chromium = Chromium()
        try:
            for auth in sorted({page.auth for page in pages}):
                with served_at(NOW, AUTH=auth, **database) as url:
                    for file in take(
                        chromium, url, [page for page in pages if page.auth == auth], asked.into
                    ):
                        print(f"{file.stat().st_size / 1024:6.0f} KiB  {file}")  # noqa: T201  # to a person
        except LookupError as error:
            sys.exit(f"NOT ALL PICTURES: {error}")
        finally:
            chromium.close()


if __name__ == "__main__":
    main()
