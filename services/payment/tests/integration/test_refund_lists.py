"""GET /refunds: what was given back in a time, of whichever payments."""

from collections.abc import Callable
from typing import Any

import pytest

from pages import where_it_is_noon
from processes import Service
from walked import walk


@pytest.fixture
def refunded(start: Callable[..., Service]) -> Service:
    """Five refunds of three payments, with the ids 1 to 5, all of today, which is not over soon."""
    service = start("serve", "--no-worker", TIMEZONE=where_it_is_noon())
    service.book([1, 2, 3])
    for payment_id in (1, 2, 1, 3, 1):
        assert service.refund(payment_id, {"amount": 1_000}).status_code == 201
    return service


def test_pages_hold_each_refund_once_newest_first_and_a_day_is_that_of_its_closing(refunded: Service) -> None:
    def ids(**asked: Any) -> list[int]:
        return [refund["id"] for refund in walk(refunded, "/refunds", **asked)]

    for limit in (1, 2, 5, 200):
        assert ids(limit=limit) == [5, 4, 3, 2, 1]
    report = refunded.http.get("/reports/daily").json()
    day = report["date"]
    assert ids(created_from=day, created_to=day, limit=2) == [5, 4, 3, 2, 1]
    assert report["refunds"] == 5_000
    assert ids(created_from=report["ends_at"]) == ids(created_to=report["begins_at"]) == []
    (third,) = (each for each in refunded.http.get("/refunds").json()["refunds"] if each["id"] == 3)
    assert third == refunded.http.get("/payments/1/refunds/3").json()
    assert ids(created_from=third["created_at"]) == [5, 4, 3], "from is within"
    assert ids(created_to=third["created_at"]) == [2, 1], "to is not"

    cursor = refunded.http.get("/refunds?limit=1").json()["next_cursor"]
    for wrong in ({"cursor": cursor, "created_from": day}, {"cursor": "5"}):
        refused = refunded.http.get("/refunds", params=wrong)
        assert (refused.status_code, refused.json()) == (
            400,
            {"error": "cursor bukan yang diberikan oleh daftar ini"},
        )
    assert refunded.http.get("/payments", params={"cursor": cursor}).status_code == 400
    assert refunded.http.get("/refunds?created_from=kemarin").json()["error"].startswith("created_from ")
