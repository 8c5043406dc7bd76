"""The oblivious programmable PRF: outputs, what each party sees, and peers that send wrong
messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federated.channel import Channel, decode
from federated.errors import BadInput, Conflict, PeerFault, QiaolianError
from federated.intersection import (
    OpprfReceiver,
    OpprfSender,
    PsiTerms,
    cuckoo,
    follow_opprf,
    lead_opprf,
    opprf,
)
from federated.intersection.base_ot import OtSender
from federated.intersection.batch_oprf import (
    BatchOprfReceiver,
    BatchOprfSender,
    Placement,
    SenderSecret,
    place_rows,
)
from federated.intersection.handshake import handshake
from federated.intersection.okvs import OkvsLayout, Solver
from federated.intersection.oprf import CODE_BITS
from federated.local import QueueWire, run_local
from federated.randomness import Randomness
from federated.session import Session
from tests.federated.intersection.wires import Recorder, assign, lie, narrow, shorten, wrap

SMALL = PsiTerms(reveal="nobody", pad_to=8)
NAMES = ("tax", "water", "customs")
_PATIENCE = 300  # seconds; parties that wait for one another would never end
Program = Callable[[OpprfSender, int], Any]


def ids_of(numbers: Any) -> Any:
    return np.array([b"91310115%010d" % number for number in numbers])


def refused(name: str, kind: type[QiaolianError]) -> Any:
    return pytest.raises(kind, check=lambda error: error.code == name)


def noise(count: int, number: int, words: int) -> Any:
    return Randomness(bytes(32), f"values/{number}").words(count, words)


class Run:
    """One OPPRF in this process.

    The bank leads; each follower programs noise unless ``program`` is given. ``wraps`` may wrap a
    party's channels.
    """

    def __init__(
        self,
        leader: Any,
        *sets: Any,
        words: Sequence[int] = (3,),
        terms: PsiTerms = SMALL,
        seed: bytes = b"1",
        program: Program | None = None,
        **wraps: Any,
    ) -> None:
        self.leader, self.sets = leader, dict(zip(NAMES, sets, strict=False))
        self.entries: dict[str, OpprfSender] = {}
        self.sent: dict[str, list[Any]] = {name: [] for name in self.sets}
        self.got: dict[str, list[Any]] = {name: [] for name in self.sets}
        self.row_of_bin: Any = None

        async def lead(session: Session) -> None:
            opprf: OpprfReceiver = await lead_opprf(
                session,
                leader,
                list(self.sets),
                terms,
                "opprf",
            )
            self.row_of_bin = opprf.row_of_bin
            for size in words:
                for name in self.sets:
                    self.got[name].append(await opprf.receive(name, size))

        async def follow(session: Session) -> None:
            entries = await follow_opprf(session, self.sets[session.party], "bank", terms, "opprf")
            self.entries[session.party] = entries
            for number, size in enumerate(words):
                values = (
                    noise(len(entries.row), number, size)
                    if program is None
                    else program(entries, size)
                )
                self.sent[session.party].append(values)
                await entries.send(values)

        def party(name: str) -> Any:
            async def role(session: Session) -> None:
                async with asyncio.timeout(_PATIENCE):
                    await (lead if name == "bank" else follow)(
                        wrap(session, wraps[name]) if name in wraps else session,
                    )

            return role

        names = ("bank", *self.sets)
        run_local(
            {name: party(name) for name in names},
            seeds={name: (seed + name.encode()) * 8 for name in names},
        )

    def expected(self, name: str, number: int = 0) -> dict[int, list[int]]:
        """What a plain dictionary of the follower's entries holds for the identifier that the
        leader has in each bin.
        """
        entries, ids, values = (
            self.entries[name],
            self.sets[name].tolist(),
            self.sent[name][number].tolist(),
        )
        identifier_of_bin = {
            index: self.leader[row]
            for index, row in enumerate(self.row_of_bin.tolist())
            if row >= 0
        }
        plain = {
            (index, ids[row]): values[entry]
            for entry, (index, row) in enumerate(
                zip(entries.bin.tolist(), entries.row.tolist(), strict=True),
            )
        }
        return {
            index: plain[index, identifier]
            for index, identifier in identifier_of_bin.items()
            if (index, identifier) in plain
        }

    def agrees(self, name: str, number: int = 0) -> int:
        """How many bins hold what the dictionary does, all of those it knows; no word that was sent
        occurs anywhere else.
        """
        expected, got = self.expected(name, number), self.got[name][number]
        assert {index: got[index].tolist() for index in expected} == expected
        others = np.delete(got, list(expected), axis=0)
        assert not np.isin(others, self.sent[name][number]).any()
        return len(expected)


def is_uniform(words: Any) -> bool:
    """Whether every bit place has about as many ones as zeros: within five standard deviations."""
    bits = np.unpackbits(np.ascontiguousarray(words).reshape(-1, 1).view(np.uint8), axis=1)
    return bool((np.abs(bits.sum(axis=0) - len(bits) / 2) < 5 * np.sqrt(len(bits)) / 2).all())


# --- Results --------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=10)
@given(
    st.lists(st.lists(st.integers(0, 60), unique=True, max_size=40), min_size=2, max_size=4),
    st.integers(1, 13),
)
def test_the_leader_gets_what_a_dictionary_would_give(lists: list[list[int]], words: int) -> None:
    run = Run(*(ids_of([99, *numbers]) for numbers in lists), words=[words, 2])
    assert sorted(run.row_of_bin[run.row_of_bin >= 0].tolist()) == list(range(len(lists[0]) + 1))
    for name, others in zip(NAMES, lists[1:], strict=False):
        for number in range(2):
            assert run.agrees(name, number) == len({99, *lists[0]} & {99, *others})


@pytest.mark.parametrize(("suite", "pad_to"), [("sm", 1), ("aes", 1024), ("aes", "power_of_two")])
def test_by_either_suite_and_any_padding(suite: str, pad_to: Any) -> None:
    run = Run(
        ids_of(range(40)),
        ids_of(range(30, 90)),
        terms=PsiTerms(suite=suite, reveal="nobody", pad_to=pad_to),
    )
    assert run.agrees("tax") == 10


def test_a_large_set_meets_a_small_one() -> None:
    many, few = ids_of(range(50_000)), ids_of(range(0, 80_000, 9999))
    assert Run(many, few).agrees("tax") == Run(few, many).agrees("tax") == 6


def test_a_bin_is_one_row_of_the_leader_for_every_follower() -> None:
    run = Run(ids_of(range(40)), ids_of(range(20, 60)), ids_of(range(30, 70)))
    assert {entry.bins for entry in run.entries.values()} == {len(run.row_of_bin)}
    shared = set(run.expected("tax")) & set(run.expected("water"))
    assert sorted(run.row_of_bin[list(shared)].tolist()) == list(range(30, 40))


def test_every_row_of_a_follower_has_an_entry_in_each_part() -> None:
    entries = Run(ids_of(range(5)), ids_of(range(20))).entries["tax"]
    assert entries.row.tolist() == [*range(20)] * 3
    assert (entries.bin // (entries.bins // 3) == np.repeat([0, 1, 2], 20)).all()


def test_followers_of_different_widths_share_one_placement() -> None:
    short, long = np.array([b"12", b"1234"]), np.array([b"1234", b"12345678901234567890"])
    run = Run(np.array([b"12", b"123", b"1234"]), short, long)
    assert (run.agrees("tax"), run.agrees("water")) == (2, 1)


def test_words_of_a_wrong_count_are_not_sent() -> None:
    with pytest.raises(ValueError, match="15 entries"):
        Run(ids_of(range(5)), ids_of(range(5)), program=lambda entries, size: noise(14, 0, size))


def test_the_same_seeds_give_the_same_messages() -> None:
    first, second = Recorder(), Recorder()
    for recorder in (first, second):
        Run(ids_of(range(40)), ids_of(range(30, 60)), words=[2, 5], bank=recorder.watch)
    assert first.frames == second.frames


def test_a_wire_that_holds_one_frame_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    def narrow_pair() -> tuple[QueueWire, QueueWire]:
        there, back = asyncio.Queue[bytes | None](1), asyncio.Queue[bytes | None](1)
        return QueueWire(back, there), QueueWire(there, back)

    monkeypatch.setattr("federated.local.wire_pair", narrow_pair)
    monkeypatch.setattr(opprf, "_MAX_WORDS", 1000)
    run = Run(ids_of(range(400)), ids_of(range(300, 900)), ids_of(range(200, 300)), words=[7, 1])
    assert (run.agrees("tax", 1), run.agrees("water", 1)) == (100, 100)


# --- What the leader sees -------------------------------------------------------------------------


def tables(recorder: Recorder) -> list[Any]:
    """The tables on a wire, each piece apart."""
    messages = [decode("tax", memoryview(frame))[1] for frame in recorder.frames]
    return [
        message.array("words", "uint64", [None, None])
        for message in messages
        if message.kind == "intersection/table"
    ]


FOLLOWERS = {
    "nobody in common": ids_of(range(900, 1900)),
    "all in common": ids_of(range(1000)),
    "one row": ids_of([5]),
    "half": ids_of(range(500, 1500)),
}


@pytest.mark.parametrize("name", FOLLOWERS)
def test_a_table_is_full_and_noise_whatever_the_set(name: str) -> None:
    recorder = Recorder()
    Run(
        ids_of(range(900)),
        FOLLOWERS[name],
        words=[4],
        terms=PsiTerms(reveal="nobody"),
        bank=recorder.watch,
    )
    (table,) = tables(recorder)
    assert table.shape == (OkvsLayout.of(3 * 1024).slots, 4)
    assert is_uniform(table)
    assert len(np.unique(table)) == table.size


def test_sets_of_one_padded_size_look_alike() -> None:
    seen = []
    for leaders, followers, shift in ((33, 64, 0), (64, 40, 20), (50, 50, 50)):
        recorder = Recorder()
        Run(
            ids_of(range(leaders)),
            ids_of(range(shift, shift + followers)),
            terms=PsiTerms(reveal="nobody", pad_to=64),
            bank=recorder.watch,
        )
        seen.append([len(frame) for frame in recorder.frames])
    assert seen[0] == seen[1] == seen[2]


def test_what_the_leader_has_of_its_other_rows_is_noise() -> None:
    # the follower programs one word for all its entries of a bin, so that a row of its in the same
    # bin could show through
    def target(entries: OpprfSender, size: int) -> Any:
        return noise(entries.bins, 0, size)[entries.bin]

    run = Run(
        ids_of(range(2000)),
        ids_of(range(1000, 3000)),
        words=[2, 2],
        terms=PsiTerms(reveal="nobody"),
        program=target,
    )
    first, second = run.got["tax"]
    targets = noise(len(run.row_of_bin), 0, 2)
    common = (first == targets).all(axis=1)
    assert np.array_equal(np.sort(run.row_of_bin[common]), np.arange(1000, 2000))
    strange = ~common
    for words in (first, second, first ^ second, first ^ targets):
        assert is_uniform(words[strange])
    assert (first[strange] != second[strange]).all()
    assert (first[strange] != targets[strange]).all()


def test_empty_bins_and_strange_rows_give_unrelated_words_in_every_run() -> None:
    runs = [Run(ids_of(range(40)), ids_of(range(60, 99)), seed=seed) for seed in (b"1", b"2")]
    assert not np.isin(*(run.got["tax"][0] for run in runs)).any()


def test_words_that_are_not_uniform_show_who_is_common() -> None:
    # why they must be: the attack on a follower that programs its values in the open
    run = Run(
        ids_of(range(40)),
        ids_of(range(30, 60)),
        program=lambda entries, size: np.zeros((len(entries.row), size), np.uint64),
    )
    found = run.row_of_bin[(run.got["tax"][0] == 0).all(axis=1)]
    assert sorted(found.tolist()) == list(range(30, 40))


# --- What a follower sees -------------------------------------------------------------------------


def test_a_follower_cannot_tell_full_bins_from_empty_ones() -> None:
    ids, seen, terms = ids_of(range(1500)), list[Any](), PsiTerms(reveal="nobody")

    async def receive(session: Session) -> Placement:
        psi = await handshake(session, "tax", ids, terms, "receiver", "opprf")
        ot_sender = OtSender(psi.channel, psi.suite, psi.value, session.randomness)
        await ot_sender.start()
        placed = place_rows(psi.tagging, ids, cuckoo.bins_in_part(psi.own_rows), session.randomness)
        receiver = BatchOprfReceiver(psi, placed, await ot_sender.finish(CODE_BITS))
        await receiver.send_part(0)
        return placed

    recorder = Recorder()

    async def serve(session: Session) -> None:
        psi = await handshake(wrap(session, recorder.watch), "bank", ids, terms, "sender", "opprf")
        sender = BatchOprfSender(psi, psi.tagging.tags(ids), await SenderSecret.draw(psi))
        await sender.receive_part(0)
        seen.append(sender._q[:, 1:])

    placed = run_local(
        {"bank": receive, "tax": serve},
        seeds={"bank": b"\1" * 32, "tax": b"\2" * 32},
    )["bank"]
    messages = [decode("bank", memoryview(frame))[1] for frame in recorder.frames]
    seen.extend(
        message.array("rows", "uint64", [None, None])
        for message in messages
        if message.kind == "intersection/u"
    )
    full = placed.row_of_bin[0] >= 0
    assert 100 < full.sum() < len(full) - 100
    assert len(seen) == 2
    for rows in seen:
        ones = np.bitwise_count(rows).sum(axis=1)
        apart = ones[full].mean() - ones[~full].mean()
        assert abs(apart) < 5 * np.sqrt(CODE_BITS / 4) * np.sqrt(1 / full.sum() + 1 / (~full).sum())
        assert is_uniform(rows[full])
        assert is_uniform(rows[~full])


# --- Bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["bank", "tax"])
def test_a_repeated_identifier_is_refused(side: str) -> None:
    sets = {"bank": ids_of([1, 2]), "tax": ids_of([1, 2]), side: ids_of([3, 3])}
    with refused("ids_repeat", BadInput):
        Run(sets["bank"], sets["tax"])


def test_identifiers_of_another_form_are_refused() -> None:
    with refused("ids_form_differs", Conflict):
        Run(ids_of([1]), ids_of([1]), np.array([b"123456789"]))


@pytest.mark.parametrize(
    "terms",
    [PsiTerms(), PsiTerms(reveal="both"), PsiTerms(method="ecdh", reveal="nobody")],
)
def test_terms_by_which_somebody_learns_it_are_refused(terms: PsiTerms) -> None:
    with refused("reveal_not_offered", BadInput):
        Run(ids_of([1]), ids_of([1]), terms=terms)


def test_sets_above_the_limit_are_refused() -> None:
    with refused("set_too_large", BadInput):
        SMALL.padded((1 << 20) + 1)
    assert SMALL.padded(1 << 20) == 1 << 20


@pytest.mark.parametrize("followers", [[], ["tax", "tax"], ["bank"]])
def test_parties_that_make_no_seating_are_refused(followers: list[str]) -> None:
    with refused("parties_wrong", BadInput):
        run_local(
            {"bank": lambda session: lead_opprf(session, ids_of([1]), followers, SMALL, "opprf")},
        )


def test_a_store_that_cannot_be_solved_gets_other_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    solve, tried = Solver.of, list[Any]()

    def fail_twice(layout: OkvsLayout, lines: Any) -> Solver | None:
        tried.append(lines.slots)
        return None if len(tried) < 3 else solve(layout, lines)

    monkeypatch.setattr(Solver, "of", fail_twice)
    assert Run(ids_of(range(40)), ids_of(range(30, 60))).agrees("tax") == 10
    assert len(tried) == 3
    assert (tried[0] != tried[2]).any()


def test_a_store_that_is_never_solved_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Solver, "of", lambda layout, lines: None)
    with refused("hashing_failed", Conflict):
        Run(ids_of(range(4)), ids_of(range(4)))


# --- Peers that lie -------------------------------------------------------------------------------


def flip(name: str, row: int) -> Callable[[dict[str, Any]], None]:
    """One bit of one row."""

    def change(fields: dict[str, Any]) -> None:
        fields[name] = fields[name].copy()
        fields[name][row, 0] ^= np.uint64(1 << 17)

    return change


BANK_LIES = [
    ("intersection/placement", assign("width", 17), "message_malformed"),
    ("intersection/placement", assign("width", 65), "message_malformed"),
    ("intersection/placement", assign("key", bytes(15)), "message_malformed"),
    ("intersection/u", shorten("rows"), "message_malformed"),
    ("intersection/u", narrow("rows"), "message_malformed"),
    ("ot/offer", assign("point", bytes(32)), "point_invalid"),
    ("intersection/hello", assign("rows", (1 << 20) + 1), "message_malformed"),
]
TAX_LIES = [
    ("ot/choice", shorten("points"), "message_malformed"),
    ("intersection/okvs", assign("attempt", 8), "message_malformed"),
    ("intersection/table", shorten("words"), "message_malformed"),
    ("intersection/table", narrow("words"), "message_malformed"),
    ("intersection/table", assign("words", np.zeros((1, 3), np.uint64)), "message_malformed"),
    ("intersection/table", assign("words", b"short"), "message_malformed"),
]


@pytest.mark.parametrize(("kind", "change", "expected"), BANK_LIES)
def test_a_lying_leader_is_found(kind: str, change: Any, expected: str) -> None:
    with refused(expected, PeerFault):
        Run(ids_of([1, 3]), ids_of([3, 4]), bank=lie(kind, change))


@pytest.mark.parametrize(("kind", "change", "expected"), TAX_LIES)
def test_a_lying_follower_is_found(kind: str, change: Any, expected: str) -> None:
    with refused(expected, PeerFault):
        Run(ids_of([1, 3]), ids_of([3, 4]), tax=lie(kind, change))


def test_parties_that_mean_different_suites_do_not_start() -> None:
    def wrong(channel: Channel) -> Any:
        terms = {"method": "kkrt", "suite": "sm", "reveal": "nobody", "role": "sender"}
        return lie("intersection/hello", assign("terms", terms))(channel)

    with refused("terms_differ", Conflict):
        Run(ids_of([1]), ids_of([1]), tax=wrong)


def test_an_altered_bin_is_noise_and_no_other_bin_is_touched() -> None:
    ids = ids_of(range(40))
    row_of_bin = Run(ids, ids).row_of_bin
    position = int(np.flatnonzero(row_of_bin[: len(row_of_bin) // 3] >= 0)[0])
    run = Run(ids, ids, bank=lie("intersection/u", flip("rows", position)))
    got, expected = run.got["tax"][0], run.expected("tax")
    assert [index for index in expected if got[index].tolist() != expected[index]] in (
        [],
        [position],
    )
    assert np.isin(got[position], run.sent["tax"][0]).any() == (
        got[position].tolist() == expected[position]
    )


def test_an_altered_slot_alters_those_that_name_it_and_by_that_alone() -> None:
    # the channel keeps others from it; the follower could as well have programmed those words
    ids = ids_of(range(40))
    run = Run(ids, ids, tax=lie("intersection/table", flip("words", -1)))
    expected = run.expected("tax")
    changed = {
        index: (run.got["tax"][0][index] ^ np.array(expected[index], np.uint64)).tolist()
        for index in expected
    }
    assert {tuple(words) for words in changed.values()} == {(0, 0, 0), (1 << 17, 0, 0)}
