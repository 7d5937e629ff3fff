"""Who asked for a change, and in which request: what an event says beside what happened. Pure."""

from payment.core.record import record

ANYBODY = "anybody"
"""The actor where no API keys are asked for (AUTH=none)."""

EXPIRY = "expiry"
"""The actor of payments that nobody settled in time."""

WORKER = "worker"
"""The actor that gives up telling."""


@record(frozen=True, slots=True)
class Cause:
    """What a change comes from.

    Attributes:
        actor: who: `<client>/<id of its key>`, `cli:<user of the system>`, or one of the names above.
        request_id: the request's `X-Request-Id`; None if there was no request.
        traceparent: the trace that it belongs to (W3C Trace Context), None if it has none.
    """

    actor: str = ANYBODY
    request_id: str | None = None
    traceparent: str | None = None


def actor_of_key(client: str, key_id: str) -> str:
    """Return the actor that a client with this key is."""
    return f"{client}/{key_id}"


def actor_of_user(name: str) -> str:
    """Return the actor that a user of the system is, at the command line."""
    return f"cli:{name}"
