"""Tells a neighbour at a simulated time: claims and judges as a lane does, but what it answers is made up."""

from collections.abc import Sequence
from functools import partial
from random import Random

from sqlalchemy import Connection

from payment.core.cause import Cause, actor_of_user
from payment.core.neighbours import Neighbour
from payment.core.retry_policy import RetryPolicy
from payment.core.states import OUTAGES, State
from payment.core.units import SECOND_US
from payment.demo.agenda import Agenda
from payment.demo.mishaps import SILENT, Mishap, answer_of
from payment.demo.staff import OWNER
from payment.ledger import claims as claiming
from payment.ledger import outages, outbox
from payment.ledger.claims import Claim
from payment.ledger.judgements import record
from payment.telling.delivery import judge_delivery
from payment.telling.downstream import DeliveryResult

WORKER = "demo"
CLAIMS_MAX = 16
LEASE_US, RESEND_AFTER_US, READ_TIMEOUT_US = 30 * SECOND_US, 60 * SECOND_US, 5 * SECOND_US
NEVER_US = 2**62


class Messenger:
    """Tells one neighbour, with the usual settings.

    Args:
        neighbour: whom.
        mishaps: when it does not take what it is told.
        agenda: what is done, and when.
        draw: draws how long an answer takes, and the jitter of retries.
    """

    def __init__(self, neighbour: Neighbour, mishaps: Sequence[Mishap], agenda: Agenda, draw: Random) -> None:
        self._neighbour = neighbour
        self._mishaps = mishaps
        self._agenda = agenda
        self._draw = draw
        self._policy = RetryPolicy()
        self._looks_us = NEVER_US
        self._is_away = False

    def wake(self, now_us: int) -> None:
        """Look for news at once."""
        self._look(now_us + self._while_us(0.005, 0.02))

    def tell_again(self, target_id: int, connection: Connection, now_us: int) -> None:
        """Send the dead notification about an order or guest again, as the owner does."""
        dead = outbox.find_notifications(connection, service=self._neighbour.name, state=State.DEAD)
        of_target = [row["id"] for row in dead if row["target_id"] == target_id]
        outbox.send_again(connection, now_us, Cause(actor_of_user(OWNER)), of_target)
        self.wake(now_us)

    def _look(self, time_us: int) -> None:
        """Look for news at this time, unless that is done sooner."""
        if time_us < self._looks_us:
            self._looks_us = time_us
            self._agenda.at(time_us, self._claim)

    def _claim(self, connection: Connection, now_us: int) -> None:
        """Claim what is due, and let the neighbour answer."""
        if now_us != self._looks_us:
            return  # it was looked for sooner
        self._looks_us = NEVER_US
        if not self._agenda.is_past(now_us + READ_TIMEOUT_US):
            return  # the answer may come after now, and a claim that nobody judges is a dead worker's
        claims = claiming.claim(
            connection,
            self._neighbour,
            WORKER,
            now_us,
            lease_us=LEASE_US,
            resend_after_us=RESEND_AFTER_US,
            limit=CLAIMS_MAX,
            probing=False,
        )
        if not claims:
            self._look_when_due(connection, now_us)
            return
        answered = [
            (each, answer_of(self._mishaps, self._neighbour, each.target_id, now_us)) for each in claims
        ]
        is_silent = any(answer is SILENT for _, answer in answered)
        takes_us = READ_TIMEOUT_US if is_silent else self._while_us(0.015, 0.12)
        self._agenda.at(now_us + takes_us, partial(self._judge, answered))

    def _judge(
        self, answered: Sequence[tuple[Claim, DeliveryResult]], connection: Connection, now_us: int
    ) -> None:
        """Write what became of claims."""
        judgements = [
            judge_delivery(
                claim,
                answer,
                self._policy,
                now_us=now_us,
                jitter=self._draw.random(),
                resend_after_us=RESEND_AFTER_US,
            )
            for claim, answer in answered
        ]
        record(connection, self._neighbour, WORKER, judgements, now_us)
        if any(item.outcome in OUTAGES for item in judgements):
            self._is_away = True
        elif self._is_away:
            outages.end_outage(connection, self._neighbour, now_us)
            self._is_away = False
        self._look_when_due(connection, now_us)

    def _look_when_due(self, connection: Connection, now_us: int) -> None:
        due_us = claiming.next_due_us(connection, self._neighbour, now_us, lease_us=LEASE_US, probing=False)
        if due_us is not None:
            self._look(max(due_us, now_us + 1))

    def _while_us(self, shortest_s: float, longest_s: float) -> int:
        return round(self._draw.uniform(shortest_s, longest_s) * SECOND_US)
