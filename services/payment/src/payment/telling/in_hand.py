"""What a lane has in hand: the deliveries that it leased and whose end is not written yet."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from payment.core.units import SECOND_US
from payment.ledger.claims import Claim
from payment.ledger.judgements import Judgement
from payment.telling.downstream import DeliveryResult

IN_HAND_S = 0.1
"""A lane has in hand what it ends in this time: much for one transaction, too little to grow stale."""

IN_HAND_PER_SENDER = (4, 16)
"""But never less or more than this."""


class Ended(NamedTuple):
    """A delivery that ended; `result` is None if it was not sent at all."""

    claim: Claim
    result: DeliveryResult | None


class InHand:
    """The deliveries of one lane, from their lease to the commit that writes what became of them.

    A delivery is with the senders, then in `ended`, then in `judgements` or `unsent`, and leaves with
    `written`. The lane's thread alone changes anything here; senders only call `is_leased`. All times are
    microseconds of a clock that nobody sets.

    Args:
        senders: how many threads send.

    Attributes:
        ended: not judged yet.
        judgements: to be written.
        unsent: to be given back.
        renew_us: when the leases must be renewed.
    """

    def __init__(self, senders: int) -> None:
        self.ended = list[Ended]()
        self.judgements = list[Judgement]()
        self.unsent = list[Claim]()
        self.renew_us = 0
        self._least, self._most = (each * senders for each in IN_HAND_PER_SENDER)
        self._max = self._least
        self._leased_until_us: dict[int, int] = {}  # by target; the senders read it
        self._judged_us = 0

    @property
    def is_empty(self) -> bool:
        """Say whether nothing is leased."""
        return not self._leased_until_us

    @property
    def sending(self) -> int:
        """Return how many deliveries the senders have, or wait for."""
        return len(self._leased_until_us) - len(self.ended) - len(self.judgements) - len(self.unsent)

    @property
    def has_plenty(self) -> bool:
        """Say whether the senders have work for a while."""
        return self.sending > self._max // 2

    @property
    def room(self) -> int:
        """Return how many deliveries may be added."""
        return max(0, self._max - self.sending)

    @property
    def has_results(self) -> bool:
        """Say whether something is to be written."""
        return bool(self.judgements or self.unsent)

    def must_renew(self, now_us: int) -> bool:
        """Say whether it is time to renew the leases, if there are any."""
        return not self.is_empty and now_us >= self.renew_us

    def is_leased(self, target_id: int, now_us: int) -> bool:
        """Say whether a target's lease has not run out. Senders call this."""
        return now_us < self._leased_until_us.get(target_id, 0)

    def all_judged(self, now_us: int) -> None:
        """Forget what ended, as it is judged; follow the pace at which deliveries end."""
        if self.ended:
            per_s = len(self.ended) * SECOND_US / max(now_us - self._judged_us, 1)
            self._max = min(max(round(per_s * IN_HAND_S), self._least), self._most)
            self._judged_us = now_us
        self.ended.clear()

    def unfinished(self) -> set[int]:
        """Return the targets whose leases must be kept."""
        finished = {item.claim.target_id for item in self.judgements}
        finished.update(claim.target_id for claim in self.unsent)
        return self._leased_until_us.keys() - finished

    def written(self, claims: Sequence[Claim], renewed: Iterable[int], until_us: int) -> None:
        """Forget what is committed; add the claims that were made with it.

        Args:
            claims: they are in hand from now on.
            renewed: the targets whose leases were renewed.
            until_us: when these leases and those of the claims run out.
        """
        for target_id in self._leased_until_us.keys() - self.unfinished():
            del self._leased_until_us[target_id]
        self.judgements.clear()
        self.unsent.clear()
        self._leased_until_us.update(dict.fromkeys(renewed, until_us))
        self._leased_until_us.update((claim.target_id, until_us) for claim in claims)
