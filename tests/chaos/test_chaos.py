"""`make chaos`, for half a minute: the promise is kept, and chaos did reign."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 20


@pytest.mark.slow
def test_every_promise_is_kept_for_half_a_minute_of_chaos() -> None:
    seed = random.randrange(2**32)
    ran = subprocess.run(
        [sys.executable, "tests/chaos/chaos.py", "--seconds", str(SECONDS), "--seed", str(seed)],
        cwd=ROOT,
        env={"PYTHONPATH": "services/payment/tests", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    said = ran.stdout + ran.stderr
    assert ran.returncode == 0, said
    first, *_, line = ran.stdout.splitlines()
    assert first == f"SEED={seed}"
    figures = {name: float(value) for name, value in (pair.split("=") for pair in line.split())}
    for name in ("kills_api", "kills_worker", "kills_postgresql", "freezes", "faults", "rejected"):
        assert figures[name] > 0, said
    for name in ("shared", "settled", "refunds"):
        assert figures[name] > 10, said
    assert figures["payments"] > 100, said
    for name in ("lost", "doubled", "overpaid", "dead", "stale", "wrong_answers"):
        assert figures[name] == 0, said
