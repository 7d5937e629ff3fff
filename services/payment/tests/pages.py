"""Pages whose commands are run: what they show, and what really comes."""

import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from described import ROOT

PORTS = {"PORT": "5004", "ORDER_PORT": "5003", "USER_PORT": "5001"}
NOT_OF_THE_TOUR = ("make ", "ORDER_SERVICE_URL=")
"""Commands that start something else: `make test`, say, or a service beside real neighbours."""
VARIES = re.compile(
    r"20\d\d-\d\d-\d\d(T[\d:.]+Z)?|(?<=cursor=)[\w-]{20,}|"
    r'(?<=cursor":")[\w-]{20,}|(?<="circuit":")\w+|(?<=HTTP/1\.1 422 )[\w ]+'
)
"""Times and dates, the cursors that are made of them, whether an outage has opened the circuit yet, and how
Python calls 422: since 3.13 as RFC 9110 does."""
END = "--- end of a command"
ZONE = "Asia/Jakarta"
"""The time zone of the pages."""
OUTAGE, SHORTER = '"away_s":20', '"away_s":8'
"""Who reads needs the time to type the next command; a test does not."""


class Step(NamedTuple):
    """A command, and what its page says that it prints."""

    command: str
    printed: str


def steps_of(page: str) -> list[Step]:
    """Return the commands of a page in order."""
    blocks = re.findall(r"^```console\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    parts = [part for block in blocks for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    said = [part.partition("\n") for part in parts]
    return [Step(command, printed) for command, _, printed in said if not command.startswith(NOT_OF_THE_TOUR)]


def where_it_is_noon() -> str:
    """Return a time zone whose day ends in hours: what a page pays is in the report of the same day."""
    ahead = 12 - datetime.now(UTC).hour
    return f"Etc/GMT{-ahead:+}"  # POSIX counts the hours behind


def come(commands: list[str], ports: dict[str, str], folder: Path, zone: str = ZONE) -> list[str]:
    """Paste commands into one bash at once; return what each prints, with the ports and zone of the pages."""
    script = "".join(f"{command}\necho; echo {END}\n" for command in commands).replace(OUTAGE, SHORTER)
    for name, port in PORTS.items():
        script = re.sub(rf"\b{port}/", f"{ports[name]}/", script)
    urls = {f"{name}_SERVICE_URL": f"http://localhost:{ports[f'{name}_PORT']}" for name in ("ORDER", "USER")}
    came = subprocess.run(
        ["bash"],
        input=script,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "TIMEZONE": zone} | urls,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    for name, port in PORTS.items():
        came = re.sub(rf"\b{ports[name]}\b", port, came)
    return came.replace(SHORTER, OUTAGE).replace(zone, ZONE).replace("\r", "").split(f"\n{END}\n")[:-1]


def same(text: str) -> str:
    """Return a text as it is compared: what varies is masked, and so are the widths of columns."""
    return re.sub(r"[ \t]+", " ", VARIES.sub("…", text)).strip()


def shown_of(came: str, printed: str) -> str:
    """Return what came; of an answer's headers only those that the page shows."""
    if not came.startswith("HTTP/"):
        return came
    head, _, body = came.partition("\n\n")
    names = {line.partition(":")[0] for line in printed.partition("\n\n")[0].splitlines()[1:]}
    status, *headers = head.splitlines()
    kept = [line for line in headers if line.partition(":")[0] in names]
    return "\n".join([status, *kept]) + f"\n\n{body}"
