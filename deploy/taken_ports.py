"""`make up` asks this before it builds anything: can the stack have its ports?

It says a line for each that it cannot. It needs no more than a Python. The arguments are put before Compose's
commands (`--profile observe`).
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys

SETTINGS = {
    "port": "PAYMENT_PORT",
    "order": "ORDER_PORT",
    "user": "USER_PORT",
    "prometheus": "PROMETHEUS_PORT",
    "grafana": "GRAFANA_PORT",
}
"""By the name of the service in docker-compose.yml."""
NAMES = {"port": "payment"}
"""What people call it, where that is another name."""


def main() -> int:
    """Return 1 if a port is taken, 0 else; what is wrong with Compose itself, Compose says afterwards."""
    profiles = sys.argv[1:]
    shown = compose(*profiles, "config", "--format", "json")
    if shown is None:
        return 0
    wanted: dict[int, str] = {}
    is_refused = False
    for name, setting in SETTINGS.items():
        for port in json.loads(shown)["services"].get(name, {}).get("ports", []):
            published = int(port["published"])
            is_ours = f":{published}" in (compose(*profiles, "port", name, str(port["target"])) or "")
            user = wanted.get(published) or ("" if is_ours or not is_taken(published) else "?")
            wanted[published] = name
            shown_name = NAMES.get(name, name)
            if user:
                is_refused = True
                by = "" if user == "?" else f" ({NAMES.get(user, user)})"
                another = next(each for each in range(published + 1, 2**16) if not is_taken(each))
                print(
                    f"Port {published} ({shown_name}) sudah dipakai / is in use{by}. "
                    f"Pakai yang lain / take another: make up {setting}={another}",
                    file=sys.stderr,
                )
    return int(is_refused)


def compose(*arguments: str) -> str | None:
    """Return what `docker compose …` says; None if it fails."""
    try:
        ran = subprocess.run(  # noqa: S603  # our own words
            ["docker", "compose", *arguments],  # noqa: S607  # whichever is in PATH, as in the Makefile
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
        )
    except OSError:
        return None
    return None if ran.returncode else ran.stdout.decode()


def is_taken(port: int) -> bool:
    """Say whether something listens on the port already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


if __name__ == "__main__":
    sys.exit(main())
