"""The circuit breaker: examples to read, and a machine that does anything in any order."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from payment.core.units import SECOND_US
from payment.telling.circuit import Circuit, CircuitState

NOW_US = 1_700_000_000 * SECOND_US


def closed() -> Circuit:
    circuit = Circuit()
    circuit.answered_well()
    return circuit


def opened(now_us: int = NOW_US) -> Circuit:
    circuit = closed()
    while circuit.state(now_us) is CircuitState.CLOSED:
        circuit.failed(now_us)
    return circuit


def test_a_lane_starts_with_a_probe() -> None:
    """A worker that has just started does not know how its neighbour is."""
    circuit = Circuit()
    assert circuit.state(NOW_US) is CircuitState.PROBING
    assert circuit.wait_s(NOW_US) == 0


def test_an_answer_closes_it_and_says_that_the_neighbour_came_back_once() -> None:
    circuit = Circuit()
    assert circuit.answered_well() is True
    assert circuit.state(NOW_US) is CircuitState.CLOSED
    assert circuit.answered_well() is False


def test_it_opens_at_the_third_failure_in_a_row() -> None:
    circuit = closed()
    assert [circuit.failed(NOW_US) for _ in range(3)] == [False, False, True]
    assert circuit.state(NOW_US) is CircuitState.OPEN
    assert circuit.wait_s(NOW_US) == 0.5


def test_an_answer_between_failures_starts_the_count_anew() -> None:
    circuit = closed()
    for _ in range(10):
        assert circuit.failed(NOW_US) is False
        assert circuit.failed(NOW_US) is False
        assert circuit.answered_well() is False
    assert circuit.state(NOW_US) is CircuitState.CLOSED


@pytest.mark.parametrize("failures_max", [1, 2, 7])
def test_how_many_failures_open_it_can_be_said(failures_max: int) -> None:
    circuit = Circuit(failures_max=failures_max)
    circuit.answered_well()
    said = [circuit.failed(NOW_US) for _ in range(failures_max)]
    assert said == [False] * (failures_max - 1) + [True]


def test_it_stays_open_until_its_wait_is_over_and_then_probes() -> None:
    circuit = opened()
    assert circuit.state(NOW_US + 499_999) is CircuitState.OPEN
    assert circuit.wait_s(NOW_US + 499_999) == pytest.approx(0.000001)
    assert circuit.state(NOW_US + 500_000) is CircuitState.PROBING
    assert circuit.wait_s(NOW_US + 500_000) == 0


def test_probes_come_after_half_a_second_then_less_often_but_every_three_seconds() -> None:
    circuit, now_us, waits_s = opened(), NOW_US, []
    for _ in range(6):
        waits_s.append(circuit.wait_s(now_us))
        now_us += round(circuit.wait_s(now_us) * SECOND_US)
        assert circuit.failed(now_us) is False, "it was open before: nothing opens"
    assert waits_s == [0.5, 1.0, 2.0, 3.0, 3.0, 3.0]


def test_one_good_probe_closes_it_and_the_next_outage_probes_as_quickly_as_the_first() -> None:
    circuit, now_us = opened(), NOW_US
    for _ in range(5):
        now_us += round(circuit.wait_s(now_us) * SECOND_US)
        circuit.failed(now_us)
    assert circuit.answered_well() is True
    assert circuit.state(now_us) is CircuitState.CLOSED
    assert [circuit.failed(now_us) for _ in range(3)] == [False, False, True]
    assert circuit.wait_s(now_us) == 0.5


def test_failures_of_what_was_under_way_when_it_opened_do_not_prolong_it() -> None:
    circuit = opened()
    for later_us in (1, 100_000, 499_999):
        assert circuit.failed(NOW_US + later_us) is False
    assert circuit.state(NOW_US + 500_000) is CircuitState.PROBING


def test_a_wait_that_the_neighbour_asks_for_is_kept() -> None:
    circuit = closed()
    circuit.failed(NOW_US)
    circuit.failed(NOW_US)
    assert circuit.failed(NOW_US, NOW_US + 60 * SECOND_US) is True
    assert circuit.state(NOW_US + 60 * SECOND_US - 1) is CircuitState.OPEN
    assert circuit.state(NOW_US + 60 * SECOND_US) is CircuitState.PROBING


def test_a_wait_that_is_asked_for_when_it_is_open_already_is_kept_too() -> None:
    circuit = opened()
    assert circuit.failed(NOW_US + 1, NOW_US + 60 * SECOND_US) is False
    assert circuit.state(NOW_US + 60 * SECOND_US - 1) is CircuitState.OPEN
    assert circuit.state(NOW_US + 60 * SECOND_US) is CircuitState.PROBING


def test_a_shorter_wait_asked_for_does_not_end_a_longer_one() -> None:
    """Of two that were under way, one was told "in a minute", the other "in a second": a minute it is."""
    circuit = opened()
    circuit.failed(NOW_US, NOW_US + 60 * SECOND_US)
    circuit.failed(NOW_US, NOW_US + SECOND_US)
    assert circuit.state(NOW_US + 60 * SECOND_US - 1) is CircuitState.OPEN


def test_a_single_failure_of_a_neighbour_that_is_well_stops_nothing_even_if_it_asks_for_a_wait() -> None:
    """That wait is the notification's own; one throttled request is no outage."""
    circuit = closed()
    assert circuit.failed(NOW_US, NOW_US + 3600 * SECOND_US) is False
    assert circuit.state(NOW_US) is CircuitState.CLOSED


def test_an_answer_ends_even_a_wait_that_was_asked_for() -> None:
    circuit = opened()
    circuit.failed(NOW_US, NOW_US + 3600 * SECOND_US)
    assert circuit.answered_well() is True
    assert circuit.state(NOW_US) is CircuitState.CLOSED


class AnyOrder(RuleBasedStateMachine):
    """Answers, failures and time in any order; knows only what the outside has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.circuit = Circuit()
        self.now_us = NOW_US
        self.failures_max = 0
        self.was_closed = False
        self.failures_in_a_row = 0
        self.failed_us = NOW_US  # of the last failure that counted
        self.asked_until_us = NOW_US

    @initialize(
        failures_max=st.integers(1, 5),
        probe_wait_s=st.floats(0.01, 10),
        probe_wait_max_s=st.floats(0.01, 10),
    )
    def begin(self, failures_max: int, probe_wait_s: float, probe_wait_max_s: float) -> None:
        """Start with any circuit."""
        self.circuit = Circuit(failures_max, probe_wait_s, probe_wait_max_s)
        self.failures_max = failures_max

    @property
    def state(self) -> CircuitState:
        """The state now."""
        return self.circuit.state(self.now_us)

    @rule(pass_us=st.integers(0, 20 * SECOND_US))
    def time_passes(self, pass_us: int) -> None:
        """Only time: it may open the way for a probe, and do nothing else."""
        before = self.state
        self.now_us += pass_us
        assert self.state is before or (before, self.state) == (CircuitState.OPEN, CircuitState.PROBING)

    @precondition(lambda self: self.state is CircuitState.OPEN)
    @rule()
    def its_wait_passes(self) -> None:
        """Wait as long as the circuit says."""
        self.now_us += round(self.circuit.wait_s(self.now_us) * SECOND_US)
        assert self.state is CircuitState.PROBING, "wait_s said how long to wait for this"

    @rule()
    def it_answers_well(self) -> None:
        """An answer always closes it, and is a come-back exactly if it was not closed."""
        assert self.circuit.answered_well() is not self.was_closed
        assert self.state is CircuitState.CLOSED
        self.was_closed = True
        self.failures_in_a_row = 0

    @rule(asked_us=st.just(0) | st.integers(-10 * SECOND_US, 60 * SECOND_US))
    def it_fails(self, asked_us: int) -> None:
        """A failure opens it if it is one too many in a row."""
        before, until_us = self.state, self._open_until_us()
        not_before_us = self.now_us + asked_us if asked_us else 0
        opens = self.circuit.failed(self.now_us, not_before_us)
        self.failures_in_a_row += 1
        if before is CircuitState.CLOSED:
            assert opens is (self.failures_in_a_row >= self.failures_max)
        else:
            assert opens is False
        if before is CircuitState.OPEN:
            assert self._open_until_us() == max(until_us, not_before_us), "sent before it opened: no news"
        elif before is CircuitState.PROBING or opens:
            assert self.state is CircuitState.OPEN
            assert self._open_until_us() >= not_before_us
            self.failed_us = self.now_us
        if self.state is CircuitState.OPEN:
            self.asked_until_us = max(self.asked_until_us, not_before_us)
        self.was_closed = self.was_closed and not opens

    @invariant()
    def it_is_closed_exactly_if_the_last_news_was_good_enough(self) -> None:
        """Closed by an answer, opened by failures, changed by nothing else."""
        assert (self.state is CircuitState.CLOSED) is self.was_closed

    @invariant()
    def the_next_probe_is_near_unless_the_neighbour_asked_for_peace(self) -> None:
        """A neighbour that came back is not missed for long."""
        longest_us = round(self.circuit.probe_wait_max_s * SECOND_US)
        assert self._open_until_us() <= max(self.now_us, self.failed_us + longest_us, self.asked_until_us)

    @invariant()
    def it_waits_exactly_while_it_is_open(self) -> None:
        """There is a wait exactly while nothing may be sent."""
        assert (self.circuit.wait_s(self.now_us) > 0) is (self.state is CircuitState.OPEN)

    def _open_until_us(self) -> int:
        return self.now_us + round(self.circuit.wait_s(self.now_us) * SECOND_US)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
