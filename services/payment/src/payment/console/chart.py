"""The chart of a day: takings hour by hour and by method, beside those of another day. Its geometry; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 960, 300
LEFT, RIGHT, TOP, BOTTOM = 84, 8, 12, 28
HOURS_MIN = 10
LINES = 4
_STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True, slots=True)
class Block:
    """What one method brought in an hour: a part of a bar."""

    method: str
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """An hour.

    Attributes:
        blocks: its methods, one above the other.
        before_y: where the other day's sum is; None if it is nothing.
    """

    hour: str
    x: float
    width: float
    gross: int
    before: int
    blocks: Sequence[Block]
    before_y: float | None

    @property
    def middle(self) -> float:
        """Return where its label goes."""
        return self.x + self.width / 2


@dataclass(frozen=True, slots=True)
class Line:
    """A line across, with what it stands for, whole rupiah."""

    y: float
    amount: int


@dataclass(frozen=True, slots=True)
class Chart:
    """What the template draws, in pixels of a picture that is scaled."""

    bars: Sequence[Bar]
    lines: Sequence[Line]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM

    @property
    def is_empty(self) -> bool:
        """Say whether nothing came in on either day."""
        return not any(bar.gross or bar.before for bar in self.bars)


def draw(day: Mapping[str, Any], before: Mapping[str, Any]) -> Chart:
    """Return the chart of a day.

    Args:
        day: its hourly report, as the API gives it.
        before: the other day's.
    """
    sums_before = {hour["hour"]: hour["gross"] for hour in before["hours"]}
    hours = _busy(day["hours"], sums_before)
    top = ceiling(max((max(hour["gross"], sums_before.get(hour["hour"], 0)) for hour in hours), default=0))
    pixels = (HEIGHT - TOP - BOTTOM) / top
    step = (WIDTH - LEFT - RIGHT) / len(hours)

    def y(amount: float) -> float:
        return round(HEIGHT - BOTTOM - amount * pixels, 1)

    bars = []
    for number, hour in enumerate(hours):
        blocks, below = [], 0
        for takings in hour["methods"]:
            if takings["gross"]:
                blocks.append(
                    Block(takings["method"], y(below + takings["gross"]), round(takings["gross"] * pixels, 1))
                )
                below += takings["gross"]
        was = sums_before.get(hour["hour"], 0)
        x, width = round(LEFT + number * step + step * 0.15, 1), round(step * 0.7, 1)
        bars.append(Bar(hour["hour"], x, width, hour["gross"], was, blocks, y(was) if was else None))
    lines = [Line(y(top * part / LINES), round(top * part / LINES)) for part in range(LINES + 1)]
    return Chart(bars, lines)


def ceiling(amount: int) -> int:
    """Return a round amount that is not below this one, and is divided by four well."""
    unit = 1000
    while True:
        for step in _STEPS:
            if step * unit * LINES >= amount:
                return int(step * unit * LINES)
        unit *= 10


def _busy(hours: Sequence[Mapping[str, Any]], sums_before: Mapping[str, int]) -> Sequence[Mapping[str, Any]]:
    """Return the hours from the first in which something came in on either day to the last; ten at least."""
    busy = [n for n, hour in enumerate(hours) if hour["gross"] or sums_before.get(hour["hour"])]
    last = len(hours) - 1
    first, last = (busy[0], busy[-1]) if busy else (min(10, last), min(21, last))
    while last - first + 1 < min(HOURS_MIN, len(hours)):
        first, last = max(0, first - 1), min(len(hours) - 1, last + 1)
    return hours[first : last + 1]
