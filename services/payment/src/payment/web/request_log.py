"""Each request that was answered: counted, and a line in the log."""

import time
from collections import defaultdict
from typing import Any

from starlette.types import Scope

from payment.core.logs import get_logger
from payment.core.metrics import note_request
from payment.web.in_scope import CONTEXT, OPERATION, TRACE

NO_OPERATION = "none"
"""What a request is counted under that reached no operation: a path that is not there, or a page of /docs."""

_log = get_logger()


class RequestLog:
    """Counts each answer and writes a line of it; of a flood, only so many lines.

    Args:
        lines_max_per_s: the most lines a second about answers of one class (2xx, 3xx, 4xx, 5xx). The next
            line says how many were left out.
    """

    def __init__(self, lines_max_per_s: int) -> None:
        self._lines_max_per_s = lines_max_per_s
        # By the first digit of the status: until when a second lasts, and the lines that were due in it; how
        # many were left out. All of it in the event loop.
        self._second: dict[int, tuple[float, int]] = {}
        self._left_out: dict[int, int] = defaultdict(int)

    def note(self, scope: Scope, status: int, began_s: float, ended_s: float) -> None:
        """Note an answer.

        Args:
            scope: of its request.
            status: its status.
            began_s: when the request's head was there, by `time.perf_counter`.
            ended_s: when the answer had been written.
        """
        operation: str = scope.get(OPERATION, NO_OPERATION)
        note_request(operation, status, ended_s - began_s)
        kind = status // 100
        until_s, lines = self._second.get(kind, (0.0, 0))
        if ended_s >= until_s:
            until_s, lines = ended_s + 1, 0
        self._second[kind] = until_s, lines + 1
        if lines >= self._lines_max_per_s:
            self._left_out[kind] += 1
            return
        caller = (scope.get("extensions") or {}).get(CONTEXT, {}).get("caller")
        facts: dict[str, Any] = {
            "operation": operation,
            "status": status,
            "duration_ms": round((ended_s - began_s) * 1000, 3),
            "client": caller.client if caller else None,
            "trace_id": trace_id_of(scope),
            "left_out": self._left_out.pop(kind, None),
        }
        _log.info("request", **{name: value for name, value in facts.items() if value is not None})

    def note_refused(self, status: int) -> None:
        """Note an answer to what was no request, or not a whole one."""
        now_s = time.perf_counter()
        self.note({}, status, now_s, now_s)


def trace_id_of(scope: Scope) -> str | None:
    """Return the id of the trace that a request belongs to, None if it has none."""
    traceparent: str | None = scope.get(TRACE)
    return traceparent.split("-")[1] if traceparent else None
