"""Who calls: a client with its key, or anybody where no keys are asked for."""

from collections.abc import Callable
from dataclasses import dataclass, field

from payment.core.cause import ANYBODY
from payment.ledger.key_ring import ActiveKey


def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls.

    Attributes:
        client: whose idempotency keys these are; empty for anybody.
        actor: what events say of it, see `Cause`.
        is_allowed: says whether it may still go on, for whoever answers it for long.
        key: what it calls with; None where no keys are asked for.
    """

    client: str
    actor: str
    is_allowed: Callable[[], bool] = field(default=_always, compare=False, repr=False)
    key: ActiveKey | None = None


NOBODY_IN_PARTICULAR = Caller(client="", actor=ANYBODY)
"""The caller where no API keys are asked for (AUTH=none)."""
