"""What is shown of payments, bills, notifications, neighbours and reconciliations, as JSON."""

import json
from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, fields

from payment.core.states import DISAGREEMENTS, FINDINGS_MAX, Outcome, ReconciliationState, Status
from payment.core.units import rfc_3339


class Timestamp(fields.Field[int]):
    """Microseconds since the epoch, written as RFC 3339 UTC."""

    def _serialize(self, value: int | None, *_: Any, **__: Any) -> str | None:
        return None if value is None else rfc_3339(value)


class Answer(Schema):
    """The JSON object that shows something."""

    def text(self, item: Any) -> str:
        """Return it as JSON text."""
        return json.dumps(self.dump(item), ensure_ascii=False, separators=(",", ":"))


class PaymentAnswer(Answer):
    """A payment as GET shows it."""

    id = fields.Integer()
    order_id = fields.Integer()
    user_id = fields.Integer()
    amount = fields.Integer()
    status = fields.String()
    method = fields.String()
    amount_refunded = fields.Integer()
    created_at = Timestamp(attribute="created_us")
    updated_at = Timestamp(attribute="updated_us")
    reference = fields.String(dump_default=None)  # events of before 0007 have neither
    expires_at = Timestamp(attribute="expires_us", dump_default=None)
    late = fields.Boolean(dump_default=False)
    settled_at = fields.Method("_settled_at")

    def _settled_at(self, payment: Any) -> str | None:
        """Return when it became what it is to its bill: when it was made, if it never waited."""
        status, settled_us, created_us = (
            self.get_attribute(payment, name, None) for name in ("status", "settled_us", "created_us")
        )
        if status == Status.PENDING:
            return None
        return rfc_3339(created_us if settled_us is None else settled_us)


class RefundAnswer(Answer):
    """A refund."""

    id = fields.Integer()
    payment_id = fields.Integer()
    amount = fields.Integer()
    reason = fields.String()
    created_at = Timestamp(attribute="created_us")
    reference = fields.String(dump_default=None)


class LateMoneyAnswer(Answer):
    """Money that came late, and what became of it."""

    payment_id = fields.Integer()
    amount = fields.Integer()
    came_at = Timestamp(attribute="came_us")
    resolution = fields.String()
    reference = fields.String()
    resolved_at = Timestamp(attribute="resolved_us")


class BillAnswer(Answer):
    """What an order costs, and what is left to pay."""

    order_id = fields.Integer()
    total = fields.Integer()
    paid = fields.Integer(attribute="net_paid")
    pending = fields.Integer()
    remaining = fields.Integer()
    settled = fields.Boolean(attribute="is_settled")


class FailureAnswer(Answer):
    """A failed attempt to tell a neighbour."""

    at = Timestamp(attribute="at_us")
    cause = fields.String(attribute="outcome")
    error = fields.String()


class NotificationAnswer(Answer):
    """A notification as operators see it."""

    id = fields.Integer()
    service = fields.String()
    target_id = fields.Integer()
    payment_id = fields.Integer()
    state = fields.String()
    told = fields.String()
    attempts = fields.Integer()
    next_attempt_at = fields.Method("_next_attempt_at")
    last_error = fields.String()
    cause = fields.Method("_cause")
    failures = fields.Method("_failures")
    created_at = Timestamp(attribute="created_us")
    settled_at = Timestamp(attribute="settled_us")

    def _next_attempt_at(self, row: Mapping[str, Any]) -> str | None:
        return None if row["settled_us"] is not None else rfc_3339(row["next_attempt_us"])

    def _cause(self, row: Mapping[str, Any]) -> str | None:
        outcome: str | None = row["last_outcome"]
        return None if outcome == Outcome.DELIVERED else outcome

    def _failures(self, row: Mapping[str, Any]) -> Any:
        return _failures.dump(row.get("failures") or (), many=True)  # events of before 0006 have none


_failures = FailureAnswer()


class FailedByAnswer(Answer):
    """How many notifications are in a state, and why."""

    state = fields.String()
    cause = fields.String(attribute="outcome")
    notifications = fields.Integer()


class NeighbourAnswer(Answer):
    """What a neighbour has not been told."""

    service = fields.String()
    waiting = fields.Integer()
    dead = fields.Integer()
    oldest_waiting_at = Timestamp(attribute="oldest_waiting_us")
    circuit = fields.String()
    causes = fields.List(fields.Nested(FailedByAnswer))


class TakingsAnswer(Answer):
    """What came in and went out by one method."""

    method = fields.String()
    payments = fields.Integer()
    gross = fields.Integer()
    refunds = fields.Integer()
    net = fields.Integer()


class LateSumsAnswer(Answer):
    """What came late on a day."""

    payments = fields.Integer()
    amount = fields.Integer()
    open = fields.Integer()


class DailyReportAnswer(Answer):
    """The closing of a day."""

    date = fields.Date(attribute="day.date")
    time_zone = fields.String(attribute="day.time_zone")
    begins_at = Timestamp(attribute="day.begins_us")
    ends_at = Timestamp(attribute="day.ends_us")
    methods = fields.List(fields.Nested(TakingsAnswer))
    payments = fields.Integer()
    gross = fields.Integer()
    refunds = fields.Integer()
    net = fields.Integer()
    late = fields.Nested(LateSumsAnswer)


class HourAnswer(Answer):
    """The takings of one hour."""

    starts_at = Timestamp(attribute="starts_us")
    hour = fields.String()
    methods = fields.List(fields.Nested(TakingsAnswer))
    payments = fields.Integer()
    gross = fields.Integer()
    refunds = fields.Integer()
    net = fields.Integer()


class HourlyReportAnswer(Answer):
    """A day hour by hour."""

    date = fields.Date(attribute="day.date")
    time_zone = fields.String(attribute="day.time_zone")
    begins_at = Timestamp(attribute="day.begins_us")
    ends_at = Timestamp(attribute="day.ends_us")
    hours = fields.List(fields.Nested(HourAnswer))


class KeyAnswer(Answer):
    """An API key, without what lets its client in."""

    id = fields.String()
    client = fields.String()
    scopes = fields.Function(lambda row: row["scopes"].split())
    created_at = Timestamp(attribute="created_us")
    expires_at = Timestamp(attribute="expires_us")
    revoked_at = Timestamp(attribute="revoked_us")
    last_used_at = Timestamp(attribute="last_used_us")
    state = fields.String()


class MadeKeyAnswer(Answer):
    """An API key, the one time that it is shown."""

    id = fields.String()
    key = fields.String()
    client = fields.String()
    scopes = fields.Function(lambda row: row["scopes"].split())
    expires_at = Timestamp(attribute="expires_us")


class CallerAnswer(Answer):
    """Who calls, by the API key that it calls with."""

    client = fields.String()
    key_id = fields.String(attribute="id")
    scopes = fields.Method("_scopes")
    expires_at = Timestamp(attribute="expires_us")

    def _scopes(self, key: Any) -> list[str]:
        return sorted(self.get_attribute(key, "scopes", ()))


class ReconciliationAnswer(Answer):
    """A reconciliation, and how far it is."""

    id = fields.String()
    state = fields.Method("_state")
    since = fields.String()
    service = fields.String()
    repair = fields.Boolean()
    progress = fields.Method("_progress")
    agrees = fields.Integer()
    waiting = fields.Integer()
    differs = fields.Integer()
    of_unknown = fields.Integer(attribute="unknown", data_key="unknown")  # Marshmallow has one of its own
    unanswered = fields.Integer()
    told_again = fields.Integer()
    findings_kept = fields.Method("_findings_kept")
    error = fields.String()
    created_at = Timestamp(attribute="created_us")
    started_at = Timestamp(attribute="started_us")
    finished_at = Timestamp(attribute="finished_us")

    def _state(self, row: Mapping[str, Any]) -> str:
        if row["state"] != ReconciliationState.OPEN:
            return str(row["state"])
        return "waiting" if row["started_us"] is None else "running"

    def _progress(self, row: Mapping[str, Any]) -> float:
        if row["state"] == ReconciliationState.FINISHED:
            return 1.0
        if row["first_us"] is None:
            return 0.0
        came_us: int = row["after_us"] - row["first_us"]
        span_us: int = row["last_us"] - row["first_us"]
        return round(min(max(came_us, 0) / max(span_us, 1), 1.0), 4)

    def _findings_kept(self, row: Mapping[str, Any]) -> int:
        found = sum(int(row[verdict]) for verdict in DISAGREEMENTS)
        return min(found, FINDINGS_MAX)


class FindingAnswer(Answer):
    """An order or guest that did not agree."""

    service = fields.String()
    target_id = fields.Integer()
    payment_id = fields.Integer()
    verdict = fields.String()
    expected = fields.String()
    found = fields.String()
    error = fields.String()
