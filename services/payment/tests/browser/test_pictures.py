"""`make screenshots`: what it takes, of what, and at what time."""

import struct
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from chromium import Chromium
from pictures import NOW, PAGES, Page, payment_to_show, served_at, take
from processes import Service, http_client


@pytest.mark.parametrize("shared", ["sqlite"], indirect=True)
def test_a_page_is_taken_narrow_and_wide_light_and_dark(
    chromium: Chromium, shared: Service, tmp_path: Path
) -> None:
    files = list(take(chromium, shared.url, [Page("health", "/healthz")], tmp_path / "pictures"))
    assert {file.name: width_of(file) for file in files} == {
        "health-390-light.png": 390,
        "health-390-dark.png": 390,
        "health-1280-light.png": 1280,
        "health-1280-dark.png": 1280,
    }


def width_of(file: Path) -> int:
    """Return the width of a PNG, pixels."""
    begins = file.read_bytes()[:24]
    assert begins.startswith(b"\x89PNG")
    width: int = struct.unpack(">I", begins[16:20])[0]
    return width


@pytest.mark.parametrize("shared", ["sqlite"], indirect=True)
def test_a_page_that_is_not_there_is_not_taken(chromium: Chromium, shared: Service, tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="/nothing answers 404"):
        list(take(chromium, shared.url, [Page("nothing", "/nothing")], tmp_path))
    assert list(tmp_path.glob("*.png")) == []


@pytest.mark.parametrize("shared_demo", ["sqlite"], indirect=True)
def test_the_payment_to_show_is_a_share_of_which_something_was_given_back(shared_demo: Service) -> None:
    payment_id = payment_to_show(shared_demo.http)
    payment = shared_demo.http.get(f"/payments/{payment_id}").json()
    bill = shared_demo.http.get(f"/bills/{payment['order_id']}").json()
    assert payment["amount_refunded"] > 0
    assert bill["total"] > payment["amount"]


def test_the_service_runs_as_if_it_were_that_time(tmp_path: Path) -> None:
    with (
        served_at(NOW, DATABASE_URL=f"sqlite:///{tmp_path / 'payment.db'}") as url,
        http_client(url) as http,
    ):
        http.post("/payments", json={"order_id": 1, "user_id": 1, "amount": 20_000}).raise_for_status()
        booked = datetime.fromisoformat(http.get("/payments/1").json()["created_at"])
    assert timedelta() < booked - datetime.fromisoformat(NOW) < timedelta(minutes=5)


def test_no_two_pictures_have_one_name() -> None:
    assert len({page.name for page in PAGES}) == len(PAGES)
