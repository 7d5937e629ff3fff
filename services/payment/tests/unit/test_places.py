"""How long a process that died waits for its next start."""

from itertools import pairwise

from payment.supervision.place import PAUSE_MAX_S, pause_s


def test_pauses_double_up_to_half_a_minute_however_often_a_process_dies() -> None:
    pauses = [pause_s(deaths) for deaths in range(1, 5_000)]
    assert pauses[:4] == [0.25, 0.5, 1.0, 2.0]
    assert pauses[-1] == PAUSE_MAX_S == 30.0
    assert all(before <= after for before, after in pairwise(pauses))
