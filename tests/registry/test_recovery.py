"""A log that lost its end gets it back from a supervisor's copy, proved by every head that is known
of it; else nothing of it changes.
"""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from chain.core.database import Database
from chain.core.errors import QiaolianError
from chain.log import checkpoint
from chain.log.checkpoint import Checkpoint
from chain.services import Services
from registry.evidence import anchors, checkpoints, copies, recovery, supervisors, witness
from registry.evidence import log as evidence_log
from registry.evidence.store import LogAnchor, LogEntry, PendingEntry
from registry.evidence.witness_store import CopiedLog, WitnessedHead
from tests.registry.conftest import Network, Node

LOG = "agency"


def say(node: Node, count: int = 1) -> list[bytes]:
    """New entries waiting to enter the node's log; their digests."""
    digests = [secrets.token_bytes(32) for _ in range(count)]
    node.context.database.write(
        lambda session: evidence_log.append_all(
            session, [("Test", digest) for digest in digests], at=node.context.now()
        )
    )
    return digests


def watch(network: Network) -> int:
    """One look of the supervisor at the log."""
    seen = asyncio.run(witness.witness(network["supervisor"].context, network[LOG].member))
    assert isinstance(seen, int)
    return seen


def put_back(node: Node, path: Path) -> Any:
    """A node over a copy of its database as it is now, to continue from later as from an old backup."""
    with (
        sqlite3.connect(node.context.database.engine.url.database) as now,
        sqlite3.connect(path) as copy,
    ):
        now.backup(copy)
    context = dataclasses.replace(
        node.context,
        database=Database(f"sqlite:///{path}"),
        services=Services(),
        witness_peers=tuple(node.context.log_keys),
    )
    return SimpleNamespace(context=context)


def search(old: Any) -> recovery.LostEntries | None:
    return asyncio.run(recovery.find_lost_entries(old.context))


def take(old: Any, found: recovery.LostEntries | None) -> None:
    assert found is not None
    old.context.database.write(
        lambda session: recovery.restore_entries(old.context, session, found)
    )


def code_of(call: Callable[[], Any]) -> str:
    with pytest.raises(QiaolianError) as caught:
        call()
    return caught.value.code


def digests(node: Node) -> list[bytes]:
    with node.context.database.read() as session:
        return list(session.scalars(sa.select(LogEntry.digest).order_by(LogEntry.index)))


@pytest.fixture
def lost(network: Network, tmp_path: Path) -> Any:
    """The log over an old backup; the supervisor has seen 5 entries more, three of which an anchor
    includes.
    """
    node = network[LOG]
    say(node, 3)
    checkpoints.make_checkpoint(node.context)
    watch(network)
    old = put_back(node, tmp_path / "old.db")
    say(node, 3)
    node.anchor()
    watch(network)
    say(node, 2)
    checkpoints.make_checkpoint(node.context)
    watch(network)
    return old


def test_a_lost_end_comes_back_entry_by_entry_and_the_log_goes_on_under_its_name(
    network: Network, lost: Any
) -> None:
    node = network[LOG]
    take(lost, search(lost))
    assert digests(lost) == digests(node)
    checkpoints.require_current(lost.context)
    asyncio.run(supervisors.require_witnessed(lost.context))
    assert search(lost) is None
    (digest,) = say(lost)
    made = checkpoints.make_checkpoint(lost.context)
    assert made is not None
    assert made.size == evidence_log.log_size(node.context) + 1
    path = evidence_log.consistency(lost.context, made.size - 1, made.size)
    assert path
    assert digests(lost)[-1] == digest


def test_the_heads_that_come_back_are_signed_byte_for_byte_as_they_were(
    network: Network, lost: Any
) -> None:
    take(lost, search(lost))
    assert (
        checkpoints.latest_head(lost.context).note
        == checkpoints.latest_head(network[LOG].context).note
    )


def test_what_waited_when_the_backup_was_made_enters_once(network: Network, tmp_path: Path) -> None:
    node = network[LOG]
    waiting = say(node, 2)
    old = put_back(node, tmp_path / "old.db")
    checkpoints.make_checkpoint(node.context)
    watch(network)
    (later,) = say(old)
    take(old, search(old))
    checkpoints.make_checkpoint(old.context)
    entered = digests(old)
    assert [entered.count(value) for value in (*waiting, later)] == [1, 1, 1]
    with old.context.database.read() as session:
        assert session.scalars(sa.select(PendingEntry)).all() == []


def test_an_anchor_that_was_under_way_at_the_backup_is_forgotten_and_the_next_covers_it(
    network: Network, tmp_path: Path
) -> None:
    node = network[LOG]
    say(node)
    checkpoints.make_checkpoint(node.context)
    assert anchors.anchor_if_due(node.context, at_once=True)
    old = put_back(node, tmp_path / "old.db")
    say(node)
    node.anchor()
    watch(network)
    take(old, search(old))
    with old.context.database.read() as session:
        assert session.scalars(sa.select(LogAnchor).where(LogAnchor.height.is_(None))).all() == []
    assert anchors.anchor_if_due(old.context, at_once=True)
    anchors.complete_anchors(old.context)


def test_a_node_that_lacks_nothing_recovers_nothing(
    network: Network, lost: Any, tmp_path: Path
) -> None:
    assert search(put_back(network[LOG], tmp_path / "new.db")) is None


# --- What a supervisor may say --------------------------------------------------------------------


def answering(
    monkeypatch: pytest.MonkeyPatch, node: Node, path: str, changed: Callable[[Any], Any]
) -> None:
    """Let whoever this node asks give another answer at this path."""
    get = node.context.peers.get

    async def lie(member: str, asked: str) -> Any:
        answer = await get(member, asked)
        return changed(answer) if asked.startswith(path) else answer

    monkeypatch.setattr(node.context.peers, "get", lie)


def _forge(answer: dict[str, Any]) -> dict[str, Any]:
    answer["entries"][0]["digest"] = "0x" + "00" * 32
    return answer


FALSE_COPIES = [
    pytest.param(_forge, "log_copy_differs", id="another entry"),
    pytest.param(
        lambda a: {**a, "entries": a["entries"][::-1]}, "log_copy_differs", id="another order"
    ),
    pytest.param(
        lambda a: {**a, "entries": a["entries"][:-1]}, "log_copy_differs", id="the last left out"
    ),
    pytest.param(lambda a: {**a, "entries": []}, "log_copy_differs", id="nothing"),
    pytest.param(
        lambda a: {**a, "entries": [{**entry, "more": 1} for entry in a["entries"]]},
        "log_copy_differs",
        id="another field",
    ),
    pytest.param(lambda a: {**a, "entries": [5]}, "log_copy_differs", id="no entries"),
    pytest.param(lambda _: [], "log_copy_differs", id="no answer"),
]


@pytest.mark.parametrize(("changed", "cause"), FALSE_COPIES)
def test_a_copy_that_is_not_the_log_is_refused_and_nothing_of_it_is_kept(
    lost: Any, monkeypatch: pytest.MonkeyPatch, changed: Callable[[Any], Any], cause: str
) -> None:
    before = digests(lost)
    answering(monkeypatch, lost, "/v1/peer/log/copied", changed)
    with pytest.raises(QiaolianError) as caught:
        search(lost)
    assert (caught.value.code, caught.value.context["cause"]) == ("log_entries_missing", cause)
    assert digests(lost) == before


def test_a_supervisor_that_shows_an_older_head_than_the_chain_anchors_restores_no_shorter_log(
    network: Network, lost: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = network[LOG]
    seen = checkpoints.latest_head(node.context).note
    say(node, 2)
    node.anchor()
    answering(monkeypatch, lost, "/v1/peer/log/seen", lambda _: {"note": seen})
    assert code_of(lambda: search(lost)) == "log_entries_missing"
    watch(network)
    take(lost, search(lost))
    assert digests(lost) == digests(node)


@pytest.mark.parametrize("wrong", ["signer", "origin", "nonsense", "nothing"])
def test_a_head_that_this_log_did_not_sign_ends_the_search(
    network: Network, lost: Any, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    node = network[LOG]
    head = Checkpoint(evidence_log.origin(node.context), 10**6, secrets.token_bytes(32))
    answers = {
        "signer": ({"note": checkpoint.sign(head, network["tax"].log)}, "checkpoint_signature"),
        "origin": (
            {
                "note": checkpoint.sign(
                    dataclasses.replace(head, origin="qiaolian/another/0"), node.log
                )
            },
            "log_origin_wrong",
        ),
        "nonsense": ({"note": "nonsense"}, "checkpoint_malformed"),
        "nothing": ([], "checkpoint_malformed"),
    }
    answer, code = answers[wrong]
    answering(monkeypatch, lost, "/v1/peer/log/seen", lambda _: answer)
    assert code_of(lambda: search(lost)) == code


def test_a_supervisor_that_cannot_be_asked_is_waited_for(network: Network, lost: Any) -> None:
    down = network[LOG].peers.down
    down.add(network["supervisor"].member)
    try:
        assert code_of(lambda: search(lost)) == "peer_unreachable"
    finally:
        down.clear()


def test_a_database_that_grew_another_history_cannot_be_continued(lost: Any) -> None:
    say(lost, 20)
    lost.context.database.write(evidence_log.integrate_pending)
    assert code_of(lambda: search(lost)) == "log_diverged"


def test_a_log_that_moved_since_the_search_takes_nothing(lost: Any) -> None:
    found = search(lost)
    say(lost)
    lost.context.database.write(evidence_log.integrate_pending)
    before = digests(lost)
    assert code_of(lambda: take(lost, found)) == "log_moved"
    assert digests(lost) == before


# --- Copies ---------------------------------------------------------------------------------------


def test_a_supervisor_cosigns_no_head_whose_leaves_it_was_not_given(
    network: Network, lost: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, supervisor = network[LOG], network["supervisor"]
    say(node, 3)
    head = checkpoints.make_checkpoint(node.context)
    assert head is not None
    answering(monkeypatch, supervisor, "/v1/peer/log/entries", _forge)
    assert code_of(lambda: watch(network)) == "log_copy_differs"
    with supervisor.context.database.read() as session:
        witnessed, copy = (
            session.get(WitnessedHead, head.origin),
            session.get(CopiedLog, head.origin),
        )
        assert witnessed is not None
        assert copy is not None
        assert (witnessed.size, copy.size) == (head.size - 3, head.size - 3)
    assert checkpoints.latest_head(node.context).cosignatures == ""
    monkeypatch.undo()
    assert watch(network) == head.size
    assert supervisor.member in checkpoints.latest_head(node.context).cosignatures


def test_a_copy_is_made_and_given_back_in_parts(
    network: Network, lost: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "MAX_COPIED", 2)
    monkeypatch.setattr(recovery, "MAX_COPIED", 2)
    say(network[LOG], 5)
    checkpoints.make_checkpoint(network[LOG].context)
    watch(network)
    take(lost, search(lost))
    assert digests(lost) == digests(network[LOG])


def test_a_member_is_given_the_copy_of_its_own_log_alone(network: Network, lost: Any) -> None:
    def ask(name: str) -> Any:
        path = "/v1/peer/log/copied?start=0&end=1"
        return asyncio.run(
            network["supervisor"].answer("GET", path, None, {"x-member": network[name].member})
        )

    own, other = ask(LOG), ask("bank")
    assert own["entries"][0]["digest"] == "0x" + digests(network[LOG])[0].hex()
    assert own["entries"] != other["entries"]
    with pytest.raises(QiaolianError):
        asyncio.run(
            network["supervisor"].answer("GET", "/v1/peer/log/copied?start=0&end=1", None, {})
        )


def test_a_node_that_does_not_know_its_standing_shows_no_head(network: Network, lost: Any) -> None:
    def refuse() -> None:
        checkpoints.require_current(lost.context)

    lost.context.require_current_database = refuse
    assert (
        code_of(lambda: checkpoints.heads_for(lost.context, network["supervisor"].member))
        == "log_behind_chain"
    )
    take(lost, search(lost))
    assert checkpoints.heads_for(lost.context, network["supervisor"].member).newest
