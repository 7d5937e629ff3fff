"""The circuit breaker of a lane: when a neighbour is down, one probe at a time instead of a storm. Pure.

    PROBING --answered--> CLOSED --`failures_max` failures in a row--> OPEN --wait over--> PROBING
       '-----failed-----> OPEN

A lane starts in PROBING: a worker that has just started does not know how its neighbour is. All times are
microseconds of a clock that nobody sets.
"""

from dataclasses import dataclass
from enum import StrEnum

from payment.core.units import SECOND_US


class CircuitState(StrEnum):
    """Whether a lane sends freely, one at a time, or not at all."""

    CLOSED = "closed"
    OPEN = "open"
    PROBING = "probing"


@dataclass(slots=True)
class Circuit:
    """What one worker knows of one neighbour's health.

    Only the lane's own thread tells it of answers and failures; the senders' threads read its state too.

    Attributes:
        failures_max: failures in a row that open the circuit.
        probe_wait_s: the wait before the first probe; doubles up to `probe_wait_max_s`.
        probe_wait_max_s: the longest wait between probes: so long after its return a neighbour is noticed.
    """

    failures_max: int = 3
    probe_wait_s: float = 0.5
    probe_wait_max_s: float = 3.0
    _is_closed: bool = False
    _failures: int = 0
    _probes_failed: int = 0
    _open_until_us: int = 0

    @property
    def is_broken(self) -> bool:
        """Say whether the neighbour failed and has not answered since."""
        return not self._is_closed and self._probes_failed > 0

    def state(self, now_us: int) -> CircuitState:
        """Return the state at this time."""
        if self._is_closed:
            return CircuitState.CLOSED
        return CircuitState.OPEN if now_us < self._open_until_us else CircuitState.PROBING

    def wait_s(self, now_us: int) -> float:
        """Return how long the circuit stays open from now on, in seconds; 0 if it is not open."""
        if self.state(now_us) is not CircuitState.OPEN:
            return 0.0
        return (self._open_until_us - now_us) / SECOND_US

    def answered_well(self) -> bool:
        """Note that the neighbour is there.

        Returns:
            True if the circuit was open or probing. The caller then makes everything that failed during the
            outage due at once.
        """
        came_back = not self._is_closed
        self._is_closed = True
        self._failures = self._probes_failed = 0
        return came_back

    def failed(self, now_us: int, not_before_us: int = 0) -> bool:
        """Note a failure that says that the whole neighbour is down, slow, or set up wrong.

        Args:
            now_us: the time.
            not_before_us: the time before which the neighbour does not want to be asked again.

        Returns:
            True if it opened a circuit that was closed.
        """
        opens = self._is_closed
        if opens:
            self._failures += 1
            if self._failures < self.failures_max:
                return False
        elif self.state(now_us) is CircuitState.OPEN:
            # sent before the circuit opened: it says nothing new, unless it asks for more patience
            self._open_until_us = max(self._open_until_us, not_before_us)
            return False
        wait_s = min(self.probe_wait_max_s, self.probe_wait_s * 2.0 ** min(self._probes_failed, 30))
        self._is_closed = False
        self._probes_failed += 1
        self._open_until_us = max(now_us + round(wait_s * SECOND_US), not_before_us)
        return opens
