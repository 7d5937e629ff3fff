"""The chart of a day: its parts add up to the figures that they stand for."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment.console.chart import BOTTOM, HEIGHT, HOURS_MIN, TOP, ceiling, draw

METHODS = ("cash", "card", "qris", "transfer", "ewallet")
amounts = st.integers(0, 10**9)


def day_of(*hours: dict[str, int]) -> dict[str, Any]:
    return {
        "hours": [
            {
                "hour": f"{number:02}:00",
                "gross": sum(hour.values()),
                "methods": [{"method": method, "gross": hour.get(method, 0)} for method in METHODS],
            }
            for number, hour in enumerate(hours)
        ]
    }


days = st.lists(st.dictionaries(st.sampled_from(METHODS), amounts), min_size=24, max_size=24).map(
    lambda hours: day_of(*hours)
)


@given(days, days)
def test_a_bar_is_as_high_as_its_hour_and_within_the_picture(
    day: dict[str, Any], before: dict[str, Any]
) -> None:
    chart = draw(day, before)
    scale = (HEIGHT - TOP - BOTTOM) / chart.lines[-1].amount
    gross = {hour["hour"]: hour["gross"] for hour in day["hours"]}
    for bar in chart.bars:
        assert bar.gross == gross[bar.hour]
        assert sum(block.height for block in bar.blocks) == pytest.approx(bar.gross * scale, abs=0.5)
        assert all(TOP - 0.2 <= block.y <= HEIGHT - BOTTOM for block in bar.blocks)
        assert bar.before_y is None or TOP - 0.2 <= bar.before_y <= HEIGHT - BOTTOM
    drawn = {bar.hour for bar in chart.bars}
    assert {hour for hour, sum_ in gross.items() if sum_} <= drawn
    assert len(chart.bars) >= HOURS_MIN


def test_a_day_without_anything_is_empty() -> None:
    nothing = day_of(*[{}] * 24)
    assert draw(nothing, nothing).is_empty
    assert not draw(nothing, day_of(*[{"cash": 1}] * 24)).is_empty


def test_a_day_of_few_hours_is_drawn_as_it_is() -> None:
    assert len(draw(day_of({"cash": 1}, {"cash": 2}), day_of({}, {})).bars) == 2
    assert draw(day_of({}, {}, {}, {}), day_of()).is_empty, "most of it was left out of the calendar"


@given(st.integers(0, 10**15))
def test_the_top_is_round_and_not_far_above(amount: int) -> None:
    top = ceiling(amount)
    assert top >= max(amount, 4000)
    assert top == 4000 or top <= amount * 2.5
    assert top % 4 == 0
