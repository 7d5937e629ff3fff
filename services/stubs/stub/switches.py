"""The switches that make a stub misbehave: which there are, what is a right one, which are on."""

from collections.abc import Callable
from threading import Event, Lock
from typing import Any, TypedDict

WAIT_LIMIT_S = 3600


class Fault(TypedDict, total=False):
    """One switch as posted: one of the first four fields, and the options that go with it."""

    answer: int
    hang_s: float
    drop: str
    slow_ms: float
    retry_after_s: int
    body: str
    apply: str
    times: int
    ids: list[int]


def _whole(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high  # type(): bool is an int too


def _number(value: object, high: float) -> bool:
    return type(value) in (int, float) and 0 <= value <= high  # type: ignore[operator]


CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "answer": (lambda v: _whole(v, 200, 599), "a status from 200 to 599"),
    "hang_s": (lambda v: _number(v, WAIT_LIMIT_S), f"seconds from 0 to {WAIT_LIMIT_S}"),
    "drop": (lambda v: v in ("before", "after"), '"before" or "after"'),
    "slow_ms": (lambda v: _number(v, WAIT_LIMIT_S * 1000), "milliseconds up to an hour"),
    "away_s": (lambda v: _number(v, WAIT_LIMIT_S), f"seconds from 0 to {WAIT_LIMIT_S}"),
    "retry_after_s": (lambda v: _whole(v, 0, 10**9), "whole seconds"),
    "body": (lambda v: isinstance(v, str), "a string"),
    "apply": (lambda v: v in ("before", "after"), '"before" or "after"'),
    "times": (lambda v: _whole(v, 1, 10**9), "a whole number from 1"),
    "ids": (
        lambda v: isinstance(v, list) and v != [] and all(_whole(i, 1, 2**53) for i in v),
        "a list of ids",
    ),
}
# Each switch and the fields of a posted body that go with it.
SWITCHES = {
    "answer": ("retry_after_s", "body", "times", "ids"),
    "hang_s": ("apply", "times", "ids"),
    "drop": ("times", "ids"),
    "slow_ms": (),
}


def refusal(body: object) -> str | None:
    """What is wrong with a body posted to /_stub/faults; None if it can be used."""
    if not isinstance(body, dict):
        return "the body must be a JSON object"
    for name, value in body.items():
        if name not in CHECKS:
            return f"unknown field {name}"
        check, wanted = CHECKS[name]
        if not check(value):
            return f"{name} must be {wanted}"
    if not any(name in body for name in (*SWITCHES, "away_s")):
        return f"name a fault: {', '.join(SWITCHES)} or away_s"
    return None


class Faults:
    """The switches in force. They are independent: each counts its own `times`."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._on: dict[str, Fault] = {}
        self._released = Event()

    def add(self, body: dict[str, Any]) -> None:
        """Turn on each switch that a body without `refusal` names; the others stay as they are."""
        with self._lock:
            for name, options in SWITCHES.items():
                if name in body:
                    fields = {key: body[key] for key in (name, *options) if key in body}
                    self._on[name] = Fault(**fields)  # type: ignore[typeddict-item]

    def clear(self) -> None:
        """Turn all off and let every waiting request go on at once."""
        with self._lock:
            self._on.clear()
            self._released.set()
            self._released = Event()

    def shown(self) -> list[Fault]:
        """The switches in force, `times` being what is left; each can be posted again."""
        with self._lock:
            return [fault.copy() for fault in self._on.values()]

    def take(self, target_id: int) -> tuple[Fault, Event]:
        """What the PUT for this id meets, in one Fault, and the event that ends its waiting.

        Counts one off the `times` of each switch it meets.
        """
        met = Fault()
        with self._lock:
            for name, fault in list(self._on.items()):
                if target_id not in fault.get("ids", (target_id,)):
                    continue
                met.update(fault)
                if "times" in fault:
                    fault["times"] -= 1
                    if fault["times"] == 0:
                        del self._on[name]
            return met, self._released
