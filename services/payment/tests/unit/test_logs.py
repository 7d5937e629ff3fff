"""Lines of the log: whatever is in them, and whatever becomes of where they go."""

import io
import json
from typing import Any

import pytest

from payment.core.logs import Lines, as_json


@pytest.mark.parametrize("value", [2**70, "½ Rp 20.000", "\ud800", {"deep": [1, None]}, {1: "one"}])
def test_a_line_is_json_whatever_is_in_it(value: Any) -> None:
    line = as_json({"event": "request", "value": value}, default=repr)
    assert "\n" not in line
    read = json.loads(line)["value"]
    assert read == ({"1": "one"} if value == {1: "one"} else value)


def test_what_json_has_no_word_for_is_written_as_it_is_told() -> None:
    assert json.loads(as_json({"value": {1, 2}}, default=sorted)) == {"value": [1, 2]}


def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    class Broken(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    Lines(Broken()).info("nobody reads this")
    closed = io.StringIO()
    closed.close()
    Lines(closed).info("nor this")
