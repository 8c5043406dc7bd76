"""The node's view accepts only what it has recomputed. Each wrong answer that a chain node could give
is tried here.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from chain.core.crypto import address_of, keccak256, new_private_key, sign_digest
from chain.core.errors import QiaolianError
from chain.ethereum import rlp
from chain.ethereum.deployment import Deployment
from chain.ethereum.finality import KaiaIbft, UnsealedForTestsOnly
from chain.ethereum.headers import from_rpc
from chain.ethereum.ledger import log_id_of
from chain.ethereum.proved_records import (
    ProvedRecords,
    StorageKey,
    account_records,
    consent_record,
    lane_record,
    log_record,
    log_root_record,
    member_record,
)
from chain.ethereum.records import LogRecord, MemberRecord, record_at
from chain.ethereum.storage_proofs import StorageProof
from chain.ethereum.view import MAX_ATTEMPTS, ChainView
from tests.chain.conftest import Throwaway

DATA = Path(__file__).parent.parent / "data" / "kcn"
AGES = 10**10
SECONDS = 60.0
"""A bound for what a busy machine may delay, not a measure."""
VALIDATOR = new_private_key()


@dataclass
class Node:
    """A chain node that answers from a script."""

    chain_id: int
    genesis: str
    latest: dict[str, Any] = field(default_factory=dict)
    blocks: dict[int, dict[str, Any]] = field(default_factory=dict)
    proof: dict[str, Any] = field(default_factory=dict)
    down: bool = False
    early: int = 0
    """So many proofs are of the next block's state."""

    def __call__(self, body: Any) -> bytes:
        one = isinstance(body, dict)
        answers = [
            {"id": item["id"], "result": self.result(item)} for item in ([body] if one else body)
        ]
        return b"gone" if self.down else json.dumps(answers[0] if one else answers).encode()

    def result(self, request: dict[str, Any]) -> Any:
        method, parameters = request["method"], request["params"]
        if method == "eth_chainId":
            return hex(self.chain_id)
        if method == "eth_getBlockByNumber" and parameters[0] == "0x0":
            return {"hash": self.genesis}
        if method == "eth_getProof":
            slots = [
                slot for slot in self.proof.get("storageProof", []) if slot["key"] in parameters[1]
            ]
            if self.early:
                self.early -= 1
                return {
                    **self.proof,
                    "storageProof": slots,
                    "accountProof": [flip(self.proof["accountProof"][0], 30)],
                }
            return {**self.proof, "storageProof": slots}
        return self.latest if parameters[0] == "latest" else self.blocks.get(int(parameters[0], 16))


def recorded(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DATA / f"{kind}.json").read_text())
    return found


def node_of(record: dict[str, Any]) -> Node:
    return Node(
        record["chainId"], record["genesisHash"], latest=record["header"], proof=record["proof"]
    )


def view_of(url: str | list[str], record: dict[str, Any], **settings: Any) -> ChainView:
    deployment = Deployment(
        record["chainId"],
        bytes.fromhex(record["genesisHash"][2:]),
        {"MemberDirectory": record["contract"]},
        1,
    )
    options: dict[str, Any] = {"stale_seconds": AGES, "poll_seconds": 0.02, **settings}
    rule = options.pop("rule", None) or KaiaIbft(record["validators"])
    return ChainView(url, deployment, rule, **options)


def sealed(
    number: int, parent: bytes = bytes(32), *, key: bytes = VALIDATOR, **changes: Any
) -> dict[str, Any]:
    """A header of our own one-validator chain, made from a recorded one."""
    block = {**recorded("one")["header"], "number": hex(number), "parentHash": "0x" + parent.hex()}
    block = {**block, "timestamp": hex(int(time.time())), **changes}
    vanity = bytes.fromhex(block["extraData"][2:])[:32]

    def with_seals(seals: list[bytes]) -> dict[str, Any]:
        names = [bytes.fromhex(address_of(VALIDATOR)[2:])]
        return {**block, "extraData": "0x" + (vanity + rlp.encode([names, bytes(65), seals])).hex()}

    block_hash = from_rpc(with_seals([])).hash
    seal = sign_digest(key, keccak256(block_hash + b"\x02"))
    return {**with_seals([seal[:64] + bytes([seal[64] - 27])]), "hash": "0x" + block_hash.hex()}


def hash_of(block: dict[str, Any]) -> bytes:
    return bytes.fromhex(block["hash"][2:])


def own_chain() -> tuple[Node, dict[str, Any]]:
    """A scripted node of our own validator's chain, at block 10."""
    record = {**recorded("one"), "validators": [address_of(VALIDATOR)]}
    node = node_of(record)
    node.latest = sealed(10)
    return node, record


def refusal(view: ChainView, timeout: float = SECONDS) -> str:
    """Follow until the view says why it does not advance."""
    view.start()
    deadline = time.monotonic() + timeout
    while view.last_error is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    view.stop()
    return view.last_error.code


def wait_until(holds: Callable[[], bool], timeout: float = SECONDS) -> None:
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def code_of(action: Callable[[], Any]) -> str:
    with pytest.raises(QiaolianError) as caught:
        action()
    return caught.value.code


# --- a real network's header and proof ------------------------------------------------------------


@pytest.mark.parametrize("kind", ["one", "four"])
def test_a_recorded_member_is_proved_under_a_recorded_sealed_header(serve: Any, kind: str) -> None:
    record = recorded(kind)
    view = view_of(serve(node_of(record)), record)
    view.start(wait_seconds=SECONDS)
    member = member_record(record["member"])
    nobody = StorageKey("MemberDirectory", "members", (b"nobody",))
    records = view.proved([member, nobody])
    assert records.member(record["member"]).live
    assert records.height == int(record["header"]["number"], 16)
    assert "0x" + records.block_hash.hex() == record["header"]["hash"]
    assert records.value(nobody) == 0
    proved = view.proof("MemberDirectory", "members", record["member"])
    assert proved.proof.verify(proved.header.state_root) == records.value(member)
    view.stop()


def test_a_header_without_seals_is_refused(serve: Any) -> None:
    record = recorded("four")
    extra = bytes.fromhex(record["header"]["extraData"][2:])
    validators, proposer, _ = rlp.decode_list(extra[32:])
    bare = extra[:32] + rlp.encode([validators, proposer, []])
    node = node_of(record)
    node.latest = {**record["header"], "extraData": "0x" + bare.hex()}
    view = view_of(serve(node), record)
    assert refusal(view) == "chain_header_refused"
    assert code_of(view.require_fresh) == "chain_header_refused"
    assert code_of(lambda: view.proved([member_record(record["member"])])) == "chain_header_refused"


def test_a_header_with_a_seal_of_a_non_validator_is_refused(serve: Any) -> None:
    record = recorded("four")
    known = record["validators"]
    view = view_of(
        serve(node_of(record)),
        {**record, "validators": ["0x" + "12" * 20, "0x" + "34" * 20, *known[2:]]},
    )
    assert refusal(view) == "chain_header_refused"


def test_a_header_sealed_by_strangers_alone_is_refused(serve: Any) -> None:
    record = recorded("one")
    view = view_of(serve(node_of(record)), {**record, "validators": ["0x" + "12" * 20]})
    assert refusal(view) == "chain_header_refused"


@pytest.mark.parametrize("name", ["stateRoot", "parentHash", "timestamp", "number", "receiptsRoot"])
def test_a_sealed_header_with_a_field_changed_is_refused(serve: Any, name: str) -> None:
    record = recorded("four")
    node = node_of(record)
    value = record["header"][name]
    node.latest = {**record["header"], name: value[:-1] + ("0" if value[-1] != "0" else "1")}
    assert refusal(view_of(serve(node), record)) == "chain_header_refused"


@pytest.mark.parametrize("answer", [None, [], "0x", {}, {"number": "0x1"}])
def test_an_answer_other_than_a_header_is_refused(serve: Any, answer: Any) -> None:
    record = recorded("one")
    node = node_of(record)
    node.latest = answer
    assert refusal(view_of(serve(node), record)) == "chain_header_refused"


def test_the_unsealed_rule_for_tests_refuses_a_wrong_header_hash(
    serve: Any,
) -> None:
    record = recorded("one")
    assert (
        refusal(view_of(serve(node_of(record)), record, rule=UnsealedForTestsOnly()))
        == "chain_header_refused"
    )


def test_a_node_of_another_chain_is_refused(serve: Any) -> None:
    record = recorded("one")
    node = node_of(record)
    node.chain_id += 1
    view = view_of(serve(node), record)
    assert refusal(view) == "chain_wrong_id"
    assert code_of(view.require_fresh) == "chain_wrong_id"


def test_a_node_of_another_genesis_is_refused(serve: Any) -> None:
    record = recorded("one")
    node = node_of(record)
    node.genesis = "0x" + "00" * 32
    assert refusal(view_of(serve(node), record)) == "chain_wrong_id"


def test_waiting_for_a_block_polls_at_once(serve: Any) -> None:
    node, record = own_chain()
    view = view_of(serve(node), record, poll_seconds=3_600.0)
    view.start(wait_seconds=SECONDS)
    try:
        node.latest = sealed(11, hash_of(node.latest))
        assert view.wait_for_height(11, SECONDS).height == 11
    finally:
        view.stop()


def test_a_stale_header_allows_nothing_although_it_is_sealed(serve: Any) -> None:
    record = recorded("four")
    view = view_of(serve(node_of(record)), record, stale_seconds=15)
    view.start()
    wait_until(lambda: view.last_error is None and view._snapshot is not None)
    old = time.time() - view.head.timestamp
    assert old > 15
    assert code_of(view.require_fresh) == "chain_view_stale"
    assert code_of(lambda: view.proved([member_record(record["member"])])) == "chain_view_stale"
    view.stop()


# --- proofs tampered with on the way --------------------------------------------------------------


def tampered(record: dict[str, Any], change: Callable[[dict[str, Any]], None]) -> Node:
    node = node_of(record)
    node.proof = json.loads(json.dumps(record["proof"]))
    change(node.proof)
    return node


def flip(text: str, index: int) -> str:
    return text[:index] + ("0" if text[index] != "0" else "1") + text[index + 1 :]


TAMPERINGS: dict[str, Callable[[dict[str, Any]], None]] = {
    "another value": lambda proof: proof["storageProof"][0].update(value="0x1"),
    "absence of what is there": lambda proof: proof["storageProof"][0].update(
        value="0x0", proof=[]
    ),
    "a storage node changed": lambda proof: proof["storageProof"][0].update(
        proof=[
            flip(proof["storageProof"][0]["proof"][0], 20),
            *proof["storageProof"][0]["proof"][1:],
        ]
    ),
    "a storage node left out": lambda proof: proof["storageProof"][0].update(
        proof=proof["storageProof"][0]["proof"][:-1]
    ),
    "a storage node too many": lambda proof: proof["storageProof"][0]["proof"].append("0x80"),
    "an account node changed": lambda proof: proof.update(
        accountProof=[flip(proof["accountProof"][0], 30), *proof["accountProof"][1:]]
    ),
    "no account": lambda proof: proof.update(accountProof=[]),
    "another contract": lambda proof: proof.update(address="0x" + "12" * 20),
    "the other slot's proof": lambda proof: proof["storageProof"][0].update(
        value="0x0", proof=proof["storageProof"][1]["proof"]
    ),
    "no proof": lambda proof: proof.clear(),
    "a number for the account's nodes": lambda proof: proof.update(accountProof=1),
    "a number for a slot's nodes": lambda proof: proof["storageProof"][0].update(proof=7),
    "a number for a value": lambda proof: proof["storageProof"][0].update(value=7),
    "a number for the contract": lambda proof: proof.update(address=7),
    "no hexadecimal": lambda proof: proof["storageProof"][0].update(value="zz"),
}


@pytest.mark.parametrize("key", ["-0x1", "0x" + "1" * 65, 7, None])
def test_a_proof_of_a_slot_of_any_other_form_is_malformed(key: Any) -> None:
    answer = {
        "address": "0x" + "12" * 20,
        "accountProof": [],
        "storageProof": [{"key": key, "value": "0x0", "proof": []}],
    }
    assert code_of(lambda: StorageProof.from_rpc(answer)) == "proof_malformed"


@pytest.mark.parametrize("name", TAMPERINGS)
def test_a_storage_proof_tampered_with_in_transit_is_refused(serve: Any, name: str) -> None:
    record = recorded("four")
    view = view_of(serve(tampered(record, TAMPERINGS[name])), record)
    view.start(wait_seconds=SECONDS)
    assert code_of(lambda: view.proved([member_record(record["member"])])) == "chain_proof_refused"
    assert (
        code_of(lambda: view.proof("MemberDirectory", "members", record["member"]))
        == "chain_proof_refused"
    )
    view.stop()


def test_a_proof_overtaken_by_a_block_is_requested_again(
    serve: Any,
) -> None:
    record = recorded("four")
    node = node_of(record)
    view = view_of(serve(node), record)
    view.start(wait_seconds=SECONDS)
    right = int(record["proof"]["storageProof"][0]["value"], 16)
    for early in range(MAX_ATTEMPTS):
        node.early = early
        assert view.proof("MemberDirectory", "members", record["member"]).proof.value == right
    node.early = MAX_ATTEMPTS - 1
    member = member_record(record["member"])
    assert view.proved([member]).value(member) == right
    node.early = MAX_ATTEMPTS
    assert (
        code_of(lambda: view.proof("MemberDirectory", "members", record["member"]))
        == "chain_proof_refused"
    )
    view.stop()


def test_a_block_that_changes_no_state_keeps_every_value_without_a_proof(serve: Any) -> None:
    node, record = own_chain()
    view = view_of(serve(node), record)
    view.start(wait_seconds=SECONDS)
    try:
        member = member_record(record["member"])
        before = view.proved([member])
        node.proof = {}
        node.latest = sealed(11, hash_of(node.latest))
        view.wait_for_height(11, SECONDS)
        after = view.proved([member])
        assert (after.value(member), after.height) == (before.value(member), 11)
    finally:
        view.stop()


def test_blocks_count_as_quiet_only_where_every_header_is_known_to_be(serve: Any) -> None:
    node, record = own_chain()
    silent, loud = "0x" + "00" * 256, "0x" + "ff" * 256
    node.latest = sealed(10, logsBloom=silent)
    view = view_of(serve(node), record)
    view.start(wait_seconds=SECONDS)
    try:
        quiet = view.quiet_head(10)
        assert quiet is not None
        assert quiet.height == 10
        assert view.quiet_head(9) is None
        node.latest = sealed(11, hash_of(node.latest), logsBloom=loud)
        view.wait_for_height(11, SECONDS)
        assert view.quiet_head(11) is None
        node.latest = sealed(12, hash_of(node.latest), logsBloom=silent)
        view.wait_for_height(12, SECONDS)
        assert view.quiet_head(11) is None
        assert view.quiet_head(12) is not None
    finally:
        view.stop()


# --- a chain that forks, goes back, stops ---------------------------------------------------------


def test_linked_headers_are_accepted(serve: Any) -> None:
    node, record = own_chain()
    view = view_of(serve(node), record, stale_seconds=15)
    view.start(wait_seconds=SECONDS)
    assert view.head.height == 10
    node.latest = sealed(11, hash_of(node.latest))
    assert view.wait_for_height(11, SECONDS).block_hash == hash_of(node.latest)
    between = sealed(12, hash_of(node.latest))
    node.blocks[12] = between
    node.latest = sealed(13, hash_of(between))
    assert view.wait_for_height(13, SECONDS).height == 13
    assert view.header(12).block_hash == hash_of(between)
    view.stop()


def test_a_second_sealed_block_at_a_height_already_seen_is_refused(serve: Any) -> None:
    node, record = own_chain()
    view = view_of(serve(node), record)
    view.start(wait_seconds=SECONDS)
    first = view.head.block_hash
    node.latest = sealed(10, gasUsed="0x7")
    wait_until(lambda: view.last_error is not None)
    assert view.last_error is not None
    assert view.last_error.code == "chain_header_refused"
    assert view.head.block_hash == first
    view.stop()


@pytest.mark.parametrize("gap", [1, 2, 5])
def test_a_sealed_block_that_does_not_follow_the_last_is_refused(serve: Any, gap: int) -> None:
    node, record = own_chain()
    view = view_of(serve(node), record)
    view.start(wait_seconds=SECONDS)
    for height in range(11, 10 + gap):
        node.blocks[height] = sealed(height, b"\x99" * 32)
    node.latest = sealed(10 + gap, b"\x99" * 32)
    wait_until(lambda: view.last_error is not None)
    assert view.last_error is not None
    assert view.last_error.code == "chain_header_refused"
    assert view.head.height == 10
    view.stop()


def test_a_lagging_node_does_not_move_the_head_back(serve: Any) -> None:
    node, record = own_chain()
    view = view_of(serve(node), record, stale_seconds=15)
    view.start(wait_seconds=SECONDS)
    node.latest = sealed(9)
    heard = view.age
    wait_until(lambda: view.age > heard + 0.3)
    assert view.head.height == 10
    view.stale_seconds = heard + 0.3
    assert code_of(view.require_fresh) == "chain_view_stale"
    view.stop()


def test_the_view_switches_from_a_lying_node_to_an_honest_one(serve: Any) -> None:
    node, record = own_chain()
    liar = node_of(record)
    liar.latest = sealed(11, key=new_private_key())
    view = view_of([serve(liar), serve(node)], record, stale_seconds=15)
    view.start(wait_seconds=SECONDS)
    assert view.head.block_hash == hash_of(node.latest)
    view.stop()


def test_the_view_switches_from_a_stalled_node_to_one_that_advances(serve: Any) -> None:
    node, record = own_chain()
    still = node_of(record)
    still.latest = node.latest
    view = view_of([serve(still), serve(node)], record, stall_seconds=0.1)
    view.start(wait_seconds=SECONDS)
    node.latest = sealed(11, hash_of(node.latest))
    assert view.wait_for_height(11, SECONDS).height == 11
    view.stop()


@pytest.mark.parametrize(
    "changed",
    [
        {"number": "-0x1"},
        {"timestamp": -1},
        {"extraData": 7},
        {"parentHash": {}},
        {"gasUsed": [1]},
        {"number": True},
    ],
)
def test_a_malformed_answer_is_refused_and_the_view_continues(
    serve: Any, changed: dict[str, Any]
) -> None:
    node, record = own_chain()
    good, node.latest = node.latest, {**node.latest, **changed}
    view = view_of(serve(node), record)
    view.start()
    wait_until(lambda: view.last_error is not None)
    assert view.last_error is not None
    assert view.last_error.code == "chain_header_refused"
    node.latest = good
    assert view.wait_for_height(10, SECONDS).height == 10
    view.stop()


def test_a_node_that_stops_answering_makes_the_view_stale_with_its_reason(serve: Any) -> None:
    node, record = own_chain()
    view = view_of(serve(node), record)
    view.start(wait_seconds=SECONDS)
    node.down = True
    wait_until(lambda: view.last_error is not None and view.age > 0.5)
    view.stale_seconds = 0.5
    assert code_of(view.require_fresh) == "chain_bad_answer"
    view.stale_seconds = AGES
    node.down = False
    node.latest = sealed(11, hash_of(node.latest))
    assert view.wait_for_height(11, SECONDS).height == 11
    view.stop()


def test_before_its_first_block_the_view_allows_nothing() -> None:
    record = recorded("one")
    view = view_of("http://127.0.0.1:9", record)
    assert code_of(view.require_fresh) == "chain_view_stale"


# --- headers of earlier blocks --------------------------------------------------------------------


def unsealed(block: dict[str, Any]) -> dict[str, Any]:
    """The block as nobody sealed it; its hash stays."""
    extra = bytes.fromhex(block["extraData"][2:])
    names, proposer, _ = rlp.decode_list(extra[32:])
    return {**block, "extraData": "0x" + (extra[:32] + rlp.encode([names, proposer, []])).hex()}


def test_only_the_parents_of_a_sealed_header_are_accepted(serve: Any) -> None:
    node, record = own_chain()
    first, other = sealed(8), sealed(8, gasUsed="0x7")
    second = sealed(9, hash_of(first))
    node.latest = sealed(10, hash_of(second))
    node.blocks = {8: unsealed(first), 9: unsealed(second), 10: node.latest}
    view = view_of(serve(node), record)
    view.start(wait_seconds=SECONDS)
    view.stop()
    assert [header.block_hash for header in view.headers(8, 10)] == [
        hash_of(first),
        hash_of(second),
        hash_of(node.latest),
    ]
    lies: tuple[Any, ...] = (other, second, {}, None)
    for lie in lies:
        node.blocks[8] = lie
        assert code_of(lambda: view.headers(8, 10)) == "chain_header_refused"
    assert code_of(lambda: view.logs(8, 10)) == "chain_header_refused"
    assert code_of(lambda: view.headers(8, 9)) == "chain_header_refused"
    assert code_of(lambda: view.logs(10, 11)) == "height_ahead"


# --- on a living chain ----------------------------------------------------------------------------


@pytest.fixture
def live(throwaway: Throwaway) -> Any:
    view = ChainView(throwaway.url, throwaway.deployment, UnsealedForTestsOnly(), poll_seconds=0.05)
    view.start(wait_seconds=SECONDS)
    yield view
    view.stop()


def test_a_watched_value_changes_with_the_block_that_changes_it(
    throwaway: Throwaway, live: ChainView
) -> None:
    bank = throwaway.organisations[2]
    log_id = log_id_of(f"qiaolian/{bank.member}/1")
    wanted = [log_record(log_id), log_root_record(log_id)]
    assert not live.proved(wanted).log(log_id).live
    height = throwaway.send(bank, "EvidenceLog", "anchor", 1, 5, b"\7" * 32)
    live.wait_for_height(height, SECONDS)
    records = live.proved(wanted)
    assert records.log(log_id) == LogRecord(5, height)
    assert records.log_root(log_id) == b"\7" * 32
    assert records.height >= height


def test_reading_a_watched_value_sends_no_request(throwaway: Throwaway, live: ChainView) -> None:
    wanted = [member_record(throwaway.organisations[0].member)]
    first = live.proved(wanted)
    live._rpc.close()
    asked: list[Any] = []
    batch = live._rpc.batch

    def counting(calls: Any) -> Any:
        asked.extend(method for method, _ in calls if method == "eth_getProof")
        return batch(calls)

    live._rpc.batch = counting  # type: ignore[method-assign]
    assert [live.proved(wanted).values for _ in range(100)] == [first.values] * 100
    assert asked == []


def test_an_unchanged_contract_keeps_its_values_under_the_new_head(
    throwaway: Throwaway, live: ChainView
) -> None:
    bank = throwaway.organisations[2]
    before = live.proved([member_record(bank.member)])
    height = throwaway.send(bank, "EvidenceLog", "anchor", 1, 1, b"\1" * 32)
    live.wait_for_height(height, SECONDS)
    after = live.proved([member_record(bank.member)])
    assert after.values == before.values
    assert after.height >= height > before.height


def test_a_suspension_shows_in_the_member_record(throwaway: Throwaway, live: ChainView) -> None:
    bank = throwaway.organisations[2].member
    assert live.proved([member_record(bank)]).member(bank).live
    throwaway.execute("suspend", bank, "unpaid")
    live.wait_for_height(throwaway.ledger.height(), SECONDS)
    assert not live.proved([member_record(bank)]).member(bank).live


def test_records_that_others_name_are_proved_under_one_block_although_the_chain_moves_between_them(
    throwaway: Throwaway, live: ChainView
) -> None:
    named, bank = throwaway.organisations[0].member, throwaway.organisations[2].member
    suspended: list[int] = []

    def following(found: ProvedRecords) -> list[StorageKey]:
        if not suspended:
            throwaway.execute("suspend", bank, "unpaid")
            suspended.append(throwaway.ledger.height())
            live.wait_for_height(suspended[0], SECONDS)
        return [member_record(named)]

    records = live.proved([member_record(bank)], following=following)
    assert records.height >= suspended[0]
    assert not records.member(bank).live
    assert records.member(named).live


def test_records_that_name_others_without_end_are_refused(live: ChainView) -> None:
    def following(found: ProvedRecords) -> list[StorageKey]:
        return [consent_record(bytes([number]) * 32) for number in range(len(found.values) + 1)]

    assert code_of(lambda: live.proved([], following=following)) == "chain_proof_refused"


def test_an_earlier_suspension_is_proved_in_its_own_slot(
    throwaway: Throwaway, live: ChainView
) -> None:
    bank = throwaway.organisations[2].member
    throwaway.execute("suspend", bank, "first")
    throwaway.execute("lift", bank)
    throwaway.send(throwaway.organisations[2], "EvidenceLog", "anchor", 1, 1, b"\1" * 32)
    throwaway.execute("suspend", bank, "second")
    live.wait_for_height(throwaway.ledger.height(), SECONDS)
    latest = live.proved([member_record(bank)]).member(bank)
    proved = live.proof("MemberDirectory", "earlierMembers", bank, latest.valid_from)
    first = MemberRecord.decode(proved.proof.verify(proved.header.state_root))
    assert first.suspended_at < first.lifted_at == latest.valid_from < latest.suspended_at
    assert not record_at(
        latest, first.suspended_at, {latest.valid_from: first}.__getitem__
    ).live_at(first.suspended_at)


def test_many_values_are_proved_under_one_head(throwaway: Throwaway, live: ChainView) -> None:
    members = [organisation.member for organisation in throwaway.organisations]
    consents = [number.to_bytes(32, "big") for number in range(250)]
    wanted = [*map(member_record, members), *map(consent_record, consents)]
    wanted += [lane_record(bytes(32), 3), *account_records(members[0])]
    records = asyncio.run(live.aproved(wanted))
    assert records.block_hash == live.head.block_hash
    assert all(records.member(member).live for member in members)
    assert not any(records.consent(consent).recorded_at for consent in consents)
    assert records.account(members[0]).free == 0


def test_an_unknown_variable_is_refused_by_name(live: ChainView) -> None:
    assert (
        code_of(lambda: live.proved([StorageKey("EvidenceLog", "nothing", (bytes(32),))]))
        == "variable_unknown"
    )


def test_a_chain_that_is_killed_stops_the_view_at_its_bound(throwaway: Throwaway) -> None:
    view = ChainView(throwaway.url, throwaway.deployment, UnsealedForTestsOnly(), poll_seconds=0.05)
    view.start(wait_seconds=SECONDS)
    throwaway.process.kill()
    throwaway.process.wait()
    wait_until(lambda: view.last_error is not None and view.age > 0.5)
    view.stale_seconds = 0.5
    assert code_of(lambda: view.proved([log_record(bytes(32))])) == "chain_unreachable"
    view.stop()
