"""One member's node cannot end or delay a round over all members."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import pytest

from chain.core.errors import Forbidden, QiaolianError
from nodes.workers import witness as witnessing
from nodes.workers.witness import WitnessWorker
from registry import fanout
from registry.evidence import witness
from registry.members import peers as member_peers
from registry.members import service as members
from tests.registry.conftest import Network
from tests.registry.test_evidence import head_of, say


def outcomes_of(work: Any, *keys: str, seconds: float = 30.0) -> dict[str, Any]:
    return asyncio.run(fanout.for_each(keys, work, seconds=seconds))


def test_a_refusal_an_unreadable_answer_and_silence_are_each_the_outcome_of_one_member_alone() -> (
    None
):
    async def work(member: str) -> str:
        if member == "refuses":
            raise Forbidden("not_party", "No.")
        if member == "nonsense":
            answer: Any = []
            return str(answer["note"])
        if member == "silent":
            await asyncio.Event().wait()
        return member.upper()

    found = outcomes_of(work, "refuses", "nonsense", "silent", "good", seconds=0.5)
    codes = {
        member: outcome.code
        for member, outcome in found.items()
        if isinstance(outcome, QiaolianError)
    }
    assert codes == {
        "refuses": "not_party",
        "nonsense": "peer_answer_unreadable",
        "silent": "peer_timeout",
    }
    assert found["good"] == "GOOD"


def test_slow_members_are_waited_for_together_and_so_many_at_a_time() -> None:
    running, most = 0, 0

    async def work(_member: str) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    asyncio.run(fanout.for_each([str(number) for number in range(50)], work, seconds=30, at_once=4))
    assert most == 4


def test_a_round_that_is_cancelled_is_cancelled() -> None:
    async def inside() -> None:
        async def work(_member: str) -> None:
            await asyncio.Event().wait()

        task = asyncio.ensure_future(fanout.for_each(["a"], work, seconds=60))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(inside())


@pytest.mark.parametrize(
    "answer",
    [
        [],
        None,
        5,
        {},
        {"note": 5},
        {"note": "", "anchored": []},
        {"note": "x" * 1_000_000},
        {"note": None, "anchored": 5},
        {"note": "x", "anchored": [None]},
        {"note": ["x"], "anchored": {}},
    ],
)
def test_a_member_whose_head_is_nonsense_does_not_stop_the_witness_for_those_after_it(
    network: Network, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, answer: Any
) -> None:
    supervisor, liar, honest = network["supervisor"], network["bank"], network["registrar"]
    peers, get = supervisor.peers, supervisor.peers.get

    async def lie(member: str, path: str) -> Any:
        return (
            answer
            if member == liar.member and path == "/v1/peer/log/head"
            else await get(member, path)
        )

    monkeypatch.setattr(peers, "get", lie)
    say(honest)
    head = head_of(honest)
    with caplog.at_level(logging.WARNING, "qiaolian.witness"):
        asyncio.run(WitnessWorker(supervisor.context, [liar.member, honest.member]).round())
    assert witness.last_witnessed(supervisor.context, honest.member).split("\n")[1] == str(
        head.size
    )
    assert [record.peer for record in caplog.records if hasattr(record, "peer")] in (
        [liar.member],
        [],
    )


def test_a_member_that_never_answers_delays_no_other_members_witness(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor, silent, honest = network["supervisor"], network["bank"], network["registrar"]
    monkeypatch.setattr(supervisor.peers, "silent", {silent.member})
    monkeypatch.setattr(witnessing, "ROUND_SECONDS", 5.0)
    say(honest)
    head = head_of(honest)
    asyncio.run(WitnessWorker(supervisor.context, [silent.member, honest.member]).round())
    assert witness.last_witnessed(supervisor.context, honest.member).split("\n")[1] == str(
        head.size
    )


def test_a_proposal_reaches_the_governors_that_answer_and_names_those_that_do_not(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposer, silent, others = (
        network["supervisor"],
        network["bank"],
        [network["registrar"].member, network["agency"].member],
    )
    monkeypatch.setattr(proposer.peers, "silent", {silent.member})
    monkeypatch.setattr(member_peers, "SHARE_SECONDS", 5.0)
    before = time.monotonic()
    made = asyncio.run(
        members.propose(
            proposer.context,
            "remove",
            {"member": silent.member, "reason": "gone"},
            share_with=[silent.member, *others],
        )
    )
    assert silent.member in made.not_reached
    assert not set(others) & set(made.not_reached)
    assert time.monotonic() - before < 300
