"""Judgements: write what became of claims, give their leases back, and leave the repeats that are needed.

A PUT without an answer may still be applied, after something newer. So the newest state is told once more
when that can no longer happen: a repeat, a row of its own that waits until then.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Connection, bindparam, case, select, update

from payment.core.cause import WORKER, Cause
from payment.core.neighbours import Neighbour
from payment.core.states import OUTAGES, EventType, Outcome, State
from payment.ledger.claims import WAITING, Claim
from payment.ledger.leases import release
from payment.ledger.outbox import note
from payment.storage.statements import update_rows
from payment.storage.tables import notifications

_row = notifications.c

FAILURES_MAX = 10
"""How many of a notification's failed attempts are remembered: the last ones."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What became of a claim.

    Attributes:
        state: `waiting` if it is to be tried again at `next_attempt_us`.
        not_before_us: the neighbour asked not to hear of it before (Retry-After).
        resend_us: see `Claim`; later if this attempt had no answer either.
    """

    claim: Claim
    state: State
    outcome: Outcome
    error: str | None = None
    next_attempt_us: int = 0
    not_before_us: int | None = None
    unknown_since_us: int | None = None
    resend_us: int | None = None


class Repeat(NamedTuple):
    """When the newest state is to be told once more, and since when the retry policy is patient with that."""

    at_us: int
    due_since_us: int


def repeat_after(judgement: Judgement, *, is_ours: bool, now_us: int) -> Repeat | None:
    """Say whether the newest state must be told once more because of an attempt without an answer. Pure.

    Args:
        judgement: what became of the claim.
        is_ours: False if another worker finished the claim's row meanwhile, as our lease had run out.
        now_us: the time, microseconds since the epoch.
    """
    if judgement.resend_us is None or judgement.resend_us <= now_us:
        return None  # every attempt was answered, or can no longer be applied
    if judgement.state is State.WAITING and is_ours:
        return None  # the retry will tell the newest state
    if judgement.state is State.DEAD and judgement.outcome in OUTAGES:  # it was tried until it was too old
        if judgement.claim.is_repeat:
            return None  # else each repeat would leave another one, for ever
        return Repeat(judgement.resend_us, judgement.claim.due_since_us)
    return Repeat(judgement.resend_us, judgement.resend_us)


def repeat_after_lost_lease(judgement: Judgement, *, now_us: int) -> Repeat:
    """Say when to tell the newest state once more after our lease ran out while we told.

    Whoever took the lease may have told something newer before our PUT arrived.
    """
    at_us = max(judgement.resend_us or now_us, now_us)
    return Repeat(at_us, at_us)


def failures_after(before: list[Any] | None, judgement: Judgement, now_us: int) -> list[Any] | None:
    """Return the failed attempts that a notification remembers after one more attempt, oldest first. Pure.

    Args:
        before: those before it; None if there were none.
        judgement: what became of the attempt.
        now_us: the time, microseconds since the epoch.
    """
    if judgement.outcome is Outcome.DELIVERED:
        return before
    failure = {"at_us": now_us, "outcome": judgement.outcome, "error": judgement.error}
    return [*(before or ()), failure][-FAILURES_MAX:]


_STILL_WAITING = (
    select(_row.id)
    .where(_row.id.in_(bindparam("ids", type_=BigInteger, expanding=True)), _row.state == State.WAITING)
    .order_by(_row.id)
    .with_for_update()
)
_STILL_WAITING_AND_FAILURES = _STILL_WAITING.add_columns(_row.failures)


def record(
    connection: Connection,
    neighbour: Neighbour,
    owner: str,
    judgements: Sequence[Judgement],
    now_us: int,
) -> None:
    """Write what became of claims and give their leases back."""
    if not judgements:
        return
    # a row that another worker finished meanwhile, because our lease ran out, stays as it is
    asked = {"ids": [item.claim.id for item in judgements]}
    has_failed = any(item.outcome is not Outcome.DELIVERED for item in judgements)
    query = _STILL_WAITING_AND_FAILURES if has_failed else _STILL_WAITING
    ours = {row.id: row for row in connection.execute(query, asked)}
    changed = [
        {
            "id": item.claim.id,
            "state": item.state,
            "told": item.claim.status if item.state is State.DELIVERED else None,
            "attempts": item.claim.attempts + 1,
            "next_attempt_us": item.next_attempt_us,
            "last_outcome": item.outcome,
            "last_error": item.error,
            "not_before_us": item.not_before_us,
            "due_since_us": item.claim.due_since_us,
            "unknown_since_us": item.unknown_since_us,
            "resend_us": item.resend_us,
            "settled_us": None if item.state is State.WAITING else now_us,
            **(
                {"failures": failures_after(ours[item.claim.id].failures, item, now_us)} if has_failed else {}
            ),
        }
        for item in judgements
        if item.claim.id in ours
    ]
    update_rows(connection, notifications, changed)
    died = {item.claim.id: item for item in judgements if item.claim.id in ours and item.state is State.DEAD}
    if died:
        causes = {
            each: Cause(WORKER, item.claim.request_id, item.claim.traceparent) for each, item in died.items()
        }
        note(connection, EventType.NOTIFICATION_DEAD, causes, now_us)
    for item in judgements:
        repeat = repeat_after(item, is_ours=item.claim.id in ours, now_us=now_us)
        if repeat is not None:
            _leave(connection, item.claim, repeat, now_us)
    released = release(connection, neighbour, owner, [item.claim.target_id for item in judgements])
    for item in judgements:
        if item.claim.target_id not in released:
            _leave(connection, item.claim, repeat_after_lost_lease(item, now_us=now_us), now_us)


_AGAIN_US = bindparam("again_us", type_=BigInteger)
_PUT_OFF = (
    update(notifications)
    .where(
        WAITING,
        _row.target_id == bindparam("of_target"),
        _row.is_repeat,
        _row.last_outcome.is_(None),
        _row.id != bindparam("but_id"),  # one that is being sent is no later one
    )
    .values(next_attempt_us=case((_row.next_attempt_us > _AGAIN_US, _row.next_attempt_us), else_=_AGAIN_US))
)


def _leave(connection: Connection, claim: Claim, repeat: Repeat, now_us: int) -> None:
    """Put off the repeat that waits for the claim's target, or leave a first one."""
    which = {
        "of_service": claim.neighbour.name,
        "of_target": claim.target_id,
        "but_id": claim.id,
        "again_us": repeat.at_us,
    }
    if connection.execute(_PUT_OFF, which).rowcount:
        return
    row = {
        "service": claim.neighbour.name,
        "target_id": claim.target_id,
        "payment_id": claim.payment_id,
        "traceparent": claim.traceparent,
        "request_id": claim.request_id,
        "state": State.WAITING,
        "next_attempt_us": repeat.at_us,
        "is_repeat": True,
        "created_us": now_us,
        "due_since_us": repeat.due_since_us,
    }
    connection.execute(notifications.insert(), row)
