"""The neighbours' client: one PUT to tell, one GET to read. With its connection the only use of `requests`.

A client says what came of a call, never what to do about it (`delivery` does). It follows no redirect,
verifies TLS, sends no proxy's or netrc's credentials, and reads an answer only up to a limit.
"""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

import requests
from requests.exceptions import RequestException
from urllib3 import Retry
from urllib3.exceptions import HTTPError, InvalidHeader, MaxRetryError

from payment import __version__
from payment.core.neighbours import Neighbour
from payment.core.settings import NeighbourSettings, Settings
from payment.core.states import Outcome, Status
from payment.telling.connection import OneConnection, tls_context, was_never_sent
from payment.telling.neighbour_answers import is_of_gateway, object_in, outcome_of, sentence_of, shows_route
from payment.telling.route_words import means_no_route

ANSWER_MAX_BYTES = 64 * 1024
ERROR_MAX_CHARS = 200

_NO_ANSWER = (RequestException, HTTPError, OSError, ValueError)  # the last: TLS, ended in another thread
# a gateway's own words: what it passed on may still be applied
_GATEWAY = {HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT}


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """What came of an attempt to tell.

    Attributes:
        outcome: what it means.
        error: one line for people; None if it was delivered.
        may_come_late: True if the request was sent and no answer came, so that the neighbour may still
            apply it.
        retry_after_s: the wait that the neighbour asked for, seconds.
        may_be_unknown: True for a 404 that would mean "unknown id", had the route ever been seen to exist.
        status_code: of its answer, None if there was none.
    """

    outcome: Outcome
    error: str | None = None
    may_come_late: bool = False
    retry_after_s: float | None = None
    may_be_unknown: bool = False
    status_code: int | None = None


@dataclass(frozen=True, slots=True)
class RemoteState:
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
    """Calls one neighbour. Threads may share it; each has its own connection, kept alive.

    Args:
        neighbour: its paths and fields.
        settings: where it is, and how it and we prove who we are.
        connect_timeout_s: how long a connection may take.
        read_timeout_s: how long each read of an answer may take.

    Attributes:
        neighbour: whom it calls.
        put_route: the method, URL and path of the call that tells.
        routes: those of both calls, the PUT's and the GET's.
        known_routes: which of these have been seen to exist. Written by each thread that gets an answer, and
            by the lane or reconcile, which know what the database knows; read by all of these.
    """

    def __init__(
        self,
        neighbour: Neighbour,
        settings: NeighbourSettings,
        *,
        connect_timeout_s: float,
        read_timeout_s: float,
    ) -> None:
        self.neighbour = neighbour
        self._base_url = settings.url
        self._paths = {"PUT": settings.path, "GET": neighbour.read_path}
        self.put_route, _ = self.routes = (self._route("PUT"), self._route("GET"))
        self.known_routes: set[str] = set()
        self._timeout = (connect_timeout_s, read_timeout_s)
        self._headers = {"User-Agent": f"payment/{__version__}", "Accept": "application/json"}
        if settings.token:
            self._headers["Authorization"] = f"Bearer {settings.token}"
        self._quoted_placeholder = f"%7B{neighbour.placeholder}%7D"
        self._same_in_all: dict[str, requests.PreparedRequest] = {}  # by method
        self._tls = tls_context(settings) if settings.url.lower().startswith("https:") else None
        self._of_thread = threading.local()
        # by thread; each thread writes its own, `end_slow_calls` reads all
        self._sockets: dict[int, socket.socket] = {}
        self._calling_since_s: dict[int, float] = {}

    def tell(
        self, target_id: int, status: Status, *, idempotency_key: str, traceparent: str
    ) -> DeliveryResult:
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
                data=json.dumps({self.neighbour.put_field: status}),
                headers={
                    "Content-Type": "application/json",
                    "Idempotency-Key": idempotency_key,
                    "traceparent": traceparent,
                },
            )
        except _NO_ANSWER as error:
            return DeliveryResult(Outcome.OUTAGE, _in_words(error), may_come_late=not was_never_sent(error))
        return replace(self._understand("PUT", response, body), status_code=response.status_code)

    def read(self, target_id: int) -> RemoteState:
        """Ask the neighbour what it knows of its order or user."""
        try:
            response, body = self._call("GET", target_id)
        except _NO_ANSWER as error:
            return RemoteState(None, _in_words(error), is_silent=True)
        result = self._understand("GET", response, body)
        if result.outcome is not Outcome.DELIVERED:
            return RemoteState(None, result.error, is_unknown=result.outcome is Outcome.UNKNOWN)
        field = self.neighbour.read_field
        status = (_object(response, body) or {}).get(field)
        if isinstance(status, str):
            return RemoteState(_printable(status))
        return RemoteState(None, f"HTTP {response.status_code}: the answer has no {field}")

    def end_slow_calls(self) -> None:
        """End each call that takes longer than its time-outs together; to its thread the connection is lost.

        The time-outs alone do not bound an answer that drips: each read is in time, the whole is not. Who
        makes calls also calls this now and then, from any thread.
        """
        self._end_calls_since(time.monotonic() - sum(self._timeout))

    def end_calls(self) -> None:
        """End every call, from any thread; one that still connects has its time-out."""
        self._end_calls_since(time.monotonic())

    def _end_calls_since(self, began_before_s: float) -> None:
        for thread_id, since_s in list(self._calling_since_s.items()):
            if since_s < began_before_s and (open_socket := self._sockets.get(thread_id)) is not None:
                with contextlib.suppress(OSError):
                    open_socket.shutdown(socket.SHUT_RDWR)

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
        call = self._prepared(method).copy()
        call.url = (call.url or "").replace(self._quoted_placeholder, str(target_id))
        call.headers.update(headers or {})
        call.prepare_body(data, files=None)
        self._calling_since_s[threading.get_ident()] = time.monotonic()
        try:
            response = self._connection().send(call, stream=True, timeout=self._timeout)
            with response:
                try:
                    return response, response.raw.read(ANSWER_MAX_BYTES, decode_content=True)
                except _NO_ANSWER:
                    if not response.ok:
                        raise
                    return response, b""  # it said yes; what else it says does not matter
        finally:
            del self._calling_since_s[threading.get_ident()]

    def _prepared(self, method: str) -> requests.PreparedRequest:
        """Return what is the same in all calls; to prepare it each time takes a tenth of a call."""
        call = self._same_in_all.get(method)
        if call is None:
            call = requests.PreparedRequest()
            call.prepare(method, self._base_url + self._paths[method], self._headers)
            self._same_in_all[method] = call
        return call

    def _route(self, method: str) -> str:
        return f"{method} {self._base_url}{self._paths[method]}"

    def _understand(self, method: str, response: requests.Response, body: bytes) -> DeliveryResult:
        status = response.status_code
        if status < HTTPStatus.OK:  # 101: what comes next is no HTTP, so the connection goes
            self._of_thread.connection = None
            return DeliveryResult(Outcome.OUTAGE, f"HTTP {status}, not asked for", may_come_late=True)
        route = self._route(method)
        if shows_route(status):
            self.known_routes.add(route)
        said = None if response.ok else _object(response, body)
        is_own_word = said is not None and not means_no_route(said)
        outcome = outcome_of(status, is_own_word=is_own_word, is_route_known=route in self.known_routes)
        if outcome is Outcome.DELIVERED:
            return DeliveryResult(outcome)
        error = self._explain(outcome, method, f"HTTP {status} {_in_one_line(response, said)}".strip())
        if is_of_gateway(status):
            error += f"; see {self.neighbour.prefix}_SERVICE_URL"
        if outcome is not Outcome.OUTAGE:
            may_be_unknown = (
                outcome is Outcome.NO_ROUTE and status == HTTPStatus.NOT_FOUND and said is not None
            )
            return DeliveryResult(outcome, error, may_be_unknown=may_be_unknown)
        retry_after_s = _retry_after_s(response.headers.get("Retry-After"))
        return DeliveryResult(outcome, error, may_come_late=status in _GATEWAY, retry_after_s=retry_after_s)

    def _explain(self, outcome: Outcome, method: str, said: str) -> str:
        """Say what an answer means to the operator, and which setting is wrong if one is."""
        setting = self.neighbour.prefix
        match outcome:
            case Outcome.UNKNOWN:
                return f"unknown {self.neighbour.name}: {said}"
            case Outcome.NO_ROUTE:
                setting += "_PAYMENT_PATH" if method == "PUT" else "_SERVICE_URL"
                lacks = f"{self.neighbour.name} does not serve {method} {self._paths[method]}"
                return f"no such route: {lacks} ({said}); see {setting}"
            case Outcome.DENIED:
                return f"{self.neighbour.name} refuses our token ({said}); see {setting}_SERVICE_TOKEN"
        return said

    def _connection(self) -> OneConnection:
        connection: OneConnection | None = getattr(self._of_thread, "connection", None)
        if connection is None:
            ca_setting = f"{self.neighbour.prefix}_SERVICE_CA_FILE"
            connection = self._of_thread.connection = OneConnection(self._sockets, self._tls, ca_setting)
        return connection


def client_of(neighbour: Neighbour, settings: Settings) -> NeighbourClient:
    """Return the client of a neighbour as the settings have it."""
    return NeighbourClient(
        neighbour,
        settings.neighbours[neighbour.name],
        connect_timeout_s=settings.connect_timeout_s,
        read_timeout_s=settings.read_timeout_s,
    )


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
    try:
        return Retry().parse_retry_after(value)
    except (InvalidHeader, ValueError, OverflowError):
        return None
