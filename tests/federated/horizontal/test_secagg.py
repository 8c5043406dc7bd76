"""Secure aggregation's two state machines: exact sums, dropouts, and what a lying aggregator or
member gets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from federated.errors import BadInput, Conflict, PeerFault, QiaolianError
from federated.horizontal import shamir
from federated.horizontal.secagg import (
    SecureSumTerms,
    add_pair_mask,
    add_self_mask,
    advert_digest,
    min_threshold,
)
from federated.horizontal.secagg_aggregator import Aggregator
from federated.horizontal.secagg_member import Member

NAMES = ("a", "b", "c", "d", "e")
STEPS = ("keys", "shares", "masked", "confirm", "reveal")


def terms_of(
    *,
    label: str = "job/1",
    members: tuple[str, ...] = NAMES,
    length: int = 50,
    bound: int = 1000,
    **more: int,
) -> SecureSumTerms:
    return SecureSumTerms(label, members, length, bound, **more)


def vectors_of(terms: SecureSumTerms, seed: int = 1) -> dict[str, NDArray[np.int64]]:
    numbers = np.random.default_rng(seed)
    return {
        name: numbers.integers(-terms.bound, terms.bound + 1, terms.length)
        for name in terms.members
    }


def attestations_of(members: Mapping[str, Member]) -> dict[str, bytes]:
    """The attestation of each member, over a channel that the aggregator cannot alter."""
    return {
        name: advert_digest(member.terms, name, Member(member.terms, name, member.seed).advertise())
        for name, member in members.items()
    }


def members_of(terms: SecureSumTerms) -> dict[str, Member]:
    return {
        name: Member(terms, name, bytes([index + 1]) * 32)
        for index, name in enumerate(terms.members)
    }


class Parties:
    """All machines of one sum, passed through the steps; ``gone`` says who is missing from which
    step on.
    """

    def __init__(self, terms: SecureSumTerms, gone: Mapping[str, str] | None = None) -> None:
        self.terms, self.members, self.aggregator = terms, members_of(terms), Aggregator(terms)
        self.vectors = vectors_of(terms)
        self._gone = gone or {}

    def at(self, step: str) -> dict[str, Member]:
        return {
            name: member
            for name, member in self.members.items()
            if STEPS.index(self._gone.get(name, "reveal")) > STEPS.index(step)
            or name not in self._gone
        }

    def keys(self) -> dict[str, bytes]:
        return self.aggregator.collect_keys(
            {name: member.advertise() for name, member in self.at("keys").items()},
        )

    def shares(self) -> dict[str, dict[str, bytes]]:
        roster = self.keys()
        attested = attestations_of(self.members)
        return self.aggregator.route_shares(
            {name: member.share(roster, attested) for name, member in self.at("shares").items()},
        )

    def masked(self) -> tuple[str, ...]:
        routed = self.shares()
        return self.aggregator.add_masked(
            {
                name: member.mask(self.vectors[name], routed[name])
                for name, member in self.at("masked").items()
            }
        )

    def confirm(self) -> dict[str, dict[str, bytes]]:
        survivors = self.masked()
        return self.aggregator.route_confirmations(
            {name: member.confirm(survivors) for name, member in self.at("confirm").items()},
        )

    def reveal(self) -> NDArray[np.int64]:
        routed = self.confirm()
        return self.aggregator.unmask(
            {name: member.reveal(routed[name]) for name, member in self.at("reveal").items()},
        )

    def expected(self) -> Any:
        return sum(self.vectors[name] for name in self.at("masked"))


def refused(code: str, kind: type[QiaolianError] = PeerFault) -> Any:
    return pytest.raises(kind, check=lambda error: error.code == code)


# --- Sums -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("count", [3, 5])
def test_the_sum_is_exact(bits: int, count: int) -> None:
    parties = Parties(terms_of(members=NAMES[:count], bits=bits))
    assert np.array_equal(parties.reveal(), parties.expected())


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("who", ["a", "c", "e"])
def test_one_may_be_gone_from_any_step_on(step: str, who: str) -> None:
    parties = Parties(terms_of(), {who: step})
    assert np.array_equal(parties.reveal(), parties.expected())


@pytest.mark.parametrize("step", STEPS)
def test_of_three_one_may_be_gone_from_any_step_on(step: str) -> None:
    parties = Parties(terms_of(members=NAMES[:3]), {"b": step})
    assert np.array_equal(parties.reveal(), parties.expected())


def test_two_may_be_gone_at_different_steps() -> None:
    parties = Parties(terms_of(), {"b": "masked", "d": "reveal"})
    assert np.array_equal(parties.reveal(), parties.expected())


@pytest.mark.parametrize("step", STEPS)
def test_too_few_members_at_any_step_end_the_sum(step: str) -> None:
    with refused("too_few_members"):
        Parties(terms_of(), dict.fromkeys("bcd", step)).reveal()


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(3, 6),
    length=st.integers(1, 20),
    bits=st.sampled_from([32, 64]),
    data=st.data(),
)
def test_sums_are_exact_for_any_dropouts_within_the_threshold(
    count: int,
    length: int,
    bits: int,
    data: st.DataObject,
) -> None:
    members = tuple("abcdef"[:count])
    terms = terms_of(members=members, length=length, bits=bits)
    gone = data.draw(
        st.dictionaries(
            st.sampled_from(members),
            st.sampled_from(STEPS),
            max_size=count - terms.threshold,
        )
    )
    parties = Parties(terms, gone)
    assert np.array_equal(parties.reveal(), parties.expected())


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("sign", [1, -1])
def test_vectors_at_the_very_bound_do_not_wrap(bits: int, sign: int) -> None:
    bound = (2 ** (bits - 1) - 1) // 5
    parties = Parties(terms_of(bits=bits, bound=bound))
    parties.vectors = {name: np.full(50, sign * bound) for name in NAMES}
    assert set(parties.reveal().tolist()) == {sign * 5 * bound}


def test_the_same_seeds_give_the_same_messages() -> None:
    first, second = (Parties(terms_of()) for _ in range(2))
    assert first.shares() == second.shares()
    first, second = (Parties(terms_of(), {"a": "masked"}) for _ in range(2))
    assert first.confirm() == second.confirm()


def test_a_member_goes_on_in_another_process_from_its_dump() -> None:
    parties = Parties(terms_of(), {"d": "masked"})
    for step in STEPS:
        parties.members = {
            name: Member.load(parties.terms, member.dump())
            for name, member in parties.members.items()
        }
        if step == "keys":
            roster = parties.keys()
        elif step == "shares":
            attested = attestations_of(parties.members)
            routed = parties.aggregator.route_shares(
                {name: member.share(roster, attested) for name, member in parties.members.items()},
            )
        elif step == "masked":
            survivors = parties.aggregator.add_masked(
                {
                    name: member.mask(parties.vectors[name], routed[name])
                    for name, member in parties.at("masked").items()
                }
            )
        elif step == "confirm":
            confirmed = parties.aggregator.route_confirmations(
                {name: member.confirm(survivors) for name, member in parties.at("confirm").items()},
            )
        else:
            total = parties.aggregator.unmask(
                {
                    name: member.reveal(confirmed[name])
                    for name, member in parties.at("reveal").items()
                }
            )
    assert np.array_equal(total, parties.expected())


# --- Terms ----------------------------------------------------------------------------------------


def test_fewer_than_three_members_hide_nothing() -> None:
    with refused("too_few_members", BadInput):
        terms_of(members=("a", "b"))


def test_the_same_member_twice_is_refused() -> None:
    with refused("too_few_members", BadInput):
        terms_of(members=("a", "b", "b"))


@pytest.mark.parametrize("threshold", [1, 2, 6])
def test_a_threshold_of_half_or_less_is_refused(threshold: int) -> None:
    with refused("threshold_wrong", BadInput):
        terms_of(threshold=threshold)


@pytest.mark.parametrize(("bits", "bound"), [(32, 2**31 // 5 + 1), (64, 2**63 // 5 + 1)])
def test_a_bound_whose_sum_could_wrap_is_refused(bits: int, bound: int) -> None:
    with refused("ring_too_small", BadInput):
        terms_of(bits=bits, bound=bound)


@pytest.mark.parametrize("wrong", [{"bits": 16}, {"length": 0}, {"bound": 0}, {"length": 1 << 40}])
def test_terms_nobody_can_meet_are_refused(wrong: dict[str, int]) -> None:
    with refused("aggregation_terms", BadInput):
        terms_of(**wrong)


@pytest.mark.parametrize("value", [1001, -1001, -(2**63)])
def test_an_element_beyond_the_bound_is_refused(value: int) -> None:
    parties = Parties(terms_of())
    routed = parties.shares()
    parties.vectors["a"][7] = value
    with refused("value_out_of_range", BadInput):
        parties.members["a"].mask(parties.vectors["a"], routed["a"])


@pytest.mark.parametrize(
    "vector",
    [np.zeros(49, np.int64), np.zeros((50, 1), np.int64), np.zeros(50, np.float64)],
)
def test_a_vector_of_another_length_or_type_is_refused(vector: NDArray[Any]) -> None:
    parties = Parties(terms_of())
    routed = parties.shares()
    with refused("length_wrong", BadInput):
        parties.members["a"].mask(vector, routed["a"])


# --- A lying aggregator ---------------------------------------------------------------------------


def test_a_second_list_of_survivors_is_not_answered() -> None:
    # With both answers the aggregator would hold shares of the key and of the seed of "e".
    parties = Parties(terms_of())
    parties.masked()
    parties.members["a"].confirm(NAMES)
    with refused("both_secrets"):
        parties.members["a"].confirm(("a", "b", "c", "d"))


def test_shares_are_revealed_once() -> None:
    parties = Parties(terms_of())
    routed = parties.confirm()
    parties.members["a"].reveal(routed["a"])
    with refused("step_out_of_order", Conflict):
        parties.members["a"].reveal(routed["a"])


def test_no_member_reveals_both_secrets_of_another() -> None:
    parties = Parties(terms_of(), {"e": "masked"})
    routed = parties.confirm()
    revealed = parties.members["a"].reveal(routed["a"])
    opened = parties.members["a"]._open_all()
    assert set(revealed) == set(NAMES)
    for owner, share in revealed.items():
        assert share == opened[owner][0 if owner == "e" else 1]
        assert share != opened[owner][1 if owner == "e" else 0]


def test_members_told_different_survivors_reveal_nothing() -> None:
    # Three receive a list with "e" (seed shares), the others one without it (key shares).
    parties = Parties(terms_of())
    parties.masked()
    lists = {name: NAMES if name in "abc" else ("a", "b", "c", "d") for name in "abcd"}
    sent = {name: parties.members[name].confirm(lists[name]) for name in "abcd"}
    for name in "abcd":
        confirmed_list = {
            peer: sent[peer][name] for peer in "abcd" if peer != name and name in sent[peer]
        }
        with refused("survivors_differ"):
            parties.members[name].reveal(confirmed_list)


def test_a_member_without_enough_confirmations_reveals_nothing() -> None:
    parties = Parties(terms_of())
    routed = parties.confirm()
    with refused("too_few_members"):
        parties.members["a"].reveal({"b": routed["a"]["b"]})


def test_a_confirmation_cannot_be_made_by_the_aggregator_nor_sent_back() -> None:
    parties = Parties(terms_of())
    parties.masked()
    sent = {name: member.confirm(NAMES) for name, member in parties.members.items()}
    for forged in (bytes(32), b"", sent["a"]["b"]):
        member = Member.load(parties.terms, parties.members["a"].dump())
        with refused("survivors_differ"):
            member.reveal({"b": forged, "c": sent["c"]["a"]})


def test_a_member_whose_vector_is_said_to_be_missing_reveals_nothing() -> None:
    parties = Parties(terms_of())
    parties.masked()
    with refused("members_wrong"):
        parties.members["a"].confirm(("b", "c", "d", "e"))


@pytest.mark.parametrize(
    "survivors",
    [("a", "b", "b", "c"), ("a", "b", "x"), ("a", "b", "c", "d", "e", "f")],
)
def test_survivors_who_are_no_members_are_refused(survivors: tuple[str, ...]) -> None:
    parties = Parties(terms_of())
    parties.masked()
    with refused("members_wrong"):
        parties.members["a"].confirm(survivors)


def test_a_sum_over_too_few_vectors_is_not_revealed() -> None:
    parties = Parties(terms_of())
    parties.masked()
    with refused("too_few_members"):
        parties.members["a"].confirm(("a", "b"))


def test_a_survivor_that_sent_no_shares_is_refused() -> None:
    parties = Parties(terms_of(), {"e": "shares"})
    parties.masked()
    with refused("members_wrong"):
        parties.members["a"].confirm(NAMES)


def test_another_key_under_the_members_own_name_is_refused() -> None:
    parties = Parties(terms_of())
    roster = dict(parties.keys())
    roster["a"] = Member(parties.terms, "a", b"z" * 32).advertise()
    with refused("roster_wrong"):
        parties.members["a"].share(roster, attestations_of(parties.members))


@pytest.mark.parametrize("wrong", [b"", bytes(95), bytes(96)])
def test_keys_that_are_none_are_refused(wrong: bytes) -> None:
    parties = Parties(terms_of())
    roster = {**parties.keys(), "b": wrong}
    with refused("roster_wrong"):
        parties.members["a"].share(roster, attestations_of(parties.members))


def test_one_members_keys_under_two_names_are_refused() -> None:
    parties = Parties(terms_of())
    roster = dict(parties.keys())
    roster["b"] = roster["c"]
    with refused("roster_wrong"):
        parties.members["a"].share(roster, attestations_of(parties.members))


def evil_roster(parties: Parties) -> dict[str, bytes]:
    """The keys "a" is given by an aggregator that has made those of all others itself."""
    made = {
        name: Member(parties.terms, name, b"z" * 31 + name.encode()).advertise()
        for name in NAMES[1:]
    }
    return {**made, "a": parties.members["a"].advertise()}


def test_an_aggregator_that_gives_keys_of_its_own_as_the_peers_gets_no_share() -> None:
    # With them it could open the shares of "a", rebuild its key and seed, and read its vector
    # before anything is revealed.
    parties = Parties(terms_of())
    with refused("keys_differ"):
        parties.members["a"].share(evil_roster(parties), attestations_of(parties.members))


def test_one_key_swapped_is_noticed_before_anything_is_shared() -> None:
    parties = Parties(terms_of())
    roster = {**parties.keys(), "e": evil_roster(Parties(terms_of()))["e"]}
    with refused("keys_differ"):
        parties.members["a"].share(roster, attestations_of(parties.members))


def test_a_peer_that_attested_nothing_gets_no_share() -> None:
    parties = Parties(terms_of())
    roster = parties.keys()
    with refused("keys_differ"):
        parties.members["a"].share(
            roster,
            {
                name: digest
                for name, digest in attestations_of(parties.members).items()
                if name != "e"
            },
        )


@pytest.mark.parametrize("other", [terms_of(label="job/2"), terms_of(bound=999)])
def test_an_attestation_of_another_sum_does_not_count(other: SecureSumTerms) -> None:
    parties = Parties(terms_of())
    roster = parties.keys()
    attested = {name: advert_digest(other, name, advert) for name, advert in roster.items()}
    with refused("keys_differ"):
        parties.members["a"].share(roster, attested)


def test_members_that_start_from_different_models_reveal_nothing() -> None:
    parties = Parties(terms_of())
    routed = parties.shares()
    bases = {name: bytes([name == "a"]) * 32 for name in NAMES}
    survivors = parties.aggregator.add_masked(
        {
            name: member.mask(parties.vectors[name], routed[name], bases[name])
            for name, member in parties.members.items()
        }
    )
    routed = parties.aggregator.route_confirmations(
        {name: member.confirm(survivors) for name, member in parties.members.items()},
    )
    for name in "ab":
        member = Member.load(parties.terms, parties.members[name].dump())
        with refused("survivors_differ"):
            member.reveal(routed[name])


# --- Members who collude with the aggregator ------------------------------------------------------


def both_secrets(parties: Parties, colluder: str) -> bool:
    """Whether an aggregator and this member get key and seed of "a" by two lists, the colluder
    confirming both.
    """
    parties.masked()
    lists = {"a": ("a", "b", "e"), "b": ("a", "b", "e"), "c": ("c", "d", "e"), "d": ("c", "d", "e")}
    sent = {
        name: parties.members[name].confirm(confirmed_list)
        for name, confirmed_list in lists.items()
    }
    given = {name: dict[str, bytes]() for name in lists}
    for confirmed_list in (lists["a"], lists["c"]):
        member = Member.load(parties.terms, parties.members[colluder].dump())
        sent[colluder] = member.confirm(confirmed_list)
        for name in confirmed_list[:2]:
            given[name] = {peer: sent[peer][name] for peer in confirmed_list if peer != name}
    revealed = {name: parties.members[name].reveal(given[name]) for name in lists}
    own = parties.members[colluder]._open_all()["a"]
    points = {name: parties.terms.point(name) for name in NAMES}
    seed = shamir.combine(
        {
            points["a"]: revealed["a"]["a"],
            points["b"]: revealed["b"]["a"],
            points[colluder]: own[1],
        },
    )
    key = shamir.combine(
        {
            points["c"]: revealed["c"]["a"],
            points["d"]: revealed["d"]["a"],
            points[colluder]: own[0],
        },
    )
    return (seed, key) == (
        parties.members["a"]._secret("self"),
        parties.members["a"]._secret("masking"),
    )


def test_one_colluder_opens_a_vector_at_more_than_half_and_not_at_the_least_threshold_for_it() -> (
    None
):
    assert both_secrets(Parties(terms_of(threshold=min_threshold(5))), "e")
    with refused("too_few_members"):
        both_secrets(Parties(terms_of(threshold=min_threshold(5, 1))), "e")


def test_one_colluder_of_three_and_a_claimed_dropout_need_a_threshold_of_three() -> None:
    # The sum of two, less the colluder's own part, is the third's vector: no threshold of two hides
    # it.
    parties = Parties(terms_of(members=NAMES[:3]), {"c": "masked"})
    assert np.array_equal(parties.reveal() - parties.vectors["b"], parties.vectors["a"])
    with refused("too_few_members"):
        Parties(
            terms_of(members=NAMES[:3], threshold=min_threshold(3, 1)),
            {"c": "masked"},
        ).reveal()


@given(members=st.integers(3, 256), colluders=st.integers(0, 253))
def test_the_least_threshold_leaves_two_hidden_vectors_and_one_list(
    members: int,
    colluders: int,
) -> None:
    least = min_threshold(members, colluders)
    for threshold in range(1, members + 1):
        hidden = threshold - colluders >= 2 and 2 * threshold > members + colluders
        assert hidden == (threshold >= least)


# --- Altered and replayed messages ----------------------------------------------------------------


@pytest.mark.parametrize("index", [0, 40, 81])
def test_altered_shares_do_not_open(index: int) -> None:
    parties = Parties(terms_of())
    routed = parties.shares()
    altered = bytearray(routed["a"]["b"])
    altered[index] ^= 1
    with refused("shares_altered"):
        parties.members["a"].mask(parties.vectors["a"], {**routed["a"], "b": bytes(altered)})


def test_shares_of_another_round_do_not_open() -> None:
    old, new = Parties(terms_of(label="job/1")), Parties(terms_of(label="job/2"))
    replayed, routed = old.shares(), new.shares()
    with refused("shares_altered"):
        new.members["a"].mask(new.vectors["a"], {**routed["a"], "b": replayed["a"]["b"]})


def test_shares_for_another_member_do_not_open() -> None:
    parties = Parties(terms_of())
    routed = parties.shares()
    with refused("shares_altered"):
        parties.members["a"].mask(parties.vectors["a"], {**routed["a"], "b": routed["c"]["b"]})


def test_members_with_other_terms_do_not_understand_each_other() -> None:
    parties = Parties(terms_of())
    parties.members["b"] = Member(terms_of(bound=999), "b", b"\2" * 32)
    with refused("keys_differ"):
        parties.shares()


def test_an_altered_share_gives_no_wrong_sum() -> None:
    for owner in ("b", "e"):  # a survivor's seed, a missing member's key
        parties = Parties(terms_of(), {"e": "masked"})
        routed = parties.confirm()
        revealed = {
            name: member.reveal(routed[name]) for name, member in parties.at("reveal").items()
        }
        altered = bytearray(revealed["a"][owner])
        altered[-1] ^= 1
        revealed["a"] = {**revealed["a"], owner: bytes(altered)}
        with refused("share_wrong"):
            parties.aggregator.unmask(revealed)


def test_a_vector_beyond_the_bound_is_noticed_in_the_sum() -> None:
    parties = Parties(terms_of())
    routed = parties.shares()
    masked = {
        name: member.mask(parties.vectors[name], routed[name])
        for name, member in parties.members.items()
    }
    masked["c"] += np.uint64(2**40)
    survivors = parties.aggregator.add_masked(masked)
    confirmed = parties.aggregator.route_confirmations(
        {name: member.confirm(survivors) for name, member in parties.members.items()},
    )
    with refused("sum_out_of_range"):
        parties.aggregator.unmask(
            {name: member.reveal(confirmed[name]) for name, member in parties.members.items()},
        )


@pytest.mark.parametrize("vector", [np.zeros(49, np.uint64), np.zeros(50, np.uint32)])
def test_the_aggregator_refuses_a_vector_of_another_length_or_ring(vector: NDArray[Any]) -> None:
    parties = Parties(terms_of())
    routed = parties.shares()
    masked = {
        name: member.mask(parties.vectors[name], routed[name])
        for name, member in parties.members.items()
    }
    with refused("message_malformed"):
        parties.aggregator.add_masked({**masked, "b": vector})


def test_the_aggregator_refuses_keys_and_shares_of_the_wrong_size_or_for_the_wrong_members() -> (
    None
):
    parties = Parties(terms_of())
    adverts = {name: member.advertise() for name, member in parties.members.items()}
    with refused("message_malformed"):
        Aggregator(parties.terms).collect_keys({**adverts, "b": bytes(95)})
    roster = parties.aggregator.collect_keys(adverts)
    shares = {
        name: member.share(roster, attestations_of(parties.members))
        for name, member in parties.members.items()
    }
    with refused("message_malformed"):
        parties.aggregator.route_shares({**shares, "b": {**shares["b"], "a": b""}})
    with refused("members_wrong"):
        parties.aggregator.route_shares(
            {**shares, "b": {name: share for name, share in shares["b"].items() if name != "a"}},
        )


# --- What the aggregator sees ---------------------------------------------------------------------


def test_a_masked_vector_of_zeros_looks_uniform() -> None:
    terms = terms_of(length=40_000)
    parties = Parties(terms)
    routed = parties.shares()
    masked = parties.members["a"].mask(np.zeros(terms.length, np.int64), routed["a"])
    counts = np.bincount(masked.view(np.uint8), minlength=256)
    mean = masked.nbytes / 256
    # 255 degrees of freedom: below 340 with probability 1 - 3e-4; the seeds are fixed.
    assert float(((counts - mean) ** 2 / mean).sum()) < 340


def test_a_late_vector_is_still_hidden_once_the_pairwise_masks_are_known() -> None:
    # "e" is taken for missing and its key is rebuilt; its vector, come late, is still under its own
    # mask.
    parties = Parties(terms_of(), {"e": "masked"})
    routed = parties.shares()
    late = parties.members["e"].mask(parties.vectors["e"], routed["e"])
    stripped = late.copy()
    for peer in "abcd":
        add_pair_mask(
            parties.terms,
            stripped,
            parties.members["e"]._secret("masking"),
            parties.aggregator.roster[peer][32:64],
            "e",
            peer,
            undo=True,
        )
    assert np.abs(stripped.view(np.int64)).max() > 2**60
    add_self_mask(parties.terms, stripped, parties.members["e"]._secret("self"), "e", undo=True)
    assert np.array_equal(stripped.view(np.int64), parties.vectors["e"])


@pytest.mark.parametrize("step", range(5))
def test_steps_out_of_order_are_refused(step: int) -> None:
    parties = Parties(terms_of())
    vector = parties.vectors["a"]
    routed: dict[str, bytes] = {}
    calls = [
        lambda member: member.advertise(),
        lambda member: member.share({}, {}),
        lambda member: member.mask(vector, routed),
        lambda member: member.confirm(NAMES),
        lambda member: member.reveal({}),
    ]
    member = Member(parties.terms, "a", b"\1" * 32, step=(step + 2) % 5)
    with pytest.raises(
        QiaolianError,
        check=lambda error: error.code in ("step_out_of_order", "both_secrets"),
    ):
        calls[step](member)
