"""The socket that the API listens on."""

import errno
import socket

SEND_BUFFER_BYTES = 64 * 1024
"""How much of an answer the kernel may hold for a caller (it takes twice that); else it is megabytes."""


class CannotListen(Exception):
    """The address cannot be had."""


class PortInUse(CannotListen):
    """Something else listens where we should."""


def bind(host: str, port: int, *, reuse_port: bool) -> socket.socket:
    """Return a socket that has the address, and does not listen yet.

    Args:
        host: the address.
        port: 0 for any free one.
        reuse_port: share the port with other processes that say so too; the kernel spreads connections.

    Raises:
        CannotListen: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)  # connections inherit it
    if reuse_port:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        kind = PortInUse if error.errno == errno.EADDRINUSE else CannotListen
        raise kind(f"{host}:{port}: {error.strerror}") from error
    listener.setblocking(False)  # noqa: FBT003  # the standard library's signature
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the URL of the API behind this socket."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
