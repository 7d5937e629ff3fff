"""What is kept for how long: settings that must fit each other."""

import pytest

from payment.core.settings import read_settings
from setting_files import empty_environment, problems


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    empty_environment(monkeypatch)


def test_notifications_are_kept_for_as_long_as_any_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    long = str(100 * 24 * 3600)
    assert list(problems(monkeypatch, RETRY_FOR_S=long)) == ["NOTIFICATIONS_KEPT_D"]
    monkeypatch.setenv("NOTIFICATIONS_KEPT_D", "100")
    assert read_settings().notifications_kept_d == 100


def test_payments_are_kept_for_as_long_as_what_refers_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(problems(monkeypatch, PAYMENTS_KEPT_D="89")) == ["PAYMENTS_KEPT_D"]
    monkeypatch.setenv("PAYMENTS_KEPT_D", "90")
    assert read_settings().payments_kept_d == 90
    assert list(problems(monkeypatch, IDEMPOTENCY_KEPT_H=str(91 * 24))) == ["PAYMENTS_KEPT_D"]
