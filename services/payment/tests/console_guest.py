"""Somebody who reads the console in a browser, in either language."""

import re
from collections.abc import Callable
from typing import Any

from chromium import expect
from payment.console.words import translations

SIGN_IN = "/console/sign-in"

Say = Callable[..., str]


def words_of(language: str) -> Say:
    """Return a function that says an English text of the console in a language; placeholders by name."""
    catalog = translations(language)

    def say(text: str, **filled: Any) -> str:
        said = catalog.gettext(text)
        return said % filled if filled else said

    return say


def sign_in(page: Any, key: str, say: Say) -> None:
    """Open the console, and give a key where it asks for one."""
    page.goto("/console")
    page.get_by_label(say("API key")).fill(key)
    press(page, say("Sign in"))
    expect(page).to_have_url(re.compile("/console$"))


def press(page: Any, name: str) -> None:
    """Press the button of this name."""
    page.get_by_role("button", name=name, exact=True).click()


def card(page: Any, name: str) -> Any:
    """Return the card of this name."""
    return page.locator(".card").filter(has=page.get_by_role("heading", name=name, exact=True))
