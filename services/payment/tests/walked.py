"""Lists of the API, walked page by page as a client does."""

from typing import Any

from processes import Service


def walk(service: Service, path: str, **asked: Any) -> list[dict[str, Any]]:
    """Return all that a list holds, from its first page to its last.

    Each page but the last is full, and says twice where the next one is: in its body and in its `Link`.
    """
    answer = service.http.get(path, params=asked)
    assert answer.status_code == 200, answer.text
    page = answer.json()
    found: list[dict[str, Any]] = page[path.strip("/")]
    cursor = page["next_cursor"]
    if cursor is None:
        assert "next" not in answer.links
        return found
    assert len(found) == asked["limit"]
    assert f"cursor={cursor}" in answer.links["next"]["url"]
    return found + walk(service, path, **asked | {"cursor": cursor})
