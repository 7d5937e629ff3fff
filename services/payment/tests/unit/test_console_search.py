"""What somebody types into the search box, and what it may mean."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment.console.search import Wanted, read

TODAY = date(2026, 11, 27)


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("7", Wanted(payment_id=7, order_id=7, user_id=7, amount=7, reference="7")),
        ("20000", Wanted(payment_id=20000, order_id=20000, user_id=20000, amount=20000, reference="20000")),
        ("20.000", Wanted(amount=20000, reference="20.000")),
        ("20,000", Wanted(amount=20000, reference="20,000")),
        ("1.250.000", Wanted(amount=1_250_000, reference="1.250.000")),
        ("Rp 20.000", Wanted(amount=20000)),
        ("rp20000", Wanted(amount=20000, reference="rp20000")),
        ("Rp. 20.000,-", Wanted(amount=20000)),
        ("20.000,00", Wanted(amount=20000, reference="20.000,00")),
        ("20rb", Wanted(amount=20000, reference="20rb")),
        ("2 juta", Wanted(amount=2_000_000)),
        ("#7", Wanted(payment_id=7)),
        ("Pembayaran 7", Wanted(payment_id=7)),
        ("payment: 7", Wanted(payment_id=7)),
        ("pesanan 12", Wanted(order_id=12)),
        ("ORDER #12", Wanted(order_id=12)),
        ("tamu 3", Wanted(user_id=3)),
        ("guest 3", Wanted(user_id=3)),
        ("2026-01-31", Wanted(day=date(2026, 1, 31))),
        ("31/1/2026", Wanted(day=date(2026, 1, 31))),
        ("31.01.2026", Wanted(day=date(2026, 1, 31))),
        ("hari  ini", Wanted(day=TODAY)),
        ("Yesterday", Wanted(day=date(2026, 11, 26))),
        ("31/2/2026", Wanted(reference="31/2/2026")),
        ("2026-02-30", Wanted(reference="2026-02-30")),
        ("0", Wanted(reference="0")),
        ("9" * 17, Wanted(reference="9" * 17)),
        (" QR-7712 ", Wanted(reference="QR-7712")),
        ("x" * 65, Wanted()),
        ("20.0", Wanted(reference="20.0")),
        ("-7", Wanted(reference="-7")),
        ("nasi goreng", Wanted()),
        ("", Wanted()),
    ],
)
def test_it_means(typed: str, wanted: Wanted) -> None:
    assert read(typed, TODAY) == wanted


@given(st.text())
def test_whatever_is_typed_means_something_or_nothing(typed: str) -> None:
    read(typed, TODAY)
