"""The `Date` of an answer is that of its second, not of one before."""

import asyncio
import socket
import time

import pytest
import uvicorn

from payment.web.server import Server


def nothing() -> None:
    """What happens meanwhile is not looked at."""


def test_a_date_changes_with_the_second_in_whatever_tick_that_is(monkeypatch: pytest.MonkeyPatch) -> None:
    config = uvicorn.Config("app:app", log_config=None)
    with socket.socket() as listener:
        server = Server(
            config,
            listener=listener,
            listening=nothing,
            ending=nothing,
            last_requests=nothing,
            too_late=nothing,
        )
        said = []
        for counter, now_s in enumerate([1000.85, 1000.95, 1001.05, 1001.15, 1002.05]):
            monkeypatch.setattr(time, "time", lambda now_s=now_s: now_s)
            assert asyncio.run(server.on_tick(counter)) is False
            said.append(dict(server.server_state.default_headers)[b"date"][-6:-4])
    assert said == [b"40", b"40", b"41", b"41", b"42"]
