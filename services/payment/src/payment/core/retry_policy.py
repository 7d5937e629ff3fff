"""When to tell a neighbour again, and when to give up. Pure: pass in the time and the jitter.

The schedule is exponential with full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter"): the
wait before attempt n+1 is drawn evenly from 0 to min(wait_max_s, wait_initial_s * 2**(n-1)).
`tests/unit/test_retry_policy.py` prints it.
"""

from dataclasses import dataclass

from payment.core.units import SECOND_US


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How patient we are with a neighbour.

    Attributes:
        wait_initial_s: the longest wait after the first failed attempt.
        wait_max_s: the longest wait after any attempt.
        give_up_after_s: age at which news that could not be told is buried (`dead`).
        unknown_for_s: how long "unknown order" or "unknown user" is believed to be news that has not
            arrived there yet.
        retry_after_max_s: the longest `Retry-After` that is honoured.
    """

    wait_initial_s: float = 1.0
    wait_max_s: float = 3600.0
    give_up_after_s: float = 14 * 24 * 3600.0
    unknown_for_s: float = 3600.0
    retry_after_max_s: float = 3600.0

    def ceiling_s(self, attempt: int) -> float:
        """Return the longest wait after the given attempt (1 is the first), in seconds."""
        assert attempt >= 1
        # 2**63 s is past any limit; larger exponents would overflow a float
        return min(self.wait_max_s, self.wait_initial_s * 2.0 ** min(attempt - 1, 63))

    def next_attempt_at(
        self, attempt: int, now_us: int, jitter: float, retry_after_s: float | None = None
    ) -> int:
        """Say when to try again after a failed attempt.

        Args:
            attempt: number of the attempt that failed; 1 is the first.
            now_us: the time, microseconds since the epoch.
            jitter: a number from 0 to 1, evenly drawn.
            retry_after_s: what the neighbour asked for in `Retry-After`, seconds.

        Returns:
            The time of the next attempt, microseconds since the epoch; never before what the
            neighbour asked for, up to `retry_after_max_s`.
        """
        next_us = now_us + round(self.ceiling_s(attempt) * jitter * SECOND_US)
        return max(next_us, self.not_before(now_us, retry_after_s) or 0)

    def not_before(self, now_us: int, retry_after_s: float | None) -> int | None:
        """Return when the neighbour wants to be asked again at the earliest, None if it said nothing.

        `Retry-After`: RFC 9110, 10.2.3.
        """
        if retry_after_s is None:
            return None
        return now_us + round(min(max(retry_after_s, 0.0), self.retry_after_max_s) * SECOND_US)

    def is_exhausted(self, due_since_us: int, now_us: int) -> bool:
        """Say whether news waiting since `due_since_us` is too old to be tried again."""
        return now_us - due_since_us >= self.give_up_after_s * SECOND_US

    def is_unknown_for_good(self, unknown_since_us: int, now_us: int) -> bool:
        """Say whether a neighbour that has not known the id since then never will."""
        return now_us - unknown_since_us >= self.unknown_for_s * SECOND_US
