"""Readers of the feed of events, as those who rely on it are."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import httpx

from processes import http_client, wait_for


def read_all(url: str, after: str | None = None, key: str = "", **asked: Any) -> list[dict[str, Any]]:
    """Return every event after a cursor, page by page."""
    found: list[dict[str, Any]] = []
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with http_client(url, headers=headers) as http:
        while True:
            answer = http.get("/events", params=asked | ({"after": after} if after else {}))
            assert answer.status_code == 200, answer.text
            page = answer.json()
            found += page["events"]
            after = page["next_cursor"]
            if not page["events"]:
                return found


class Follower(threading.Thread):
    """Follows the feed from its beginning, in a thread, by whichever of the services answers.

    Args:
        urls: called whenever it asks: where the services are.
        wait_s: how long the service is to hold an empty answer; 0 for not at all.
    """

    def __init__(self, urls: Callable[[], Sequence[str]], *, wait_s: int = 1, limit: int = 50) -> None:
        super().__init__(daemon=True)
        self._urls = urls
        self._headers = {"Prefer": f"wait={wait_s}"} if wait_s else {}
        self._limit = limit
        self._ends = threading.Event()
        self.events: list[dict[str, Any]] = []
        self.answers: Counter[int | str] = Counter()
        self.start()

    def run(self) -> None:
        """Read until `end`."""
        cursor: str | None = None
        turn = 0
        while not self._ends.is_set():
            urls = self._urls()
            turn += 1
            asked = {"limit": self._limit} | ({"after": cursor} if cursor else {})
            try:
                with http_client(urls[turn % len(urls)], timeout_s=30) as http:
                    answer = http.get("/events", params=asked, headers=self._headers)
            except httpx.TransportError as error:
                self.answers[type(error).__name__] += 1
                self._ends.wait(0.05)
                continue
            self.answers[answer.status_code] += 1
            if answer.status_code != 200:
                self._ends.wait(0.05)
                continue
            page = answer.json()
            self.events += page["events"]
            cursor = page["next_cursor"]

    def caught_up_with(self, wanted: set[str], within_s: float = 60.0) -> None:
        """Wait until all these events were read, then end."""
        wait_for(lambda: wanted <= {event["id"] for event in self.events}, within_s, "the follower has all")
        self._ends.set()
        self.join(40)


def by_subject(events: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """Return the types of each subject's events, in the order in which they were read."""
    told: dict[str, list[str]] = {}
    for event in events:
        told.setdefault(event["subject"], []).append(event["type"])
    return told
