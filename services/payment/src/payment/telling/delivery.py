"""One delivery: send it, judge its result."""

import secrets
from urllib.parse import urlsplit

from structlog.typing import FilteringBoundLogger

from payment.core.retry_policy import RetryPolicy
from payment.core.states import Outcome, State
from payment.core.tracing import Attributes, Kind, Tracer
from payment.ledger.claims import Claim
from payment.ledger.judgements import Judgement
from payment.telling.downstream import DeliveryResult, NeighbourClient


def send(client: NeighbourClient, claim: Claim, tracer: Tracer | None = None) -> DeliveryResult:
    """Tell the neighbour what the claim says, within a span if there is a tracer.

    Takes up to the client's time-outs.
    """
    if tracer is None:
        return _tell(client, claim, child_of(claim.traceparent))
    url = urlsplit(client.put_route.removeprefix("PUT "))  # with {order_id}: no span names a guest
    facts: Attributes = {
        "http.request.method": "PUT",
        "url.template": url.path,
        "server.address": url.hostname or "",
        "server.port": url.port or (443 if url.scheme == "https" else 80),
        "payment.service": client.neighbour.name,
        "payment.id": claim.payment_id,
        "payment.notification.id": claim.id,
        "payment.attempt": claim.attempts + 1,
    }
    span = tracer.begin(f"PUT {url.path}", Kind.CLIENT, claim.traceparent, facts)
    try:
        result = _tell(client, claim, span.traceparent)
    except Exception as error:
        span.end(error=type(error).__name__)
        raise
    outcome, status_code = result.outcome, result.status_code
    came: Attributes = {"payment.outcome": outcome.value}
    if status_code:
        came = {**came, "http.response.status_code": status_code}
    span.end(came, error=None if outcome is Outcome.DELIVERED else str(status_code or outcome.value))
    return result


def _tell(client: NeighbourClient, claim: Claim, traceparent: str) -> DeliveryResult:
    return client.tell(
        claim.target_id,
        claim.status,
        # the creation time keeps the keys of two databases apart, should one be started anew
        idempotency_key=f"notification-{claim.id}-{claim.created_us}-{claim.status}",
        traceparent=traceparent,
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


def log_judgement(log: FilteringBoundLogger, item: Judgement) -> None:
    """Say in the log what became of a delivery."""
    facts = {
        "notification": item.claim.id,
        "target_id": item.claim.target_id,
        "payment": item.claim.payment_id,
        "status": item.claim.status.value,
        "attempt": item.claim.attempts + 1,
        "request_id": item.claim.request_id,
    }
    if item.state is State.DELIVERED:
        log.debug("told", **facts)
    elif item.state is State.DEAD:
        log.error("gave up telling", error=item.error, **facts)
    else:
        log.warning("could not tell", error=item.error, **facts)
