"""Whole intersections: sizes and rows by either method and suite, what the wire shows, and peers
that send wrong messages.
"""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import private_set_intersection.python as openmined
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federated.errors import BadInput, Conflict, PeerFault, QiaolianError
from federated.intersection import INTERSECTION, cuckoo
from federated.intersection.batch_oprf import Placement, place_rows
from federated.intersection.handshake import PsiTerms, handshake
from federated.intersection.identifiers import Tagging, tags_of
from federated.intersection.suites import SUITES
from federated.job import Job, JobResult, Party, Table
from federated.local import run_local
from federated.randomness import Randomness
from federated.session import Session
from tests.federated.intersection.wires import Recorder, assign, lie, narrow, shorten, wrap

SMALL = {"pad_to": 8}
KINDS = [("kkrt", "aes"), ("kkrt", "sm"), ("ecdh", "aes"), ("ecdh", "sm")]
ALL = pytest.mark.parametrize(("method", "suite"), KINDS)
SEEDS = {"bank": b"\1" * 32, "tax": b"\2" * 32}


def job_of(**parameters: Any) -> Job:
    parties = {"bank": Party("receiver", "loans"), "tax": Party("sender", "returns")}
    return Job("match", "intersection", "credit-assessment", parties, {**SMALL, **parameters})


def table(ids: Any) -> Table:
    return Table(np.array(sorted(ids)), {})


def code(number: int) -> bytes:
    return b"91310115%010d" % number


def refused(name: str, kind: type[QiaolianError] = PeerFault) -> Any:
    return pytest.raises(kind, check=lambda error: error.code == name)


def run(
    receivers: Any,
    senders: Any,
    *,
    bank: Any = None,
    tax: Any = None,
    **parameters: Any,
) -> dict[str, JobResult]:
    """One job in this process; ``bank`` and ``tax`` may wrap the party's channel."""
    job, same = job_of(**parameters), lambda channel: channel
    INTERSECTION.check(job)
    return run_local(
        {
            "bank": lambda session: INTERSECTION.roles["receiver"](
                wrap(session, bank or same),
                table(receivers),
                job,
            ),
            "tax": lambda session: INTERSECTION.roles["sender"](
                wrap(session, tax or same),
                table(senders),
                job,
            ),
        },
        seeds=SEEDS,
    )


def read(outcome: JobResult) -> list[bytes]:
    return outcome.files["intersection.csv"].replace(b'"', b"").splitlines()[1:]


# --- Results --------------------------------------------------------------------------------------


@ALL
def test_the_receiver_learns_the_intersection_and_the_sender_nothing(
    method: str,
    suite: str,
) -> None:
    outcomes = run(map(code, range(40)), map(code, range(30, 60)), method=method, suite=suite)
    assert read(outcomes["bank"]) == [code(number) for number in range(30, 40)]
    assert outcomes["bank"].metrics["size"] == 10
    assert outcomes["tax"].files == {}
    assert set(outcomes["tax"].metrics) == {"rows"}


@ALL
def test_both_learn_it_if_both_may(method: str, suite: str) -> None:
    outcomes = run(
        map(code, range(20)),
        map(code, range(15, 30)),
        method=method,
        suite=suite,
        reveal="both",
    )
    assert (
        read(outcomes["bank"])
        == read(outcomes["tax"])
        == [code(number) for number in range(15, 20)]
    )


@pytest.mark.parametrize("suite", SUITES)
def test_the_size_alone_comes_without_rows(suite: str) -> None:
    outcomes = run(
        map(code, range(20)),
        map(code, range(15, 30)),
        method="ecdh",
        suite=suite,
        reveal="size",
    )
    assert outcomes["bank"].metrics["size"] == 5
    assert outcomes["bank"].files == outcomes["tax"].files == {}


@pytest.mark.parametrize("method", ["kkrt", "ecdh"])
def test_an_empty_intersection_is_an_answer(method: str) -> None:
    outcomes = run([code(1)], [code(2)], method=method, reveal="both")
    assert read(outcomes["bank"]) == read(outcomes["tax"]) == []
    assert outcomes["bank"].metrics["size"] == 0


IDS = st.sets(
    st.binary(min_size=1, max_size=32)
    .filter(lambda data: b"\0" not in data)
    .map(lambda data: data.hex().encode()),
    min_size=1,
    max_size=60,
)


@settings(deadline=None, max_examples=20)
@given(IDS, IDS, IDS)
def test_the_result_is_that_of_python_sets(
    shared: set[bytes],
    first: set[bytes],
    second: set[bytes],
) -> None:
    receivers, senders = first | shared | {b"x", b"xx"}, second | shared | {b"y", b"yyy"}
    assert set(read(run(receivers, senders)["bank"])) == receivers & senders


def test_a_large_set_meets_a_small_one() -> None:
    many, few = (
        [code(number) for number in range(50_000)],
        [code(number * 9999) for number in range(8)],
    )
    assert read(run(many, few)["bank"]) == read(run(few, many)["bank"]) == few[:6]


def test_the_result_is_that_of_an_independent_implementation() -> None:
    receivers, senders = (
        [code(number * 3) for number in range(400)],
        [code(number * 2) for number in range(500)],
    )
    client, server = (
        openmined.client.CreateWithNewKey(True),
        openmined.server.CreateWithNewKey(True),
    )
    setup = server.CreateSetupMessage(
        1e-9,
        len(receivers),
        [sender.decode() for sender in senders],
        openmined.DataStructure.RAW,
    )
    response = server.ProcessRequest(
        client.CreateRequest([receiver.decode() for receiver in receivers]),
    )
    expected = [receivers[index] for index in sorted(client.GetIntersection(setup, response))]
    for method in ("kkrt", "ecdh"):
        assert read(run(receivers, senders, method=method)["bank"]) == sorted(expected)


def test_the_same_seeds_give_the_same_messages() -> None:
    first, second = Recorder(), Recorder()
    for recorder in (first, second):
        run(map(code, range(40)), map(code, range(30, 60)), tax=recorder.watch)
    assert first.frames == second.frames
    assert len(first.frames) > 5


# --- What the wire shows --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "suite", "pad_to"),
    [
        ("kkrt", "aes", 64),
        ("ecdh", "aes", "power_of_two"),
        *(
            pytest.param(method, suite, pad_to, marks=pytest.mark.long)
            for method, suite, pad_to in (
                ("kkrt", "aes", "power_of_two"),
                ("ecdh", "aes", 64),
                ("kkrt", "sm", 64),
                ("kkrt", "sm", "power_of_two"),
            )
        ),
    ],
)
def test_sets_of_one_padded_size_look_alike(method: str, suite: str, pad_to: Any) -> None:
    seen = []
    for receivers, senders, shift in ((33, 64, 0), (64, 40, 20), (50, 50, 50)):
        recorder = Recorder()
        run(
            map(code, range(receivers)),
            map(code, range(shift, shift + senders)),
            tax=recorder.watch,
            method=method,
            suite=suite,
            pad_to=pad_to,
        )
        seen.append(sorted(len(frame) for frame in recorder.frames))
    assert seen[0] == seen[1] == seen[2]


@pytest.mark.parametrize(("method", "suite"), KINDS[:3])
def test_no_frame_holds_an_identifier_or_a_tag(method: str, suite: str) -> None:
    recorder, psi_sessions = Recorder(), []

    async def peek(session: Session) -> None:
        psi_sessions.append(
            await handshake(
                session,
                "bank" if session.party == "tax" else "tax",
                np.array([code(1)]),
                terms,
                ROLES[session.party],
                "intersection",
            )
        )

    terms = PsiTerms(method=method, suite=suite, pad_to=8)
    run_local({"bank": peek, "tax": peek}, seeds=SEEDS)  # the same seeds: the same key
    ids = np.array([code(number) for number in range(8)])
    run(ids.tolist(), ids.tolist(), tax=recorder.watch, method=method, suite=suite)
    wire = b"".join(recorder.frames)
    tags = tags_of(ids, 18, SUITES[suite], psi_sessions[0].tagging.key())
    assert psi_sessions[0].tagging.key() == psi_sessions[1].tagging.key()
    for number, identifier in enumerate(ids.tolist()):
        assert identifier not in wire
        assert tags[number].tobytes() not in wire
        assert tags[number, :1].tobytes() not in wire


ROLES = {"bank": "receiver", "tax": "sender"}


# --- Cuckoo hashing that fails --------------------------------------------------------------------


def tagging_of(value: bytes) -> Tagging:
    return Tagging(SUITES["aes"], 18, value)


def arranged(value: bytes, ids: Any) -> Placement:
    return place_rows(tagging_of(value), ids, 64, Randomness(bytes(32)))


def test_rows_that_find_no_place_get_new_tags() -> None:
    # 174 rows in 192 bins: near the threshold, so that some keys fail
    ids = np.array([code(number) for number in range(174)])
    attempts = [arranged(bytes([value]) * 32, ids).attempt for value in range(12)]
    assert max(attempts) > 0
    value = bytes([attempts.index(max(attempts))]) * 32
    placed = arranged(value, ids)
    assert (placed.tags == tagging_of(value).tags(ids, placed.attempt)).all()
    assert sorted(placed.row_of_bin[placed.row_of_bin >= 0].tolist()) == list(range(174))


def test_a_run_that_hashes_again_gives_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuckoo, "bins_in_part", lambda items: 64)
    attempts: set[int] = set()
    for shift in range(6):
        recorder, receivers = Recorder(), [code(number) for number in range(shift, shift + 177)]
        assert read(run(receivers, map(code, range(100, 120)), tax=recorder.watch)["bank"]) == [
            code(number) for number in range(100, 120)
        ]
        attempts.update(frame[-1:] for frame in recorder.frames if b'"intersection/bins"' in frame)
    assert attempts > {b"0"}


def test_rows_that_never_find_a_place_end_the_run() -> None:
    with refused("hashing_failed", Conflict):
        arranged(bytes(32), np.array([code(number) for number in range(193)]))


# --- Bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["kkrt", "ecdh"])
@pytest.mark.parametrize("side", ["bank", "tax"])
def test_a_repeated_identifier_is_refused(method: str, side: str) -> None:
    sets = {"bank": [code(1), code(2)], "tax": [code(1), code(2)], side: [code(3), code(3)]}
    with refused("ids_repeat", BadInput):
        run(sets["bank"], sets["tax"], method=method)


def test_identifiers_of_another_form_are_refused() -> None:
    with refused("ids_form_differs", Conflict):
        run([code(1)], [b"123456789"])


def test_identifiers_of_differing_lengths_are_compared_whole() -> None:
    assert read(
        run([b"12", b"123", b"1234567890123456"], [b"123", b"1234", b"12345678901234567"])["bank"],
    ) == [b"123"]


def test_parties_that_mean_different_things_do_not_start() -> None:
    first, second = job_of(), job_of(reveal="both")
    with refused("terms_differ", Conflict):
        run_local(
            {
                "bank": lambda session: INTERSECTION.roles["receiver"](
                    session,
                    table([code(1)]),
                    first,
                ),
                "tax": lambda session: INTERSECTION.roles["sender"](
                    session,
                    table([code(1)]),
                    second,
                ),
            }
        )


# --- Peers that lie -------------------------------------------------------------------------------


BANK_LIES = [
    ("kkrt", "intersection/hello", assign("rows", 0), "message_malformed"),
    ("kkrt", "intersection/hello", assign("rows", 1 << 40), "message_malformed"),
    ("kkrt", "intersection/hello", assign("width", 65), "message_malformed"),
    ("kkrt", "intersection/hello", assign("case", "odd"), "message_malformed"),
    ("kkrt", "intersection/hello", assign("nonce", b"short"), "message_malformed"),
    ("kkrt", "intersection/bins", assign("attempt", 8), "message_malformed"),
    ("kkrt", "intersection/u", shorten("rows"), "message_malformed"),
    ("kkrt", "intersection/u", narrow("rows"), "message_malformed"),
    ("kkrt", "ot/offer", assign("point", bytes(32)), "point_invalid"),
    ("kkrt", "ot/offer", shorten("point"), "message_malformed"),
    ("kkrt", "intersection/tags", assign("tags", np.zeros((1, 2), np.uint64)), "rows_unknown"),
    ("kkrt", "intersection/common", assign("count", 10**9), "message_malformed"),
    ("ecdh", "intersection/blinded", shorten("points"), "message_malformed"),
    (
        "ecdh",
        "intersection/blinded",
        assign("points", np.zeros((8, 32), np.uint8)),
        "point_invalid",
    ),
]
TAX_LIES = [
    ("kkrt", "ot/choice", shorten("points"), "message_malformed"),
    ("kkrt", "ot/choice", assign("points", np.full((448, 32), 255, np.uint8)), "point_invalid"),
    ("kkrt", "intersection/masks", shorten("heads"), "message_malformed"),
    (
        "kkrt",
        "intersection/masks",
        assign("tails", np.zeros((8, 1), np.uint8)),
        "message_malformed",
    ),
    (
        "kkrt",
        "intersection/masks",
        assign("heads", np.arange(8, 0, -1).astype(np.uint64)),
        "masks_unsorted",
    ),
    ("ecdh", "intersection/raised", narrow("points"), "message_malformed"),
    ("ecdh", "intersection/raised", assign("points", np.zeros((8, 32), np.uint8)), "point_invalid"),
    ("ecdh", "intersection/hashes", shorten("hashes"), "message_malformed"),
]


@pytest.mark.parametrize(("method", "kind", "change", "expected"), BANK_LIES)
def test_a_lying_receiver_is_found(method: str, kind: str, change: Any, expected: str) -> None:
    with refused(expected):
        run(
            [code(1), code(3)],
            [code(3), code(4)],
            method=method,
            reveal="both",
            bank=lie(kind, change),
        )


@pytest.mark.parametrize(("method", "kind", "change", "expected"), TAX_LIES)
def test_a_lying_sender_is_found(method: str, kind: str, change: Any, expected: str) -> None:
    with refused(expected):
        run([code(1)], [code(1), code(2)], method=method, tax=lie(kind, change))


def test_a_receiver_that_names_a_row_twice_is_found() -> None:
    def double(fields: dict[str, Any]) -> None:
        fields["tags"] = np.repeat(fields["tags"][:1], len(fields["tags"]), axis=0)

    with refused("rows_unknown"):
        run(
            [code(1), code(2)],
            [code(1), code(2)],
            reveal="both",
            bank=lie("intersection/tags", double),
        )


def test_a_peer_that_gives_back_ones_nonce_is_found() -> None:
    async def mirror(session: Session) -> None:
        channel = session.to("tax")
        hello = await channel.receive("intersection/hello")
        terms = {**hello.value("terms"), "role": "receiver"}
        await channel.send(
            "intersection/hello",
            terms=terms,
            width=18,
            fixed=1,
            case="none",
            rows=8,
            nonce=hello.blob("nonce"),
        )
        await asyncio.sleep(0)

    with refused("message_malformed"):
        run_local(
            {
                "bank": mirror,
                "tax": lambda session: INTERSECTION.roles["sender"](
                    session,
                    table([code(1)]),
                    job_of(),
                ),
            }
        )
