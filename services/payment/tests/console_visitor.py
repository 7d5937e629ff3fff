"""A visitor of the console without a browser: pages by HTTP, forms filled in as they stand in the page."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any, Self

import httpx

from processes import http_client

SIGN_IN = "/console/sign-in"


@dataclass
class Form:
    """A form of a page: where it is sent, and what is filled in."""

    method: str
    action: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: list[dict[str, str]] = field(default_factory=list)


class Page(HTMLParser):
    """A page, read: its forms, links and text."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__()
        self.status = answer.status_code
        self.url = str(answer.url)
        self.headers = answer.headers
        self.forms: list[Form] = []
        self.links: list[str] = []
        self.next = ""
        self.text = ""
        self._is_in_form = False
        self.feed(answer.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note forms, fields and links."""
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._is_in_form = True
            self.forms.append(Form(given.get("method", "get"), given["action"]))
        elif tag == "a" and "href" in given:
            self.links.append(given["href"])
            if given.get("rel") == "next":
                self.next = given["href"]
        elif self._is_in_form and tag == "input" and "name" in given:
            if given.get("type") != "checkbox":
                self.forms[-1].fields[given["name"]] = given.get("value", "")
        elif self._is_in_form and tag == "button":
            self.forms[-1].buttons.append(given)

    def handle_endtag(self, tag: str) -> None:
        """Note the end of a form."""
        if tag == "form":
            self._is_in_form = False

    def handle_data(self, data: str) -> None:
        """Keep what is read, with single blanks."""
        self.text = " ".join(f"{self.text} {data}".split())

    def form(self, **fields: str) -> Form:
        """Return the form that has these fields filled in like this."""
        found = [form for form in self.forms if fields.items() <= form.fields.items()]
        assert len(found) == 1, f"{len(found)} forms with {fields}: {self.forms}"
        return found[0]


class Visitor:
    """Somebody with a browser of his own: cookies, and the page that he sees."""

    def __init__(self, url: str, **headers: str) -> None:
        self.http = http_client(url, follow_redirects=True, headers=headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def open(self, path: str, **query: Any) -> Page:
        """Return a page."""
        return Page(self.http.get(path, params=query or None))

    def send(self, form: Form, **typed: str) -> Page:
        """Return what comes of a form, with what is typed in."""
        return Page(self.http.post(form.action, data=form.fields | typed))

    def sign_in(self, key: str) -> Page:
        """Return the page that signing in leads to."""
        return self.send(self.open(SIGN_IN).form(back=""), key=key)
