"""What somebody looks for, as he types it: a number, an amount, a date, `pesanan 7`, a reference. Pure."""

import re
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

from payment.core.units import WHOLE_NUMBER_MAX, read_date

TEXT_MAX_CHARS = 100
_WORDS = {
    "payment": "payment_id",
    "pembayaran": "payment_id",
    "order": "order_id",
    "pesanan": "order_id",
    "guest": "user_id",
    "user": "user_id",
    "tamu": "user_id",
}
_NAMED = re.compile(rf"(?:({'|'.join(_WORDS)})\s*[:#]?\s*|#)(\d{{1,16}})", re.ASCII)
_AMOUNT = re.compile(
    r"(rp\.?\s*)?(\d{1,3}(?:[.,]\d{3})+|\d{1,16})(?:,-|,00|\.00)?\s*(rb|ribu|k|jt|juta)?",
    re.ASCII,
)
_THOUSANDS = {"rb": 1000, "ribu": 1000, "k": 1000, "jt": 1_000_000, "juta": 1_000_000}
_REFERENCE = re.compile(r"[\x21-\x7e]{1,64}")
_DAY = re.compile(r"(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})", re.ASCII)
_DAYS_AGO = {"hari ini": 0, "today": 0, "kemarin": 1, "yesterday": 1}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a text may mean; None is what it cannot."""

    payment_id: int | None = None
    order_id: int | None = None
    user_id: int | None = None
    amount: int | None = None
    reference: str | None = None
    day: date | None = None


def read(text: str, today: date) -> Wanted:
    """Return what a text may mean.

    Args:
        text: as it was typed.
        today: the restaurant's date.
    """
    typed = text.strip()
    text = " ".join(text.lower().split())[:TEXT_MAX_CHARS]
    if (day := _read_day(text, today)) is not None:
        return Wanted(day=day)
    if named := _NAMED.fullmatch(text):
        meant: dict[str, Any] = {_WORDS[named[1] or "payment"]: _number(named[2])}
        return Wanted(**meant)
    # whatever else it may be, somebody's provider may call a payment so
    meant_by_provider = Wanted(reference=typed if _REFERENCE.fullmatch(typed) else None)
    found = _AMOUNT.fullmatch(text)
    if found is None:
        return meant_by_provider
    number = _number(re.sub("[.,]", "", found[2]), _THOUSANDS.get(found[3] or "", 1))
    if text.isdigit():
        return replace(meant_by_provider, payment_id=number, order_id=number, user_id=number, amount=number)
    return replace(meant_by_provider, amount=number)


def _read_day(text: str, today: date) -> date | None:
    if text in _DAYS_AGO:
        return today - timedelta(days=_DAYS_AGO[text])
    found = _DAY.fullmatch(text)
    try:
        return date(int(found[3]), int(found[2]), int(found[1])) if found else read_date(text)
    except ValueError:
        return None


def _number(digits: str, times: int = 1) -> int | None:
    number = int(digits[:17]) * times
    return number if 1 <= number <= WHOLE_NUMBER_MAX else None
