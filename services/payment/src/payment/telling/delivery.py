"""One delivery: send it, judge its result."""

import secrets

from payment.core.retry_policy import RetryPolicy
from payment.core.states import Outcome, State
from payment.ledger.claims import Claim
from payment.ledger.judgements import Judgement
from payment.telling.downstream import DeliveryResult, NeighbourClient


def send(client: NeighbourClient, claim: Claim) -> DeliveryResult:
    """Tell the neighbour what the claim says. Takes up to the client's time-outs."""
    return client.tell(
        claim.target_id,
        claim.status,
        # the creation time keeps the keys of two databases apart, should one be started anew
        idempotency_key=f"notification-{claim.id}-{claim.created_us}-{claim.status}",
        traceparent=child_of(claim.traceparent),
    )


def child_of(traceparent: str | None) -> str:
    """Return a `traceparent` for a call within the given trace, or in a new one (W3C Trace Context)."""
    if traceparent is None:
        return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
    _, trace_id, _, flags = traceparent.split("-")
    return f"00-{trace_id}-{secrets.token_hex(8)}-{flags}"


def judge_delivery(
    claim: Claim,
    result: DeliveryResult,
    policy: RetryPolicy,
    *,
    now_us: int,
    jitter: float,
    resend_after_us: int,
) -> Judgement:
    """Decide what becomes of a claim. Pure.

    Args:
        claim: what was to be told.
        result: what came of it.
        policy: when to try again, when to give up.
        now_us: the time, microseconds since the epoch.
        jitter: a number from 0 to 1, evenly drawn.
        resend_after_us: how long after an attempt without an answer the newest state is told again.
    """
    resend_us = now_us + resend_after_us if result.may_come_late else claim.resend_us
    unknown_since_us = None
    if result.outcome is Outcome.DELIVERED:
        return Judgement(claim, State.DELIVERED, result.outcome, resend_us=resend_us)
    if result.outcome is Outcome.UNKNOWN:
        unknown_since_us = claim.unknown_since_us or now_us
        hopeless = policy.is_unknown_for_good(unknown_since_us, now_us)
    else:
        hopeless = result.outcome is Outcome.REJECTED
    state = State.DEAD if hopeless or policy.is_exhausted(claim.due_since_us, now_us) else State.WAITING
    return Judgement(
        claim,
        state,
        result.outcome,
        error=result.error,
        next_attempt_us=policy.next_attempt_at(claim.attempts + 1, now_us, jitter, result.retry_after_s),
        not_before_us=policy.not_before(now_us, result.retry_after_s),
        unknown_since_us=unknown_since_us,
        resend_us=resend_us,
    )
