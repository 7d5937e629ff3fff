"""A stub's service: the states, the record of what arrived, and its routes."""

import time
from collections.abc import Callable
from hmac import compare_digest
from threading import Lock
from typing import Any, TypedDict

from flask import Flask, Response, request

from stub.answers import DroppedConnection, fault_answer, json_response, no_entry
from stub.memory import Memory
from stub.server import BODY_LIMIT_BYTES
from stub.switches import Faults, refusal

STATUSES = ("pending", "paid", "failed")
RECORD_KEEPS = 100_000  # at least so many of the newest PUTs stay on record


class Received(TypedDict):
    """One PUT as it arrived; `applied` turns true when its status is in the store."""

    id: int
    status: str | None
    at: float
    idempotency_key: str | None
    traceparent: str | None
    applied: bool


class Stub:
    """The state behind one stub, and what its routes do with it.

    `count`: ids 1 to count exist. `unknown`: the error of a 404. `show`: makes the resource out of
    an id and its payment status. `token`: what get and put demand as a bearer token, "" for nothing.
    `memory`: where the states are. Nothing is stored for an id before its first PUT.
    """

    def __init__(
        self,
        count: int,
        unknown: str,
        show: Callable[[int, str], dict[str, object]],
        token: str,
        memory: Memory,
    ) -> None:
        self._count = count
        self._unknown = unknown
        self._show = show
        self._token = token
        self._faults = Faults()
        self._lock = Lock()
        self._memory = memory
        self._received: list[Received] = []
        self._forgotten = 0

    def get(self, target_id: int, unknown: dict[str, str] | None = None) -> Response:
        """200 and the resource, or 404 with the usual error, or with what is given as `unknown`."""
        if not self._is_let_in():
            return no_entry()
        if not 1 <= target_id <= self._count:
            return json_response(unknown or {"error": self._unknown}, 404)
        return json_response(self._show(target_id, self._memory.status(target_id)))

    def put(self, target_id: int, field: str) -> Response:
        """Record the request, ask for the token, meet the switches in force, apply what `field` holds."""
        body = request.get_json(silent=True)
        status = body.get(field) if isinstance(body, dict) else None
        entry = self._record(target_id, status if isinstance(status, str) else None)
        if not self._is_let_in():
            return no_entry()
        fault, released = self._faults.take(target_id)
        if not fault:
            return self._apply(entry, field)

        released.wait(fault.get("slow_ms", 0) / 1000)
        response: Response | None = None
        applies = "answer" not in fault and fault.get("drop") != "before"
        if applies and fault.get("apply", "before") == "before":
            response = self._apply(entry, field)
        released.wait(fault.get("hang_s", 0))
        if applies and response is None:
            response = self._apply(entry, field)
        if "drop" in fault:
            return DroppedConnection()
        return response or fault_answer(fault)

    def _is_let_in(self) -> bool:
        """Whether the request brings the token, or none is demanded."""
        scheme, _, brought = request.headers.get("Authorization", "").partition(" ")
        # as bytes, since it takes no str that is not ASCII
        is_right = compare_digest(brought.strip().encode(), self._token.encode())
        return not self._token or (is_right and scheme.lower() == "bearer")

    def _record(self, target_id: int, status: str | None) -> Received:
        entry = Received(
            id=target_id,
            status=status,
            at=time.time(),
            idempotency_key=request.headers.get("Idempotency-Key"),
            traceparent=request.headers.get("traceparent"),
            applied=False,
        )
        with self._lock:
            if len(self._received) >= 2 * RECORD_KEEPS:
                del self._received[:RECORD_KEEPS]
                self._forgotten += RECORD_KEEPS
            self._received.append(entry)
        return entry

    def _apply(self, entry: Received, field: str) -> Response:
        target_id, status = entry["id"], entry["status"]
        if status not in STATUSES:
            return json_response({"error": f"{field} harus pending, paid, atau failed"}, 400)
        if not 1 <= target_id <= self._count:
            return json_response({"error": self._unknown}, 404)
        with self._lock:
            self._memory.tell(target_id, status)
            entry["applied"] = True
        return json_response(self._show(target_id, status))

    def add_routes(self, app: Flask) -> None:
        """Add /health and /_stub/…, which no switch touches (`away_s` excepted)."""
        app.config["MAX_CONTENT_LENGTH"] = BODY_LIMIT_BYTES
        app.get("/health")(self.get_health)
        app.get("/_stub/received")(self.get_received)
        app.delete("/_stub/received")(self.delete_received)
        app.get("/_stub/states")(self.get_states)
        app.get("/_stub/faults")(self.get_faults)
        app.post("/_stub/faults")(self.post_faults)
        app.delete("/_stub/faults")(self.delete_faults)

    def get_health(self) -> Response:
        """200 while the process serves."""
        return json_response({"status": "ok"})

    def get_received(self) -> Response:
        """The PUTs in order of arrival, from index ?since= on, those of ?id= only.

        `next` is the index of the next to come, so what to ask for as `since` to see only new ones.
        """
        since = request.args.get("since", 0, type=int)
        only_id = request.args.get("id", type=int)
        with self._lock:
            after = self._forgotten + len(self._received)
            entries = [e.copy() for e in self._received[max(0, since - self._forgotten) :]]
        if only_id is not None:
            entries = [entry for entry in entries if entry["id"] == only_id]
        return json_response({"received": entries, "next": after})

    def delete_received(self) -> Response:
        """Forget the record; the states stay."""
        with self._lock:
            self._received.clear()
            self._forgotten = 0
        return json_response({"received": [], "next": 0})

    def get_states(self) -> Response:
        """The status of every id that was ever told one."""
        with self._lock:
            states = self._memory.all()
        return json_response({"states": states})

    def get_faults(self) -> Response:
        """The switches in force."""
        return json_response({"faults": self._faults.shown()})

    def post_faults(self) -> Response:
        """Turn on what the body names; 200 with the switches now in force, or 400."""
        body: Any = request.get_json(silent=True)
        wrong = refusal(body)
        if wrong is not None:
            return json_response({"error": wrong}, 400)
        self._faults.add(body)
        if "away_s" not in body:
            return self.get_faults()
        server, connection = request.environ["stub.server"], request.environ["werkzeug.socket"]
        server.go_away(body["away_s"], asker=connection)
        shown = [*self._faults.shown(), {"away_s": body["away_s"]}]
        response = json_response({"faults": shown})
        response.headers["Connection"] = "close"
        return response

    def delete_faults(self) -> Response:
        """Turn all switches off and let waiting requests go on."""
        self._faults.clear()
        return self.get_faults()
