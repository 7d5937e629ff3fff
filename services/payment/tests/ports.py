"""Ports that stay free until their server listens, and while it is away."""

import random
import socket
from collections import deque
from pathlib import Path

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LEAST = 10_240
_given: deque[int] = deque(maxlen=100)


def free_port() -> int:
    """Return a port of loopback that nothing listens on.

    It is none of those that the kernel gives to whoever asks for any: such a one is soon the end of another
    test's connection. Nor is it one that was given a moment ago, whose server may not listen yet.
    """
    first_ephemeral = int(_EPHEMERAL.read_text().split()[0]) if _EPHEMERAL.exists() else 32_768
    while True:
        port = random.randrange(_LEAST, first_ephemeral)  # no secret
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.append(port)
        return port
