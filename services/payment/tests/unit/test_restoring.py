"""How far ids go on after a restore."""

from hypothesis import given
from hypothesis import strategies as st

from payment.ledger.restoring import IDS_PER_S, SPARE_S, bound

HOUR_US = 3_600_000_000
LAST = st.integers(0, 2**50)


@given(LAST, st.integers(-HOUR_US, 100 * 365 * 24 * HOUR_US))
def test_no_database_can_have_passed_the_bound(last: int, elapsed_us: int) -> None:
    given_since = IDS_PER_S * (max(0, elapsed_us) // 1_000_000 + SPARE_S)
    assert last + given_since <= bound(last, elapsed_us) < last + 2 * given_since


def test_a_payment_after_a_restore_is_recognised() -> None:
    assert bound(5_012, 12 * HOUR_US) == 1_000_000_000
    assert bound(1_000_000_731, 12 * HOUR_US) == 2_000_000_000
