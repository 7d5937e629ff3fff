"""Who has which reference of a provider, as a batch changes that. Pure (docs/decisions/0021)."""

from payment.core.errors import ReferenceDiffers, ReferenceTaken, RefundReferenceTaken
from payment.core.states import Method, Status
from payment.ledger.books import Books
from payment.ledger.records import Payment, Refund


class References:
    """The references of the payments that did not fail, and those of the refunds.

    Args:
        books: who had them before; not changed.
    """

    def __init__(self, books: Books) -> None:
        self._payments = dict(books.references)
        self._refunds = dict(books.refund_references)

    def check(self, method: Method, reference: str | None, of: Payment | None = None) -> None:
        """Let a reference pass that no payment has but this one.

        Raises:
            ReferenceTaken: another has it.
        """
        holder = None if reference is None else self._payments.get((method, reference))
        if holder is not None and (of is None or holder != of.id):
            raise ReferenceTaken(reference=reference, payment_id=holder)

    def check_refund(self, method: Method, reference: str | None) -> None:
        """Let a reference pass that no refund has.

        Raises:
            RefundReferenceTaken: one has it.
        """
        holder = None if reference is None else self._refunds.get((method, reference))
        if holder is not None:
            raise RefundReferenceTaken(reference=reference, payment_id=holder.payment_id, refund_id=holder.id)

    def note(self, payment: Payment) -> None:
        """Note that a payment is like this now; one that failed lets its reference go."""
        if payment.reference is None:
            return
        reference = payment.method, payment.reference
        if payment.status is not Status.FAILED:
            self._payments[reference] = payment.id
        elif self._payments.get(reference) == payment.id:
            del self._payments[reference]

    def note_refund(self, refund: Refund) -> None:
        """Note that a refund was made."""
        if refund.reference is not None:
            self._refunds[refund.method, refund.reference] = refund


def reference_of(payment: Payment, given: str | None) -> str | None:
    """Return the reference that a payment has once it is settled with this one; None is none.

    Raises:
        ReferenceDiffers: it has another.
    """
    if given is not None and payment.reference not in (None, given):
        raise ReferenceDiffers(payment_id=payment.id, reference=payment.reference, given=given)
    return payment.reference if given is None else given
