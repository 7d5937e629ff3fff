"""The neighbours as we call them: one PUT to tell, one GET to read. The only place that uses `requests`.

A client says what it heard, never what to do about it (`delivery` does). It follows no redirect, verifies
TLS, sends no proxy's or netrc's credentials, and reads an answer only up to a limit.
"""

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, ClassVar

import requests
from requests.adapters import DEFAULT_CA_BUNDLE_PATH, HTTPAdapter
from requests.exceptions import ConnectTimeout, RequestException
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, MaxRetryError, NewConnectionError
from urllib3.util.ssl_ import create_urllib3_context

from payment import __version__
from payment.core.settings import Neighbour, Settings
from payment.core.states import Outcome, Status
from payment.telling.neighbour_answers import object_in, outcome_of, sentence_of, shows_route

ANSWER_MAX_BYTES = 64 * 1024
ERROR_MAX_CHARS = 200

_UNKNOWN_CA = {18, 19, 20, 21}  # OpenSSL's X509_V_ERR_…: signed by nobody that we trust
_NO_ANSWER = (RequestException, HTTPError, OSError)
# a gateway's own words: what it passed on may still be applied
_GATEWAY = {HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT}


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of an attempt.

    Attributes:
        outcome: what it means.
        error: one line for people; None if it was delivered.
        may_come_late: True if the request was sent and no answer came, so that the neighbour may still
            apply it.
        retry_after_s: the wait that the neighbour asked for, seconds.
        may_be_unknown: True if it may as well say that the id is unknown: nobody has seen the route yet.
    """

    outcome: Outcome
    error: str | None = None
    may_come_late: bool = False
    retry_after_s: float | None = None
    may_be_unknown: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """What a neighbour says it knows; `status` is None if it does not say, and `error` says why.

    Attributes:
        is_unknown: True if it says that there is no such order or user.
        is_silent: True if it did not answer at all.
    """

    status: str | None
    error: str | None = None
    is_unknown: bool = False
    is_silent: bool = False


class NeighbourClient:
    """Tells one neighbour. Threads may share it; each has its own connections, kept alive.

    Attributes:
        routes: what it calls, each as method, URL and path: the PUT's and the GET's.
        known_routes: which of these have been seen to exist. Every thread that hears an answer adds to it,
            and so does who knows of more from earlier (`payment.ledger.known_routes`).
    """

    name: ClassVar[str]
    placeholder: ClassVar[str]
    status_field: ClassVar[str]
    """The field of the PUT's body that holds the status."""
    read_path: ClassVar[str]
    read_field: ClassVar[str]
    """The field of the GET's answer that holds the status."""

    def __init__(self, neighbour: Neighbour, *, connect_timeout_s: float, read_timeout_s: float) -> None:
        self._base_url = neighbour.url
        self._path = neighbour.path
        self.put_route, self.get_route = self.routes = (self._route("PUT"), self._route("GET"))
        self.known_routes: set[str] = set()
        self._timeout = (connect_timeout_s, read_timeout_s)
        self._sockets: dict[int, socket.socket] = {}  # of each thread's connection
        self._headers = {"User-Agent": f"payment/{__version__}", "Accept": "application/json"}
        if neighbour.token:
            self._headers["Authorization"] = f"Bearer {neighbour.token}"
        self._tls = _tls_context(neighbour) if neighbour.url.lower().startswith("https:") else None
        self._of_thread = threading.local()

    def tell(self, target_id: int, status: Status, *, idempotency_key: str, traceparent: str) -> Heard:
        """Tell the neighbour the newest state of its order or user.

        Args:
            target_id: the id in the neighbour's world.
            status: what to tell.
            idempotency_key: the same for each attempt of the same news.
            traceparent: W3C trace context of the payment.
        """
        try:
            response, body = self._call(
                "PUT",
                target_id,
                data=json.dumps({self.status_field: status}),
                headers={
                    "Content-Type": "application/json",
                    "Idempotency-Key": idempotency_key,
                    "traceparent": traceparent,
                },
            )
        except _NO_ANSWER as error:
            return Heard(Outcome.OUTAGE, _in_words(error), may_come_late=not _was_never_sent(error))
        return self._judge("PUT", response, body)

    def read(self, target_id: int) -> Seen:
        """Ask the neighbour what it knows of its order or user."""
        try:
            response, body = self._call("GET", target_id)
        except _NO_ANSWER as error:
            return Seen(None, _in_words(error), is_silent=True)
        heard = self._judge("GET", response, body)
        if heard.outcome is not Outcome.DELIVERED:
            return Seen(None, heard.error, is_unknown=heard.outcome is Outcome.UNKNOWN)
        status = (_object(response, body) or {}).get(self.read_field)
        if isinstance(status, str):
            return Seen(status)
        return Seen(None, f"HTTP {response.status_code}: the answer has no {self.read_field}")

    @property
    def deadline_s(self) -> float:
        """Return how long a call may take in all; the time-outs alone do not bound an answer that drips."""
        return sum(self._timeout)

    def give_up(self, thread_id: int) -> None:
        """End the call that a thread is making; to it the connection is lost."""
        if (open_socket := self._sockets.get(thread_id)) is not None:
            with contextlib.suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)

    @property
    def _paths(self) -> Mapping[str, str]:
        return {"PUT": self._path, "GET": self.read_path}

    def _call(
        self,
        method: str,
        target_id: int,
        *,
        headers: Mapping[str, str] | None = None,
        data: str | None = None,
    ) -> tuple[requests.Response, bytes]:
        """Return the answer and its body up to the limit; raises one of `_NO_ANSWER`.

        No `requests.Session`: it would keep cookies, follow redirects, read the environment, and take a third
        of the time of a call.
        """
        path = self._paths[method].format(**{self.placeholder: target_id})
        call = requests.PreparedRequest()
        call.prepare(method, self._base_url + path, {**self._headers, **(headers or {})}, data=data)
        response = self._adapter().send(call, stream=True, timeout=self._timeout)
        with response:
            try:
                return response, response.raw.read(ANSWER_MAX_BYTES, decode_content=True)
            except _NO_ANSWER:
                if not response.ok:
                    raise
                return response, b""  # it said yes; what else it says does not matter

    def _route(self, method: str) -> str:
        return f"{method} {self._base_url}{self._paths[method]}"

    def _judge(self, method: str, response: requests.Response, body: bytes) -> Heard:
        status = response.status_code
        if status < HTTPStatus.OK:
            # interim (102, 103): the real answer would be read as the next call's, so the connection goes
            self._of_thread.adapter = None
            return Heard(Outcome.OUTAGE, f"HTTP {status}, interim", may_come_late=True)
        route = self._route(method)
        if shows_route(status):
            self.known_routes.add(route)
        said = None if response.ok else _object(response, body)
        is_own_word = said is not None and status == HTTPStatus.NOT_FOUND
        outcome = outcome_of(status, is_own_word=said is not None, is_route_known=route in self.known_routes)
        if outcome is Outcome.DELIVERED:
            return Heard(outcome)
        error = self._explain(outcome, method, f"HTTP {status} {_in_one_line(response, said)}".strip())
        if outcome is not Outcome.OUTAGE:
            return Heard(outcome, error, may_be_unknown=outcome is Outcome.NO_ROUTE and is_own_word)
        retry_after_s = _retry_after_s(response.headers.get("Retry-After"))
        return Heard(outcome, error, may_come_late=status in _GATEWAY, retry_after_s=retry_after_s)

    def _explain(self, outcome: Outcome, method: str, said: str) -> str:
        """Say what an answer means to the operator, and which setting is wrong if one is."""
        setting = self.name.upper()
        match outcome:
            case Outcome.UNKNOWN:
                return f"unknown {self.name}: {said}"
            case Outcome.NO_ROUTE:
                setting += "_PAYMENT_PATH" if method == "PUT" else "_SERVICE_URL"
                lacks = f"{self.name} does not serve {method} {self._paths[method]}"
                return f"no such route: {lacks} ({said}); see {setting}"
            case Outcome.DENIED:
                return f"{self.name} refuses our token ({said}); see {setting}_SERVICE_TOKEN"
        return said

    def _adapter(self) -> "_Adapter":
        adapter: _Adapter | None = getattr(self._of_thread, "adapter", None)
        if adapter is None:
            adapter = self._of_thread.adapter = _Adapter(self._sockets, self._tls, self.name)
        return adapter


class OrderClient(NeighbourClient):
    """Tells Order what became of an order's bill."""

    name = "order"
    placeholder = "order_id"
    status_field = "payment_status"
    read_path = "/orders/{order_id}"
    read_field = "status"


class UserClient(NeighbourClient):
    """Tells User what became of a guest's newest payment."""

    name = "user"
    placeholder = "user_id"
    status_field = "status"
    read_path = "/users/{user_id}"
    read_field = "payment_status"


def order_client(settings: Settings) -> OrderClient:
    """Return the client of the Order service as the settings have it."""
    return OrderClient(
        settings.order,
        connect_timeout_s=settings.connect_timeout_s,
        read_timeout_s=settings.read_timeout_s,
    )


def user_client(settings: Settings) -> UserClient:
    """Return the client of the User service as the settings have it."""
    return UserClient(
        settings.user,
        connect_timeout_s=settings.connect_timeout_s,
        read_timeout_s=settings.read_timeout_s,
    )


def _tls_context(neighbour: Neighbour) -> ssl.SSLContext:
    """Return how a neighbour is trusted, and what we show it; read once, for all connections."""
    # as curl does, on each Python: an intermediate CA may be trusted alone, and one without key identifiers
    context = create_urllib3_context(verify_flags=ssl.VERIFY_X509_PARTIAL_CHAIN)
    context.load_verify_locations(neighbour.ca_file or DEFAULT_CA_BUNDLE_PATH)
    if neighbour.client_cert_file:
        context.load_cert_chain(neighbour.client_cert_file, neighbour.client_key_file)
    return context


class _Adapter(HTTPAdapter):
    """One connection, kept alive, whose socket is known by its thread."""

    def __init__(self, sockets: dict[int, socket.socket], tls: ssl.SSLContext | None, name: str) -> None:
        self._sockets = sockets
        self._tls = tls
        self._ca_setting = f"{name.upper()}_SERVICE_CA_FILE"
        super().__init__(max_retries=0, pool_maxsize=1)

    def cert_verify(self, *_: Any) -> None:
        """Leave trust to the context; `requests` would have it trust the public CAs too, read each time."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Have the connections note their sockets."""
        super().init_poolmanager(*args, ssl_context=self._tls, **kwargs)
        sockets, ca_setting = self._sockets, self._ca_setting

        class Http(HTTPConnectionPool):
            class Connection(HTTPConnection):
                def connect(self) -> None:
                    super().connect()
                    sockets[threading.get_ident()] = self.sock

            ConnectionCls = Connection  # its name is in errors that people read

        class Https(HTTPSConnectionPool):
            class Connection(HTTPSConnection):
                def connect(self) -> None:
                    try:
                        super().connect()
                    except OSError as error:  # TCP's troubles are no such; nothing was sent
                        raise NewConnectionError(self, _handshake_trouble(error, ca_setting)) from error
                    sockets[threading.get_ident()] = self.sock

            ConnectionCls = Connection

        self.poolmanager.pool_classes_by_scheme = {"http": Http, "https": Https}


def _was_never_sent(error: Exception) -> bool:
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


def _in_words(error: Exception) -> str:
    """Say in one line what went wrong; urllib3's wrapping says the same thing three times."""
    reason = error.args[0] if error.args else error
    if isinstance(reason, MaxRetryError) and reason.reason is not None:
        reason = reason.reason
    return _printable(f"{type(error).__name__}: {reason}")


def _object(response: requests.Response, body: bytes) -> dict[str, Any] | None:
    """Return the JSON object of an answer, None if it is not one."""
    return object_in(response.headers.get("Content-Type", ""), body)


def _in_one_line(response: requests.Response, said: dict[str, Any] | None) -> str:
    """Return the neighbour's own words, or what else its refusal says, shortened."""
    if response.is_redirect:
        return _printable(f"redirect to {response.headers.get('Location')}, not followed")
    return _printable(" ".join((sentence_of(said) or response.reason or "").split()))


def _printable(text: str) -> str:
    """Return text that every database, log and terminal takes, shortened."""
    return "".join(char if char.isprintable() else "?" for char in text[:ERROR_MAX_CHARS])


def _retry_after_s(value: str | None) -> float | None:
    """Read `Retry-After`, seconds or a date (RFC 9110, 10.2.3); None if absent or unreadable."""
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return None
