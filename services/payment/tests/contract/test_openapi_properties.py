"""Our API against its own description, by Schemathesis: what it generates must be answered as described."""

import os
import re
import subprocess
import sys
from pathlib import Path

from processes import Service

CONFIG = Path(__file__).with_name("schemathesis.toml")
HOOKS = Path(__file__).with_name("schemathesis_hooks.py")
PHASES = ("Examples", "Coverage", "Fuzzing", "Stateful")


def test_whatever_is_generated_is_answered_as_described(
    start_alone: Service, tmp_path: Path, rounds: range
) -> None:
    ran = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(CONFIG)),
            *("run", f"{start_alone.url}/openapi.json", "--no-color", "--max-examples", str(len(rounds))),
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"SCHEMATHESIS_HOOKS": str(HOOKS)},
        timeout=240,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-6000:]
    for phase in PHASES:
        assert re.search(rf"✅  {phase}", ran.stdout), f"{phase} did not run:\n{ran.stdout}"
    covered = re.search(r"API Links: +(\d+) covered / (\d+) selected", ran.stdout)
    assert covered, ran.stdout
    assert int(covered[1]) > 0, "links between operations are followed"
