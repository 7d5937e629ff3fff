"""When a batch is tried again, when its requests are tried one by one, and what is logged."""

import time
from collections.abc import Callable, Sequence

from sqlalchemy.exc import SQLAlchemyError

from payment.core.errors import CannotBeStored, PaymentError, Unavailable, Unexpected
from payment.core.logs import facts_of, get_logger
from payment.core.metrics import note_batch
from payment.ledger.batch import book_either_way, fails_alone
from payment.ledger.booking import BookingResult
from payment.ledger.requests import BookingRequest, PaymentRequest
from payment.ledger.unread import Mode, Unread
from payment.storage.base import Database
from payment.storage.errors import can_be_repeated, refuses_data

TRIES_MAX = 3
"""How often a batch is tried while `can_be_repeated` says that nothing of it was written."""

_log = get_logger()


class BatchWriter:
    """Books batches for `GroupCommit`, one at a time.

    Args:
        database: where they are booked.
        committed: called on the event loop after each commit.
        unread: whether a batch is written unread.
    """

    def __init__(self, database: Database, *, committed: Callable[[], None], unread: Mode = "auto") -> None:
        self._database = database
        self._committed = committed
        self._unread = Unread(unread)

    async def write(self, batch: Sequence[BookingRequest]) -> list[BookingResult]:
        """Book a batch.

        Returns:
            A result for each request, in their order. If the batch fails for one request, that one gets
            `CannotBeStored` or `Unexpected`; if the database does not answer, each gets `Unavailable`.
        """
        began_s = time.perf_counter()
        try:
            results = await self._book(batch)
        except Exception as error:
            if fails_alone(error):
                if len(batch) > 1:  # the other requests must not fail with that one
                    return [result for request in batch for result in await self.write([request])]
                return [_failure_of(batch[0], error)]
            if not isinstance(error, SQLAlchemyError):
                raise
            # Nobody knows whether it was committed, so no caller is told 201 and nothing is tried again
            # here: that would answer 409 to one's own payment. The caller's key makes its retry safe.
            _log.error("batch failed", size=len(batch), **facts_of(error))
            return [Unavailable() for _ in batch]
        finally:
            note_batch(len(batch), time.perf_counter() - began_s)
        self._committed()
        return results

    async def _book(self, batch: Sequence[BookingRequest]) -> list[BookingResult]:
        """Book a batch. Raise the last error if the tries are used up, any other error at once."""
        tries = 0
        while True:
            tries += 1
            try:
                return await self._database.run_batch(
                    lambda transaction: book_either_way(
                        transaction, batch, now_us=time.time_ns() // 1000, unread=self._unread
                    )
                )
            except SQLAlchemyError as error:
                if tries == TRIES_MAX or not can_be_repeated(error):
                    raise


def _failure_of(request: BookingRequest, error: Exception) -> PaymentError:
    """Return what the caller of the one request is told that failed; the log has the rest."""
    facts = {**_subject_of(request), **facts_of(error)}
    if refuses_data(error):
        _log.warning("the database cannot store a request", **facts)
        return CannotBeStored()
    _log.error("a request failed", **facts, exc_info=error)
    return Unexpected()


def _subject_of(request: BookingRequest) -> dict[str, int]:
    """Return what a request is about, for the log."""
    if isinstance(request, PaymentRequest):
        return {"order_id": request.order_id}
    return {"payment_id": request.payment_id}
