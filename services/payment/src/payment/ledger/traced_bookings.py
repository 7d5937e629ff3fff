"""The group commit of bookings, with spans: how long each request waited, and the batch that wrote it."""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from payment.core.errors import PaymentError
from payment.core.tracing import Kind, Span, Tracer
from payment.ledger.booking import BookingResult
from payment.ledger.group_commit import GroupCommit
from payment.ledger.requests import BookingRequest

ITS_FAULT = 500
"""From this status on an answer says that we failed, not that the caller was refused."""


class _Waiting(NamedTuple):
    request: BookingRequest
    queue: Span


class TracedBookings:
    """A `GroupCommit` of bookings for who exports traces.

    Each request's trace gets a `queue` and a `commit`, both within the request's own span. The `batch` is one
    span, in the trace of its first request that is sampled, and linked with all others.

    Args:
        tracer: begins the spans.
        write: see `GroupCommit`.
        batch_max: the same.
        queue_max: the same.
    """

    def __init__(
        self,
        tracer: Tracer,
        write: Callable[[Sequence[BookingRequest]], Awaitable[Sequence[BookingResult]]],
        *,
        batch_max: int,
        queue_max: int,
    ) -> None:
        self._tracer = tracer
        self._write = write
        self._bookings = GroupCommit[_Waiting, BookingResult](
            self._write_traced, batch_max=batch_max, queue_max=queue_max
        )
        self.waiting = self._bookings.waiting
        self.end = self._bookings.end
        self.drain = self._bookings.drain

    async def submit(self, request: BookingRequest) -> BookingResult:
        """See `GroupCommit.submit`."""
        queue = self._tracer.begin("queue", Kind.INTERNAL, request.cause.traceparent)
        try:
            return await self._bookings.submit(_Waiting(request, queue))
        except PaymentError as error:
            queue.end(error=error.code)  # it never left the queue, or has ended long ago
            raise

    async def _write_traced(self, waiting: Sequence[_Waiting]) -> Sequence[BookingResult]:
        for each in waiting:
            each.queue.end()
        requests = [each.request for each in waiting]
        traces = [
            each.request.cause.traceparent or each.queue.traceparent
            for each in waiting
            if each.queue.is_sampled
        ]
        if not traces:
            return await self._write(requests)
        size = {"payment.batch.size": len(requests)}
        batch = self._tracer.begin("batch", Kind.INTERNAL, traces[0], size, links=traces[1:])
        link = [batch.traceparent]
        commits = [
            self._tracer.begin("commit", Kind.INTERNAL, each.cause.traceparent, links=link)
            for each in requests
        ]
        try:
            results = await self._write(requests)
        except Exception as error:
            for span in (*commits, batch):
                span.end(error=type(error).__name__)
            raise
        failures = [_failure(result) for result in results]
        for commit, failure in zip(commits, failures, strict=True):
            commit.end(error=failure)
        batch.end(error=next(filter(None, failures), None))
        return results


def _failure(result: BookingResult) -> str | None:
    """Return what kind of failure a result is; None if it is an answer, or the caller was refused."""
    return result.code if isinstance(result, PaymentError) and result.status >= ITS_FAULT else None
