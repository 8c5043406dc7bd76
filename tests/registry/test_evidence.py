"""Logs: each statement is appended once and in order, checkpoints are anchored and cosigned, and a
log that forks, shrinks or shows other entries is detected.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import secrets
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.crypto import new_private_key
from chain.core.database import Database
from chain.core.errors import NotIncluded, QiaolianError
from chain.ethereum.eip712 import encode_code
from chain.keys.files import Ed25519Signer, Secp256k1Signer
from chain.log import checkpoint, merkle
from chain.log.checkpoint import Checkpoint
from chain.outbox.store import OutboxCall
from chain.services import Services
from chain.statements.members import Algorithm, KeyPurpose
from registry.evidence import anchors, checkpoints, inclusion, store, supervisors, witness
from registry.evidence import log as evidence_log
from registry.evidence.store import LogAnchor, LogEntry, LogHead
from registry.idempotency import nonce_for
from registry.pages import PageRequest
from tests.registry.conftest import Network, Node


def say(node: Node, count: int = 1) -> list[bytes]:
    """New entries waiting to enter the node's log; their digests."""
    digests = [secrets.token_bytes(32) for _ in range(count)]
    node.context.database.write(
        lambda session: evidence_log.append_all(
            session, [("Test", digest) for digest in digests], at=node.context.now()
        )
    )
    return digests


def head_of(node: Node) -> Checkpoint:
    made = checkpoints.make_checkpoint(node.context)
    assert made is not None
    return made


def watch(network: Network, log: str, *, by: str = "supervisor") -> int | None:
    """One look of a witness at another member's log."""
    return asyncio.run(witness.witness(network[by].context, network[log].member))


def code_of(call: Any) -> str:
    with pytest.raises(QiaolianError) as caught:
        call()
    return caught.value.code


# --- Entries --------------------------------------------------------------------------------------


def test_entries_enter_in_order_and_each_is_proved_to_be_in_the_head(network: Network) -> None:
    node = network["agency"]
    before = evidence_log.log_size(node.context)
    digests = say(node, 13)
    head = head_of(node)
    assert head.size >= before + 13
    with node.context.database.read() as session:
        rows = [
            session.scalars(sa.select(LogEntry).where(LogEntry.digest == digest)).one()
            for digest in digests
        ]
        assert [entry.index for entry in rows] == sorted(entry.index for entry in rows)
        for row in rows:
            path = merkle.inclusion_proof(row.index, head.size, store.subtree_hash(session))
            merkle.require_included(row.leaf, row.index, head.size, head.root, path)
            for wrong in (row.leaf.replace(b"Test", b"Tost"), row.leaf + b" "):
                with pytest.raises(NotIncluded):
                    merkle.require_included(wrong, row.index, head.size, head.root, path)
            with pytest.raises(NotIncluded):
                merkle.require_included(row.leaf, row.index + 1, head.size, head.root, path)


def test_an_entry_is_kept_with_what_it_records_or_not_at_all(network: Network) -> None:
    node, digest = network["agency"], secrets.token_bytes(32)

    def fails(session: Any) -> None:
        evidence_log.append(session, kind="Test", digest=digest, at=1)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        node.context.database.write(fails)
    assert code_of(lambda: inclusion.anchored_entry(node.context, digest)) == "entry_unknown"


def test_a_head_is_signed_once_and_grows_by_appending_alone(network: Network) -> None:
    node = network["agency"]
    say(node, 5)
    first = head_of(node)
    assert head_of(node) == first
    say(node, 6)
    second = head_of(node)
    merkle.require_consistent(
        first.size,
        first.root,
        second.size,
        second.root,
        evidence_log.consistency(node.context, first.size, second.size),
    )
    with pytest.raises(NotIncluded):
        merkle.require_consistent(
            first.size,
            second.root,
            second.size,
            second.root,
            evidence_log.consistency(node.context, first.size, second.size),
        )
    assert (
        code_of(lambda: evidence_log.consistency(node.context, first.size, second.size + 10_000))
        == "head_unknown"
    )


# --- Anchors --------------------------------------------------------------------------------------


def test_an_entry_is_proved_once_its_anchor_is_on_the_chain(network: Network) -> None:
    node = network["tax"]
    digest = say(node)[0]
    assert code_of(lambda: inclusion.anchored_entry(node.context, digest)) == "entry_not_anchored"
    head_of(node)
    assert code_of(lambda: inclusion.anchored_entry(node.context, digest)) == "entry_not_anchored"
    node.anchor()
    found = inclusion.anchored_entry(node.context, digest)
    head = checkpoint.verify(found.note, log_key=node.log.public_key, witnesses={}).checkpoint
    merkle.require_included(found.leaf, found.index, found.size, head.root, found.path)
    assert json.loads(found.leaf)["digest"] == "0x" + digest.hex()
    assert found.anchor.shows(head.size, head.root)


def test_each_anchor_is_proved_in_its_own_block_though_another_followed(network: Network) -> None:
    node, digests = network["tax"], []
    for _ in range(2):
        digests += say(node)
        head = head_of(node)
        assert anchors.anchor_if_due(node.context, at_once=True)
        node.done(f"anchor/{evidence_log.LOG_EPOCH}/{head.size}")
    assert anchors.complete_anchors(node.context) == 2
    latest = anchors.latest(node.context)
    assert latest is not None
    assert latest.proof is not None
    assert latest.proof.shows(latest.size, latest.root)
    first, second = (inclusion.anchored_entry(node.context, digest) for digest in digests)
    heights = [entry.anchor.anchored_at for entry in (first, second)]
    assert heights[0] < heights[1], "the earliest anchor that includes an entry shows it"
    assert inclusion.anchored_entries(node.context, digests[:1], before=heights[1])[0] == first
    assert (
        code_of(lambda: inclusion.anchored_entries(node.context, digests[1:], before=heights[1]))
        == "key_ended"
    )
    assert (
        code_of(lambda: inclusion.anchored_entries(node.context, digests[1:], up_to=heights[0]))
        == "entry_not_anchored"
    )


def test_an_anchor_is_asked_for_once(network: Network) -> None:
    node = network["tax"]
    say(node)
    node.anchor()
    assert not anchors.anchor_if_due(node.context, at_once=True)
    say(node)
    head_of(node)
    assert not anchors.anchor_if_due(node.context), "the next anchor waits until the last is old"
    node.anchor()


def test_the_chain_takes_no_shorter_log_and_no_second_root(network: Network) -> None:
    node = network["tax"]
    say(node, 3)
    node.anchor()
    with node.context.database.read() as session:
        last = session.scalars(sa.select(LogHead).order_by(LogHead.size.desc())).first()
        assert last is not None

    def simulate(size: int) -> None:
        address, data = network.ledger.encode(
            "EvidenceLog", "anchor", evidence_log.LOG_EPOCH, size, secrets.token_bytes(32)
        )
        network.ledger.simulate(address, data, sender=node.context.transaction_address)

    assert code_of(lambda: simulate(last.size - 1)) == "log_shrinks"
    assert code_of(lambda: simulate(last.size)) == "root_conflict"
    simulate(last.size + 1)


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


def test_a_database_put_back_from_before_an_anchor_signs_no_head_however_long_it_grows(
    network: Network, tmp_path: Path
) -> None:
    node = network["registrar"]
    say(node, 2)
    node.anchor()
    old = put_back(node, tmp_path / "old.db")
    say(node, 2)
    node.anchor()
    assert code_of(lambda: checkpoints.make_checkpoint(old.context)) == "log_behind_chain"
    say(old, 20)
    assert code_of(lambda: checkpoints.make_checkpoint(old.context)) == "log_behind_chain"
    old.context.database.write(evidence_log.integrate_pending)
    assert evidence_log.log_size(old.context) > evidence_log.log_size(node.context)
    assert code_of(lambda: checkpoints.require_current(old.context)) == "log_behind_chain"
    checkpoints.require_current(node.context)


def refused_anchor(context: Context, head: LogHead, code: str) -> None:
    """What the node stores when a chain node says that the chain refused an anchor."""
    operation = f"anchor/{evidence_log.LOG_EPOCH}/{head.size}"

    def change(session: Session) -> None:
        waits = {"height": None, "header": None, "proof": None}
        row = LogAnchor(size=head.size, root=head.root, operation=operation, asked_at=0, **waits)
        session.merge(row)
        known = session.scalars(sa.select(OutboxCall).where(OutboxCall.operation_id == operation))
        call = known.first() or OutboxCall(
            operation_id=operation,
            sender=context.transaction_address,
            contract="EvidenceLog",
            function="anchor",
            data=b"",
            height=1,
            created_at=0,
        )
        call.state, call.code = "reverted", code
        session.add(call)

    context.database.write(change)


def newest_head(context: Context) -> LogHead:
    with context.database.read() as session:
        found = session.scalars(sa.select(LogHead).order_by(LogHead.size.desc())).first()
    assert found is not None
    return found


@pytest.mark.parametrize("code", ["log_shrinks", "root_conflict"])
def test_a_chain_nodes_word_that_an_anchor_was_refused_stops_no_log(
    network: Network, code: str
) -> None:
    node = network["tax"]
    say(node)
    node.anchor()
    refused_anchor(node.context, newest_head(node.context), code)
    anchors.complete_anchors(node.context)
    assert anchors.anchor_if_due(node.context, at_once=True), "it is asked for again"
    node.anchor()


def test_a_refused_anchor_stops_a_log_that_the_chain_is_proved_to_know_otherwise(
    network: Network, tmp_path: Path
) -> None:
    node = network["registrar"]
    say(node, 2)
    node.anchor()
    old = put_back(node, tmp_path / "refused.db")
    say(node, 2)
    node.anchor()
    refused_anchor(old.context, newest_head(old.context), "log_shrinks")
    assert code_of(lambda: anchors.complete_anchors(old.context)) == "anchor_refused"
    old.context.database.close()


def test_a_database_put_back_from_after_the_last_anchor_is_told_by_a_witness(
    network: Network, watched: Any, tmp_path: Path
) -> None:
    watched.anchor()
    old = put_back(watched, tmp_path / "old.db")
    say(watched, 2)
    head_of(watched)
    watch(network, "bank")
    checkpoints.require_current(old.context)
    assert (
        code_of(lambda: asyncio.run(supervisors.require_witnessed(old.context)))
        == "log_behind_witness"
    )
    asyncio.run(supervisors.require_witnessed(put_back(watched, tmp_path / "new.db").context))


@pytest.mark.parametrize("answer", [{}, [], {"note": 5}, {"note": "nonsense"}, {"note": None}])
def test_a_supervisor_that_shows_no_head_of_the_logs_own_stops_nobody(
    network: Network, watched: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    old = put_back(watched, tmp_path / "old.db")
    forged = checkpoint.sign(
        Checkpoint(evidence_log.origin(watched.context), 10**6, secrets.token_bytes(32)),
        network["tax"].log,
    )

    async def lie(member: str, path: str) -> Any:
        return {"note": forged} if answer == {"note": None} else answer

    monkeypatch.setattr(old.context.peers, "get", lie)
    asyncio.run(supervisors.require_witnessed(old.context))


# --- Witnesses ------------------------------------------------------------------------------------


def test_a_witness_cosigns_what_extends_what_it_saw_and_its_line_comes_back(
    network: Network,
) -> None:
    node, supervisor = network["registrar"], network["supervisor"]
    say(node, 3)
    first = head_of(node)
    assert watch(network, "registrar") == first.size
    say(node, 4)
    second = head_of(node)
    assert watch(network, "registrar") == second.size
    latest = checkpoints.latest_head(node.context)
    signed = checkpoint.verify(
        latest.note + latest.cosignatures,
        log_key=node.log.public_key,
        witnesses={supervisor.member: supervisor.log.public_key},
    )
    assert set(signed.witnesses) == {supervisor.member}
    watch(network, "registrar")
    assert checkpoints.latest_head(node.context) == latest, "a second look adds no second line"


def test_an_anchored_head_is_cosigned_even_when_the_log_has_grown(network: Network) -> None:
    node, supervisor = network["registrar"], network["supervisor"]
    digest = say(node)[0]
    node.anchor()
    say(node, 2)
    head_of(node)
    watch(network, "registrar")
    found = inclusion.anchored_entry(node.context, digest)
    keys = {supervisor.member: supervisor.log.public_key}
    assert set(
        checkpoint.verify(found.note, log_key=node.log.public_key, witnesses=keys).witnesses
    ) == {supervisor.member}


def answering(
    monkeypatch: pytest.MonkeyPatch,
    network: Network,
    changed: Any,
    *,
    path: str = "/v1/peer/log/head",
) -> None:
    """Let every log that the supervisor asks give another answer at this path."""
    peers = network["supervisor"].peers
    get = peers.get

    async def lie(member: str, asked: str) -> Any:
        answer = await get(member, asked)
        return changed(answer) if asked.startswith(path) else answer

    monkeypatch.setattr(peers, "get", lie)


@pytest.fixture
def watched(network: Network) -> Any:
    """The bank's log, as the supervisor last saw it."""
    say(network["bank"], 4)
    head_of(network["bank"])
    watch(network, "bank")
    return network["bank"]


def signed_head(node: Node, size: int, root: bytes | None = None) -> dict[str, Any]:
    """A head that the log itself signed, of any size and root."""
    note = checkpoint.sign(
        Checkpoint(evidence_log.origin(node.context), size, root or secrets.token_bytes(32)),
        node.log,
    )
    return {"note": note, "cosignatures": "", "size": size, "anchored": []}


@pytest.mark.parametrize(
    "longer", [-1, 0, 3], ids=["shrunk", "another root at the same size", "another history"]
)
def test_a_log_that_forks_is_caught_and_both_heads_are_kept(
    network: Network, watched: Any, monkeypatch: pytest.MonkeyPatch, longer: int
) -> None:
    say(watched, 5)
    head_of(watched)
    seen = watch(network, "bank")
    assert seen is not None
    say(watched, 5)
    head_of(watched)
    last = {head.origin: head for head in witness.witnessed(network["supervisor"].context)}
    assert last[evidence_log.origin(watched.context)].size == seen
    lie = signed_head(watched, seen + longer)
    answering(monkeypatch, network, lambda _: lie)
    known = witness.forks(network["supervisor"].context, PageRequest(200)).rows
    for _ in range(2):
        assert code_of(lambda: watch(network, "bank")) == "log_forked"
    forks = witness.forks(network["supervisor"].context, PageRequest(200)).rows
    assert len(forks) == len(known) + 1, "a fork is stored once"
    for note in (forks[0].first, forks[0].second):
        checkpoint.verify(note, log_key=watched.log.public_key, witnesses={})
    listed = network["supervisor"].call("GET", "/v1/log/forks", role="auditor")["forks"]
    assert [(fork["first"], fork["second"]) for fork in listed] == [
        (fork.first, fork.second) for fork in forks
    ]


def test_a_witness_cosigns_no_head_the_log_did_not_sign(
    network: Network, watched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = checkpoints.latest_head(watched.context)
    forged = checkpoint.sign(
        Checkpoint(evidence_log.origin(watched.context), head.size, secrets.token_bytes(32)),
        network["tax"].log,
    )
    answering(monkeypatch, network, lambda _: {"note": forged, "anchored": []})
    assert code_of(lambda: watch(network, "bank")) == "checkpoint_signature"
    say(network["tax"])
    head_of(network["tax"])
    other = checkpoints.latest_head(network["tax"].context).note
    answering(monkeypatch, network, lambda _: {"note": other, "anchored": []})
    assert code_of(lambda: watch(network, "bank")) == "checkpoint_signature"
    strange = checkpoint.sign(Checkpoint("qiaolian/another/0", 1, bytes(32)), watched.log)
    answering(monkeypatch, network, lambda _: {"note": strange, "anchored": []})
    assert code_of(lambda: watch(network, "bank")) == "log_origin_wrong"


def test_a_log_that_gives_no_path_between_its_heads_is_not_cosigned(
    network: Network, watched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(watched, 2)
    head_of(watched)
    answering(monkeypatch, network, lambda _: {"path": None}, path="/v1/peer/log/consistency")
    assert code_of(lambda: watch(network, "bank")) == "log_no_consistency"
    answering(monkeypatch, network, lambda _: {"path": []}, path="/v1/peer/log/consistency")
    assert code_of(lambda: watch(network, "bank")) == "log_forked"


def test_a_cosignature_is_kept_only_when_it_is_the_witness_own(
    network: Network, watched: Any
) -> None:
    head, supervisor, tax = (
        checkpoints.latest_head(watched.context),
        network["supervisor"],
        network["tax"],
    )
    forged = checkpoint.cosign(head.note, tax.member, supervisor.log, timestamp=1)
    assert (
        code_of(
            lambda: checkpoints.store_cosignature(watched.context, tax.member, head.size, forged)
        )
        == "checkpoint_signature"
    )
    right = checkpoint.cosign(head.note, tax.member, tax.log, timestamp=1)
    assert (
        code_of(
            lambda: checkpoints.store_cosignature(
                watched.context, tax.member, head.size + 1_000, right
            )
        )
        == "head_unknown"
    )
    checkpoints.store_cosignature(watched.context, tax.member, head.size, right)
    assert checkpoints.latest_head(watched.context).cosignatures.count(tax.member) == 1


# --- Another log key ------------------------------------------------------------------------------


def add_log_key(network: Network, node: Node) -> Ed25519Signer:
    """Another live LOG key of a member."""
    fresh = Ed25519Signer(secrets.token_bytes(32))
    network.execute(
        "addKey", node.member, (fresh.fingerprint, int(KeyPurpose.LOG), int(Algorithm.ED25519))
    )
    network.sync()
    return fresh


@pytest.fixture
def rekeyed(network: Network) -> tuple[Node, Ed25519Signer]:
    """The agency's log, seen by the supervisor under its first key, now signed with another; the
    first key, which has ended.
    """
    node = network["agency"]
    old, fresh = node.context.log_signer, add_log_key(network, node)
    say(node, 3)
    node.anchor()
    node.context.earlier_log_keys = [old.public_key, *node.context.earlier_log_keys]
    node.context.log_signer = fresh
    head_of(node)
    network.execute("endKey", old.fingerprint, encode_code("replaced"))
    network.sync()
    return node, old


def test_a_log_under_another_key_begins_with_a_head_that_extends_the_last_one(
    network: Network, rekeyed: tuple[Node, Ed25519Signer]
) -> None:
    node, old = rekeyed
    size = evidence_log.log_size(node.context)
    assert head_of(node).size == size, "the entry that begins it is made once"
    head = checkpoints.latest_head(node.context)
    assert checkpoint.signed_by(head.note, node.context.log_signer.public_key)
    assert watch(network, "agency") == size
    with node.context.database.read() as session:
        heads = list(session.scalars(sa.select(LogHead).order_by(LogHead.size)))
        anchored = set(session.scalars(sa.select(LogAnchor.size)))
    without_cosignature = [
        row.size
        for row in heads
        if row.size in anchored and network["supervisor"].member not in row.cosignatures
    ]
    assert any(
        checkpoint.signed_by(row.note, old.public_key) for row in heads if row.size in anchored
    )
    assert without_cosignature == [], "heads of the ended key are history, and cosigned"


def test_a_head_under_an_ended_log_key_proves_nothing_and_is_no_fork(
    network: Network, rekeyed: tuple[Node, Ed25519Signer], monkeypatch: pytest.MonkeyPatch
) -> None:
    node, old = rekeyed
    size = watch(network, "agency")
    assert size is not None
    known = witness.forks(network["supervisor"].context, PageRequest(200)).rows

    def stolen(at: int) -> str:
        return checkpoint.sign(
            Checkpoint(evidence_log.origin(node.context), at, secrets.token_bytes(32)), old
        )

    answering(monkeypatch, network, lambda answer: {**answer, "note": stolen(size + 1)})
    assert code_of(lambda: watch(network, "agency")) == "log_key_ended"
    monkeypatch.undo()
    for at in (size - 1, size + 5):
        answering(monkeypatch, network, lambda answer, at=at: {**answer, "anchored": [stolen(at)]})
        assert code_of(lambda: watch(network, "agency")) == "log_key_ended"
        monkeypatch.undo()
    assert witness.forks(network["supervisor"].context, PageRequest(200)).rows == known
    assert watch(network, "agency") == size


def test_a_restored_log_is_compared_with_what_a_witness_saw_under_its_earlier_key(
    network: Network, rekeyed: tuple[Node, Ed25519Signer]
) -> None:
    node, old = rekeyed
    note = checkpoint.sign(Checkpoint(evidence_log.origin(node.context), 7, bytes(32)), old)
    assert checkpoints.read_own(node.context, note).size == 7
    strange = checkpoint.sign(
        Checkpoint(evidence_log.origin(node.context), 7, bytes(32)),
        Ed25519Signer(secrets.token_bytes(32)),
    )
    assert code_of(lambda: checkpoints.read_own(node.context, strange)) == "checkpoint_signature"


def test_what_a_node_derives_for_repetitions_outlives_its_statement_key(network: Network) -> None:
    """Else a deposit or an order repeated after a replacement would count twice."""
    context = network["agency"].context
    first = context.signers[KeyPurpose.STATEMENT]
    for earlier in ([first], [first, Secp256k1Signer(new_private_key())]):
        signers = {**context.signers, KeyPurpose.STATEMENT: Secp256k1Signer(new_private_key())}
        renewed = dataclasses.replace(context, signers=signers, earlier_signers=earlier)
        assert nonce_for(renewed, "agreement", "order-1") == nonce_for(
            context, "agreement", "order-1"
        )


# --- The API --------------------------------------------------------------------------------------


def test_leaves_are_open_to_supervisors_and_heads_to_members(
    network: Network, watched: Any
) -> None:
    def ask(name: str, path: str) -> Any:
        return asyncio.run(watched.answer("GET", path, None, {"x-member": network[name].member}))

    assert ask("tax", "/v1/peer/log/head")["note"]
    assert code_of(lambda: ask("tax", "/v1/peer/log/entries?start=0&end=3")) == "log_not_open"
    leaves = ask("supervisor", "/v1/peer/log/entries?start=0&end=3")["entries"]
    assert [set(leaf) for leaf in leaves] == [{"at", "digest", "kind"}] * 3
    with pytest.raises(QiaolianError):
        asyncio.run(watched.answer("GET", "/v1/peer/log/head", None, {}))


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/log", {"auditor", "administrator", "clerk"}),
        ("GET", "/v1/log/forks", {"auditor", "administrator"}),
        ("POST", "/v1/log/anchor", {"auditor", "administrator"}),
    ],
)
def test_each_endpoint_is_for_its_roles(
    network: Network, method: str, path: str, allowed: set[str]
) -> None:
    for role in (None, "system", "clerk", "officer", "auditor", "administrator"):
        if role in allowed:
            assert network["bank"].call(method, path, role=role) is not None
        else:
            assert code_of(lambda role=role: network["bank"].call(method, path, role=role)) == (
                "role_missing" if role else "access_token_missing"
            )
