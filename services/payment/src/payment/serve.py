"""The process that serves the API, with its worker beside it if it has one: composed here, ended in order."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import uvicorn

from payment.console.app import Console
from payment.console.sessions import Sessions
from payment.core.logs import get_logger
from payment.core.settings import Settings
from payment.core.tracing import open_tracer
from payment.core.units import SECOND_US
from payment.ledger.key_ring import KeyRing
from payment.ledger.ledger import Ledger
from payment.storage.opening import open_current
from payment.telling.worker import Worker
from payment.watching.exposition import Exposition, say_build
from payment.watching.portmates import Portmates
from payment.web.app import create_app
from payment.web.connections import Connections, room_for
from payment.web.inner_calls import InnerCalls
from payment.web.listener import bind, url_of
from payment.web.pages import Beside
from payment.web.protocol import Protocol
from payment.web.request_log import RequestLog
from payment.web.server import Server

FINISH_REQUESTS_S = 5

COLLECT_AFTER = 20_000
"""How many objects more there are at a collection. A request leaves nothing to it (`test_garbage`),
so it need not come while requests are in hand: each was looked at several times, a twentieth of its CPU."""

_log = get_logger()


def serve(settings: Settings, *, with_worker: bool, ready: Callable[[], None] | None = None) -> None:
    """Serve the API until SIGTERM or Ctrl-C.

    Args:
        settings: everything.
        with_worker: whether this process also tells Order and User.
        ready: called once callers are welcome; the log says so if it is None.

    Raises:
        CannotListen: the address cannot be had.
        SettingsError: traces are asked for and cannot be had.
    """
    tracer = open_tracer(settings)
    listener = bind(settings.host, settings.port, reuse_port=settings.reuse_port)
    database = open_current(settings.database_url, settings.database_listen_url)
    worker = Worker(database, settings, tracer) if with_worker else None
    ledger = Ledger(
        database,
        batch_max=settings.batch_max,
        queue_max=settings.requests_max,
        booked=worker.wake if worker else lambda: None,
        days=settings.business_days,
        waits_us=round(settings.pending_expires_s * SECOND_US),
        tracer=tracer,
        unread=settings.book_unread,
    )
    key_ring = KeyRing(database) if settings.auth == "keys" else None
    portmates = Portmates(listener.getsockname()[1]) if settings.reuse_port else None
    exposition = Exposition(database, portmates)
    request_log = RequestLog(settings.log_requests_max)
    say_build(database)

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        if key_ring:
            await key_ring.begin()
        if worker:
            worker.start()
        if portmates:
            portmates.answer()
        yield
        if portmates:
            portmates.end()
        await ledger.close()
        if key_ring:
            await key_ring.end()
        if worker:
            await asyncio.to_thread(worker.stop)
        await database.aclose()
        if tracer:
            await asyncio.to_thread(tracer.close)
        _log.info("stopped")

    beside = _console(settings, key_ring) if settings.console else None
    app = create_app(settings, ledger, running, key_ring, exposition, request_log, tracer, beside)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=partial(  # type: ignore[arg-type]  # any factory of protocols will do
            Protocol,
            headers_max_bytes=settings.headers_max_bytes,
            timeout_s=settings.request_timeout_s,
            write_timeout_s=settings.write_timeout_s,
            request_log=request_log,
            open_connections=Connections(room_for(settings.connections_max)),
        ),
        ws="none",
        lifespan="on",
        access_log=False,
        proxy_headers=False,  # nothing here asks who a proxy calls for
        server_header=False,
        log_config=None,
        timeout_graceful_shutdown=FINISH_REQUESTS_S,
    )
    server = Server(
        config,
        listener=listener,
        listening=ready or partial(_log.info, "listening", url=url_of(listener), worker=with_worker),
        ending=worker.begin_stop if worker else lambda: None,
        last_requests=ledger.feed.end,
        too_late=ledger.end,
    )
    gc.freeze()  # what a start has made stays; no collection need look at it again
    gc.set_threshold(COLLECT_AFTER)
    gc.enable()
    server.run(sockets=[listener])


def _console(settings: Settings, key_ring: KeyRing | None) -> Beside:
    """Return the console, whose sessions are of these keys."""
    if key_ring and settings.reuse_port and settings.console_secret is None:
        _log.warning("sessions are not shared", see="CONSOLE_SECRET")
    calls = InnerCalls()
    sessions = Sessions(key_ring, secret=settings.console_secret, lasts_s=settings.console_session_s)
    return Beside(Console(calls, sessions, settings.business_days), calls)
