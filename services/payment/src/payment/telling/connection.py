"""One connection to a neighbour, kept alive: whom it trusts, what it shows, and where its socket is."""

import io
import socket
import ssl
import threading
from http.client import HTTPResponse, RemoteDisconnected
from typing import Any

from requests.adapters import DEFAULT_CA_BUNDLE_PATH, HTTPAdapter
from requests.exceptions import ConnectTimeout
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import MaxRetryError, NewConnectionError
from urllib3.util.ssl_ import create_urllib3_context

from payment.core.settings import NeighbourSettings

INTERIM_MAX = 100
"""The most interim answers before the final one."""

_INTERIM = range(102, 200)  # http.client reads past 100 itself; after 101 comes no HTTP
_END_OF_HEADER = (b"\r\n", b"\n")
_UNKNOWN_CA = {18, 19, 20, 21}  # OpenSSL's X509_V_ERR_…: signed by nobody that we trust


def tls_context(neighbour: NeighbourSettings) -> ssl.SSLContext:
    """Return how a neighbour is trusted, and what we show it; read once, for all connections."""
    # as curl does, on each Python: an intermediate CA may be trusted alone, and one without key identifiers
    context = create_urllib3_context(verify_flags=ssl.VERIFY_X509_PARTIAL_CHAIN)
    context.load_verify_locations(neighbour.ca_file or DEFAULT_CA_BUNDLE_PATH)
    if neighbour.client_cert_file:
        context.load_cert_chain(neighbour.client_cert_file, neighbour.client_key_file)
    return context


class _Lines(io.BufferedReader):
    """A reader that remembers its last line."""

    last_line = b""

    def readline(self, size: int | None = -1) -> bytes:
        self.last_line = super().readline(size)
        return self.last_line


class FinalAnswer(HTTPResponse):
    """The answer after all interim ones (RFC 9110, 15.2), if its header is whole."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._lines = _Lines(self.fp.detach())
        self.fp = self._lines

    def begin(self) -> None:
        """Read until the header's end.

        Raises:
            RemoteDisconnected: there is none, or only interim answers come.
        """
        for _ in range(INTERIM_MAX + 1):
            super().begin()
            if self._lines.last_line not in _END_OF_HEADER:
                raise RemoteDisconnected("Remote end closed connection in the middle of its header")
            if self.status not in _INTERIM:
                return
            self.headers = self.msg = None  # type: ignore[assignment]  # as before the first `begin`
        raise RemoteDisconnected(f"Remote end gave more than {INTERIM_MAX} interim answers")


class OneConnection(HTTPAdapter):
    """The connection of one thread.

    Args:
        sockets: by thread; each connection that is made notes its socket here under the thread that made it.
        tls: how the neighbour is trusted; None if it is called without TLS.
        ca_setting: the setting that says which CAs are trusted.
    """

    def __init__(
        self, sockets: dict[int, socket.socket], tls: ssl.SSLContext | None, ca_setting: str
    ) -> None:
        self._sockets = sockets
        self._tls = tls
        self._ca_setting = ca_setting
        super().__init__(max_retries=0, pool_maxsize=1)

    def cert_verify(self, *_: Any) -> None:
        """Leave trust to the context; `requests` would have it trust the public CAs too, read each time."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Have the connections note their sockets."""
        super().init_poolmanager(*args, ssl_context=self._tls, **kwargs)
        sockets, ca_setting = self._sockets, self._ca_setting

        class Http(HTTPConnectionPool):
            class Connection(HTTPConnection):
                response_class = FinalAnswer

                def connect(self) -> None:
                    super().connect()
                    sockets[threading.get_ident()] = self.sock

            ConnectionCls = Connection  # its name is in errors that people read

        class Https(HTTPSConnectionPool):
            class Connection(HTTPSConnection):
                response_class = FinalAnswer

                def connect(self) -> None:
                    try:
                        super().connect()
                    except OSError as error:  # TCP's troubles are no such; nothing was sent
                        raise NewConnectionError(self, _handshake_trouble(error, ca_setting)) from error
                    sockets[threading.get_ident()] = self.sock

            ConnectionCls = Connection

        self.poolmanager.pool_classes_by_scheme = {"http": Http, "https": Https}


def was_never_sent(error: Exception) -> bool:
    """Say whether the connection was not even made, so that nothing can arrive late."""
    if isinstance(error, ConnectTimeout):
        return True
    reason = error.args[0] if error.args else None
    if isinstance(reason, MaxRetryError):
        reason = reason.reason
    return isinstance(reason, NewConnectionError)


def _handshake_trouble(error: OSError, ca_setting: str) -> str:
    said = f"TLS handshake failed: {getattr(error, 'verify_message', error.strerror or error)}"
    return f"{said}; see {ca_setting}" if getattr(error, "verify_code", 0) in _UNKNOWN_CA else said
