"""Our program, which says at SIGUSR1 what it has left to the garbage collector since it said so last.

A test forks it in place of `payment`. Nothing is collected meanwhile.
"""

import gc
import json
import runpy
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from processes import Service

PROGRAM = Path(__file__)
SAYS = "garbage: "


def left_by(service: Service) -> dict[str, int]:
    """Return what a service has left since it was last asked: how many objects of each type."""
    service.process.send_signal(signal.SIGUSR1)
    found: dict[str, int] = json.loads(service.process.line_with(SAYS).partition(SAYS)[2])
    return found


def _say(*_: Any) -> None:
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    types = Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.garbage)
    gc.set_debug(0)
    gc.garbage.clear()
    gc.collect()
    sys.stdout.write(f"{SAYS}{json.dumps(types)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _say)
    runpy.run_module("payment", run_name="__main__", alter_sys=True)
