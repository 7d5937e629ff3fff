"""Our API against its own description, by Schemathesis: what it generates must be answered as described."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from key_holders import holder
from processes import Service

CONFIG = Path(__file__).with_name("schemathesis.toml")
HOOKS = Path(__file__).with_name("schemathesis_hooks.py")
WITHOUT_KEYS = """
[generation]
with-security-parameters = false
[checks.ignored_auth]
enabled = false
"""
WITH_A_KEY = """
[generation]
with-security-parameters = false
[auth.openapi.apiKey]
bearer = "{key}"
"""
PHASES = ("Examples", "Coverage", "Fuzzing", "Stateful")


def run_schemathesis(service: Service, folder: Path, rounds: range, key: str = "") -> str:
    """Have it generate requests, with an API key if there is one; return what it says, without a fault."""
    config = CONFIG.read_text() + (WITH_A_KEY.format(key=key) if key else WITHOUT_KEYS)
    file = folder / "schemathesis.toml"  # not its command line: everybody sees that
    file.write_text(config)
    ran = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(file)),
            *("run", f"{service.url}/openapi.json", "--no-color", "--max-examples", str(len(rounds))),
        ],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"SCHEMATHESIS_HOOKS": str(HOOKS), "OWN_KEY_ID": key.split("_")[1] if key else ""},
        timeout=240,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-6000:]
    for phase in PHASES:
        assert re.search(rf"✅  {phase}", ran.stdout), f"{phase} did not run:\n{ran.stdout}"
    return ran.stdout


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_whatever_is_generated_is_answered_as_described(
    start_alone: Service, tmp_path: Path, rounds: range
) -> None:
    said = run_schemathesis(start_alone, tmp_path, rounds)
    covered = re.search(r"API Links: +(\d+) covered / (\d+) selected", said)
    assert covered, said
    assert int(covered[1]) > 0, "links between operations are followed"


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_no_way_around_the_key_is_found(
    start_keyed: Callable[..., Service], tmp_path: Path, rounds: range
) -> None:
    """All of that on the other database, with a key: `ignored_auth` sends each request without it, too."""
    service = start_keyed()
    run_schemathesis(service, tmp_path, rounds, holder(service, "admin").key)
