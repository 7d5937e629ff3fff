"""How many connections there may be: as many as are asked for, or as many as the system has files for."""

import subprocess
import sys

import pytest

from payment.web.connections import FILES_BESIDE

ASK = """
import resource, sys
from payment.web.connections import room_for
soft, hard = int(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(room_for(int(sys.argv[3])), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "room", "files"),
    [
        pytest.param(1024, 4096, 500, 500, 1024, id="there are enough"),
        pytest.param(
            1024,
            4096,
            1000,
            1000,
            1000 + FILES_BESIDE,
            id="the process takes more, but no more than it needs",
        ),
        pytest.param(1024, 1024, 4096, 1024 - FILES_BESIDE, 1024, id="it gets no more"),
        pytest.param(64, 100, 4096, 50, 100, id="there are hardly any: half of them"),
    ],
)
def test_there_are_always_files_left_beside_the_connections(
    soft: int, hard: int, wanted: int, room: int, files: int
) -> None:
    asked = [sys.executable, "-c", ASK, str(soft), str(hard), str(wanted)]
    ended = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60)
    *said, last = ended.stdout.splitlines()
    assert last == f"{room} {files}"
    assert ("fewer connections than CONNECTIONS_MAX" in "".join((*said, ended.stderr))) == (room < wanted)
