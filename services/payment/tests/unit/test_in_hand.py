"""What a lane has in hand: each delivery is counted once, wherever it is, until its end is written."""

from hypothesis import given
from hypothesis import strategies as st

from payment.core.neighbours import ORDER
from payment.core.states import Outcome, State, Status
from payment.core.units import SECOND_US
from payment.ledger.claims import Claim
from payment.ledger.judgements import Judgement
from payment.telling.downstream import DeliveryResult
from payment.telling.in_hand import Ended, InHand

NOW_US = 1_700_000_000 * SECOND_US
UNTIL_US = NOW_US + 30 * SECOND_US
TOLD = DeliveryResult(Outcome.DELIVERED)


def claim(target_id: int) -> Claim:
    return Claim(
        id=target_id,
        neighbour=ORDER,
        target_id=target_id,
        payment_id=1,
        status=Status.PAID,
        attempts=0,
        created_us=0,
        due_since_us=0,
        unknown_since_us=None,
        resend_us=None,
        is_repeat=False,
        traceparent=None,
        request_id=None,
    )


def holding(*target_ids: int, senders: int = 4) -> InHand:
    in_hand = InHand(senders)
    in_hand.written([claim(each) for each in target_ids], renewed=(), until_us=UNTIL_US)
    return in_hand


@given(st.lists(st.sampled_from(["sending", "ended", "judged", "unsent"]), max_size=20))
def test_only_what_the_senders_have_is_sending_and_all_is_leased_until_it_is_written(
    places: list[str],
) -> None:
    in_hand = holding(*range(len(places)))
    for target_id, place in enumerate(places):
        if place == "ended":
            in_hand.ended.append(Ended(claim(target_id), TOLD))
        elif place == "judged":
            in_hand.judgements.append(Judgement(claim(target_id), State.DELIVERED, Outcome.DELIVERED))
        elif place == "unsent":
            in_hand.unsent.append(claim(target_id))
    assert in_hand.sending == places.count("sending")
    assert in_hand.room == max(0, 16 - in_hand.sending), "four for each of four senders"
    assert in_hand.has_plenty is (in_hand.sending > 8)
    assert in_hand.has_results is ("judged" in places or "unsent" in places)
    assert all(in_hand.is_leased(target_id, NOW_US) for target_id in range(len(places)))
    kept = {target_id for target_id, place in enumerate(places) if place in ("sending", "ended")}
    assert in_hand.unfinished() == kept
    in_hand.written([], renewed=(), until_us=0)
    assert {each for each in range(len(places)) if in_hand.is_leased(each, NOW_US)} == kept
    assert in_hand.is_empty is (not kept)


def test_a_lease_that_ran_out_is_none_and_a_renewed_one_lasts() -> None:
    in_hand = holding(1, 2)
    in_hand.written([claim(3)], renewed={1}, until_us=UNTIL_US + 1)
    assert [in_hand.is_leased(each, UNTIL_US) for each in (1, 2, 3, 4)] == [True, False, True, False]


def test_leases_are_renewed_while_there_are_any() -> None:
    in_hand = holding(1)
    in_hand.renew_us = NOW_US
    assert in_hand.must_renew(NOW_US)
    assert not in_hand.must_renew(NOW_US - 1)
    assert not InHand(4).must_renew(NOW_US)


def test_there_is_room_for_what_ends_in_a_tenth_of_a_second_within_bounds() -> None:
    for ended, room in ((1, 16), (250, 25), (10_000, 64)):
        in_hand = InHand(4)
        in_hand.ended.extend(Ended(claim(each), TOLD) for each in range(2))
        in_hand.all_judged(NOW_US)
        in_hand.ended.extend(Ended(claim(each), TOLD) for each in range(ended))
        in_hand.all_judged(NOW_US + SECOND_US)
        assert in_hand.ended == []
        assert in_hand.room == room
