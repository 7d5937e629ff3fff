"""API processes that share a port (REUSE_PORT): a scrape reaches one of them, and gets the metrics of all.

Each answers the others on a socket of Linux' abstract namespace, which belongs to the network namespace, as
the port does: so containers that share a port find each other too, with no file and no setting. A counter
must never seem to go back, so they are not added up: each process is a series of its own, by its label.
"""

import json
import secrets
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from os import geteuid
from pathlib import Path
from typing import Any

from prometheus_client import Metric

from payment.core.logs import facts_of, get_logger
from payment.core.metrics import REGISTRY

SOCKETS = Path("/proc/net/unix")
BACKLOG = 16
ANSWER_MAX_BYTES = 4 * 1024 * 1024

_log = get_logger()


class Portmates:
    """The processes that share our port, this one among them.

    Args:
        port: which.
    """

    def __init__(self, port: int) -> None:
        self._prefix = f"payment-metrics-{port}-"
        self._name = secrets.token_hex(4)
        self._listener: socket.socket | None = None

    def answer(self) -> None:
        """Answer the others from now on, in a thread; where there are no such sockets, each is alone."""
        if not sys.platform.startswith("linux"):
            return
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(f"\0{self._prefix}{self._name}")
        listener.listen(BACKLOG)
        self._listener = listener
        threading.Thread(target=self._answer_all, args=[listener], name="portmates", daemon=True).start()

    def end(self) -> None:
        """Answer no more."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread
            self._listener.close()

    def families(self, until_s: float) -> Iterator[Metric]:
        """Yield the metrics of all, each sample with the label `process`.

        Args:
            until_s: on the monotonic clock; who has not answered by then is left out.
        """
        asked = list(filter(None, map(_connected, self._others())))
        own = _as_told(self._name)
        families: dict[str, Metric] = {}
        for told in (own, *(_answer_of(peer, until_s) for peer in asked)):
            for name, documentation, kind, samples in told:
                family = families.setdefault(name, Metric(name, documentation, kind))
                for sample, labels, value in samples:
                    family.add_sample(sample, labels, value)
        yield from families.values()

    def _others(self) -> Iterator[str]:
        try:
            lines = SOCKETS.read_text().splitlines()
        except OSError:
            return
        found = {name for line in lines for name in [line.rpartition(" ")[2]] if name.startswith("@")}
        for name in sorted(found):
            if name.startswith(f"@{self._prefix}") and name != f"@{self._prefix}{self._name}":
                yield name[1:]

    def _answer_all(self, listener: socket.socket) -> None:
        while True:
            try:
                caller, _ = listener.accept()
            except OSError:  # `end`
                return
            try:
                with caller:
                    if _is_ours(caller):
                        caller.settimeout(1)
                        caller.sendall(json.dumps(_as_told(self._name)).encode())
            except OSError as error:  # it did not wait
                _log.debug("metrics not told", **facts_of(error))


def _is_ours(peer: socket.socket) -> bool:
    """Say whether it belongs to our own user: an abstract socket has no file whose mode would say so."""
    format_ = "3i"  # pid, uid, gid
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(format_))
    uid: int = struct.unpack(format_, credentials)[1]
    return uid == geteuid()


def _as_told(process: str) -> list[Any]:
    """Return what this process counts: name, documentation, type and samples of each metric."""
    return [
        [
            family.name,
            family.documentation,
            family.type,
            [[each.name, {**each.labels, "process": process}, each.value] for each in family.samples],
        ]
        for family in REGISTRY.collect()
    ]


def _connected(name: str) -> socket.socket | None:
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    peer.setblocking(False)  # noqa: FBT003  # the standard library's signature
    try:
        peer.connect(f"\0{name}")
        if _is_ours(peer):
            return peer
    except OSError:  # it has just ended, or too many ask
        pass
    peer.close()
    return None


def _answer_of(peer: socket.socket, until_s: float) -> list[Any]:
    received = bytearray()
    with peer:
        try:
            while len(received) < ANSWER_MAX_BYTES:
                peer.settimeout(max(0.001, until_s - time.monotonic()))
                if not (part := peer.recv(65536)):
                    told: list[Any] = json.loads(received)
                    return told
                received += part
        except (OSError, ValueError) as error:  # it is too busy, or ends just now
            _log.debug("metrics not heard", **facts_of(error))
    return []
