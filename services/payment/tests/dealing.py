"""In which order pytest-xdist deals the files of tests to its processes: those that take long first.

A file is tested by one process (`--dist loadfile`), because what its tests share (a service, sample days, a
Chromium) would else be made in each. Begun late, a long one would have all others wait for it.
"""

from collections import defaultdict

import pytest

SECONDS = {
    "chromium": 4.0,
    "started": 4.0,
    "server": 3.0,
    "start": 2.0,
    "start_keyed": 1.5,
    "start_alone": 0.7,
}
"""About how long a test takes that has this argument."""

SLOW_S, ANY_S = 20.0, 0.003


def long_files_first(items: list[pytest.Item]) -> None:
    """Sort the tests: the file first that takes longest, by what its tests start; its own order stays."""
    file_s: dict[str, float] = defaultdict(float)
    for item in items:
        file_s[item.location[0]] += seconds_of(item)
    items.sort(key=lambda item: -file_s[item.location[0]])


def seconds_of(item: pytest.Item) -> float:
    """Return about how long a test takes."""
    arguments = item.fixturenames if isinstance(item, pytest.Function) else ()
    slow_s = SLOW_S if item.get_closest_marker("slow") else 0
    return ANY_S + slow_s + sum(SECONDS.get(name, 0) for name in arguments)
