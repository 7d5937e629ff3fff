"""The stubs misbehave alike."""

from pathlib import Path

STUBS = Path(__file__).resolve().parents[4] / "services" / "stubs"


def test_both_stubs_have_the_same_faults() -> None:
    """Each stub is a program of its own, with its own copy; who edits one edits both."""
    assert (STUBS / "order" / "faults.py").read_bytes() == (STUBS / "user" / "faults.py").read_bytes()
