"""What a bundle may carry, and what a verifier's own trust decides: one proof over a real chain,
broken in one place at a time.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from chain.bundle import trust, verifier
from chain.bundle.builder import BundleBuilder
from chain.bundle.claims import Report, VerifiedClaims, storage_slot
from chain.bundle.form import MAX_ELEMENTS
from chain.bundle.trust import Trust, ValidatorSet
from chain.core.canonical import dumps
from chain.core.crypto import CURVE_ORDER, ZERO_ADDRESS, keccak256, new_private_key, sign_digest
from chain.core.errors import (
    BadSignature,
    Conflict,
    Inconsistent,
    Malformed,
    NotAnchored,
    NotFinal,
    NotIncluded,
    VerificationError,
    WrongTrust,
)
from chain.engine.network import Network
from chain.ethereum import headers, rlp
from chain.ethereum.deploy import Governor, deploy
from chain.ethereum.eip712 import Domain, Statement
from chain.ethereum.headers import from_rpc
from chain.ethereum.ledger import Ledger
from chain.ethereum.rpc import RpcRefused
from chain.ethereum.storage_proofs import StorageProof
from chain.ethereum.transactions import gas_for, sign_transaction
from chain.keys.files import Ed25519Signer, Secp256k1Signer
from chain.log import checkpoint, merkle
from chain.statements.assets import AssetRecord
from chain.statements.commitment import commit
from chain.statements.credit import ConsentWithdrawal
from chain.statements.grants import GrantTerms
from chain.statements.members import Algorithm, Approval, KeyPurpose, Role, SubjectKeyCertificate
from chain.statements.trade import Voucher
from contracts import NAMES, artifact
from tests.support.two_verifiers import verify

pytestmark = pytest.mark.system

OPERATOR, BANK, SUPERVISOR, OFFICE = (
    "11440703QL0000001K",
    "11440703QL0000002N",
    "11440703QL0000003R",
    "11440703QL0000004W",
)
WITNESS = Ed25519Signer(b"\x77" * 32)
STRANGER = Secp256k1Signer(b"\x99" * 32)
SUBJECT = Secp256k1Signer(b"\x88" * 32)
SALT, RECORD, RECORD_DOMAIN = (
    b"\x05" * 32,
    {"address": "湖滨路 1 号", "area": 89},
    "qiaolian.test.v1",
)
ASSET = AssetRecord(
    1,
    OFFICE,
    OFFICE,
    OFFICE,
    "homes",
    "homes",
    1,
    2,
    "homes",
    b"\1" * 32,
    b"\2" * 32,
    7,
    b"\3" * 32,
    (b"\4" * 32,),
)
COMMITMENT = "0x" + commit(SALT, RECORD_DOMAIN, RECORD).hex()
CERTIFICATE = SubjectKeyCertificate(1, OFFICE, b"\6" * 32, SUBJECT.address, "consent", 0, 2**40)
WITHDRAWAL = ConsentWithdrawal(1, b"\7" * 32, 2**40)
ODD = 3
"""The log's entry whose digest is no text: a log's owner can enter what it likes."""

Value = dict[str, Any]
Change = Callable[[Value], object]


def voucher(seq: int) -> Voucher:
    return Voucher(1, b"\x11" * 32, 0, seq, 10 * seq, 100 * seq, bytes([seq]) * 32)


def check(claims: VerifiedClaims, subject: Mapping[str, Any]) -> list[str]:
    """A proof profile that needs an element of every section."""
    if set(subject) != {"member", "asset", "commitment"} or not all(
        isinstance(item, str) for item in subject.values()
    ):
        raise Malformed("subject_malformed", "The bundle is about something else.")
    vouchers = claims.statements(Voucher)
    if {signed.member for signed in vouchers} != {subject["member"]} or any(
        signed.purpose != KeyPurpose.STATEMENT for signed in vouchers
    ):
        raise Inconsistent("voucher_other", "A voucher is another member's.")
    places = [claims.log_inclusion(signed) for signed in vouchers]
    certificate, withdrawal = (
        claims.statement(SubjectKeyCertificate),
        claims.statement(ConsentWithdrawal),
    )
    if withdrawal.certificate != certificate.statement or withdrawal.member != "":
        raise Inconsistent("subject_other", "The withdrawal is not the certified subject's.")
    if "0x" + claims.struct(AssetRecord).struct_hash().hex() != subject["asset"]:
        raise Inconsistent("asset_other", "The asset is another.")
    claims.storage_value("MemberDirectory", "members", subject["member"])
    if (
        claims.disclosed(bytes.fromhex(COMMITMENT[2:]), RECORD_DOMAIN) != RECORD
        or subject["commitment"] != COMMITMENT
    ):
        raise Inconsistent("record_other", "The record is another.")
    return [
        f"voucher {signed.statement.seq} is at {position.index}"
        for signed, position in zip(vouchers, places, strict=True)
    ]


class Office:
    """The member of the proof, with live, ended and misused keys."""

    def __init__(self) -> None:
        fresh = [Secp256k1Signer(new_private_key()) for _ in range(6)]
        self.statement, self.spare, self.ended, self.ended_late, self.misnamed, self.transaction = (
            fresh
        )
        self.log, self.token = Ed25519Signer(b"\x0a" * 32), Ed25519Signer(b"\x0b" * 32)
        self.log_ended, self.log_ended_late = (
            Ed25519Signer(b"\x1a" * 32),
            Ed25519Signer(b"\x1b" * 32),
        )

    def entries(self) -> list[tuple[bytes, int, int]]:
        statement, secp, ed = (
            int(KeyPurpose.STATEMENT),
            int(Algorithm.SECP256K1),
            int(Algorithm.ED25519),
        )
        mine = [
            (signer.fingerprint, statement, secp)
            for signer in (self.statement, self.spare, self.ended, self.ended_late)
        ]
        return [
            *mine,
            # An address entered as if it were a key of another algorithm.
            (self.misnamed.fingerprint, statement, ed),
            (self.transaction.fingerprint, int(KeyPurpose.TRANSACTION), secp),
            *(
                (signer.fingerprint, int(KeyPurpose.LOG), ed)
                for signer in (self.log, self.log_ended, self.log_ended_late)
            ),
            (self.token.fingerprint, int(KeyPurpose.TOKEN), ed),
        ]


@dataclass
class World:
    """A network of one validator with the contracts, an anchored log of seven entries, and a
    bundle of them.
    """

    network: Network
    ledger: Ledger
    office: Office
    bank_log: Ed25519Signer
    admins: list[Secp256k1Signer]
    sender: Secp256k1Signer
    leaves: list[bytes]
    admitted_at: int = 0
    anchored_at: int = 0
    head: int = 0
    nonce: int = 0
    value: Value | None = None

    # --- the chain ---

    def send(
        self, signer: Secp256k1Signer, contract: str, function: str, *arguments: Any, ahead: int = 0
    ) -> bytes:
        address, data = self.ledger.encode(contract, function, *arguments)
        nonce = self.ledger.nonce(signer.address) + ahead
        signed = sign_transaction(
            signer,
            chain_id=self.ledger.deployment.chain_id,
            nonce=nonce,
            to=address,
            data=data,
            gas=4_000_000 + gas_for(data),
        )
        (answer,) = self.ledger.send([signed.raw])
        assert isinstance(answer, bytes), answer
        return signed.transaction_hash

    def mined(self, *hashes: bytes) -> int:
        """Wait until all are in blocks and succeeded; the last height."""
        deadline = time.monotonic() + 60
        while None in (receipts := self.ledger.receipts(hashes)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert all(receipt is not None and receipt.succeeded for receipt in receipts)
        return max(receipt.height for receipt in receipts if receipt is not None)

    def govern(self, function: str, *arguments: Any, ahead: int = 0) -> bytes:
        self.nonce += 1
        _, data = self.ledger.encode("MemberDirectory", function, *arguments)
        digest = Approval(1, keccak256(data), self.nonce, 2**40).digest(
            self.ledger.deployment.domain("MemberDirectory")
        )
        signatures = [admin.sign_digest(digest) for admin in self.admins[:2]]
        return self.send(
            self.sender,
            "MemberDirectory",
            "execute",
            data,
            self.nonce,
            2**40,
            signatures,
            ahead=ahead,
        )

    def header(self, height: int) -> bytes:
        return from_rpc(self.ledger.rpc.call("kaia_getBlockByNumber", hex(height), False)).raw

    def proof(self, contract: str, variable: str, key: Any, height: int = 0) -> StorageProof:
        slot = storage_slot(artifact(contract).storage[variable], key)
        address = self.ledger.deployment.contracts[contract]
        return StorageProof.from_rpc(
            self.ledger.rpc.call(
                "eth_getProof", address, ["0x" + slot.hex()], hex(height or self.head)
            )
        )

    def head_proof(self, contract: str, variable: str, key: Any) -> tuple[StorageProof, bytes]:
        return self.proof(contract, variable, key), self.header(self.head)

    # --- the verifier ---

    @property
    def trust(self) -> Trust:
        return Trust(
            chain_id=self.network.chain_id,
            genesis_hash=self.network.genesis_hash,
            validator_sets=(ValidatorSet(0, None, frozenset(self.network.addresses)),),
            contracts=dict(self.ledger.deployment.contracts),
            storage={name: dict(artifact(name).storage) for name in NAMES},
            witnesses={"supervisor": WITNESS.public_key},
            required_witnesses=1,
        )

    # --- the bundle ---

    def sign(
        self, statement: Statement, signer: Secp256k1Signer, domain: Domain | None = None
    ) -> Value:
        digest = statement.digest(domain or self.ledger.deployment.domain(statement.contract))
        return {
            "type": type(statement).__name__,
            "message": statement.to_json(),
            "signature": "0x" + signer.sign_digest(digest).hex(),
        }

    def note(
        self,
        size: int = 7,
        *,
        log: Ed25519Signer | None = None,
        log_epoch: int = 0,
        root: bytes | None = None,
    ) -> str:
        head = checkpoint.Checkpoint(
            checkpoint.log_origin(OFFICE, log_epoch), size, root or self.root(size)
        )
        note = checkpoint.sign(head, log or self.office.log)
        return note + checkpoint.cosign(note, "supervisor", WITNESS, timestamp=1_800_000_000)

    def root(self, size: int = 7) -> bytes:
        return merkle.root_of([merkle.leaf_hash(leaf) for leaf in self.leaves[:size]])

    def entry(self, index: int) -> Value:
        stored: dict[tuple[int, int], bytes] = {}
        frontier = merkle.Frontier()
        for leaf in self.leaves:
            stored.update(
                {
                    (level, position): value
                    for level, position, value in frontier.append(merkle.leaf_hash(leaf))
                }
            )
        path = merkle.inclusion_proof(
            index, len(self.leaves), lambda level, position: stored[level, position]
        )
        return {
            "index": index,
            "leaf": json.loads(self.leaves[index]),
            "path": ["0x" + data.hex() for data in path],
        }

    def build(self) -> Value:
        """The complete bundle, as its builder writes it."""
        builder = BundleBuilder(
            profile="test",
            chain_id=self.network.chain_id,
            genesis_hash=self.network.genesis_hash,
            subject={
                "member": OFFICE,
                "asset": "0x" + ASSET.struct_hash().hex(),
                "commitment": COMMITMENT,
            },
        )
        builder.add_storage_value(*self.head_proof("MemberDirectory", "members", OFFICE))
        for item in (self.office.statement, self.office.log):
            builder.add_key(
                item.fingerprint, *self.head_proof("MemberDirectory", "keys", item.fingerprint)
            )
        log_id = keccak256(checkpoint.log_origin(OFFICE, 0).encode())
        entry = self.entry(0)
        builder.add_log_entry(
            member=OFFICE,
            log_epoch=0,
            key=self.office.log.public_key,
            note=self.note(),
            size=self.head_proof("EvidenceLog", "logs", log_id),
            root=self.head_proof("EvidenceLog", "roots", log_id),
            index=0,
            leaf=self.leaves[0],
            path=[bytes.fromhex(item[2:]) for item in entry["path"]],
        )
        for statement, signer in (
            (voucher(1), self.office.statement),
            (CERTIFICATE, self.office.statement),
            (WITHDRAWAL, SUBJECT),
        ):
            signature = signer.sign_digest(
                statement.digest(self.ledger.deployment.domain(statement.contract))
            )
            builder.add_statement(statement, signature)
        builder.add_struct(ASSET)
        builder.add_disclosure(
            bytes.fromhex(COMMITMENT[2:]), salt=SALT, domain=RECORD_DOMAIN, record=RECORD
        )
        bundle: Value = json.loads(builder.build())
        return bundle

    def edited(self, change: Change | None = None) -> bytes:
        """The bundle after a change, in canonical form again: what somebody who knows the format
        would hand over.
        """
        value = copy.deepcopy(self.value)
        assert value is not None
        if change is not None:
            change(value)
        return dumps(value)

    def verify(self, change: Change | None = None, held: Trust | None = None) -> Report:
        return verify(self.edited(change), held or self.trust, {"test": check})

    def verify_once(self, change: Change) -> Report:
        """By the Python verifier alone, for changes in thousands."""
        return verifier.verify(self.edited(change), self.trust, {"test": check})

    def add_word(
        self, value: Value, contract: str, variable: str, key: Any, height: int = 0
    ) -> int:
        """Prove another word in the bundle; its place."""
        proof, header = (
            self.proof(contract, variable, key, height),
            "0x" + self.header(height or self.head).hex(),
        )
        if header not in value["headers"]:
            value["headers"].append(header)
        value["storage"].append(
            {
                "header": value["headers"].index(header),
                "address": proof.address,
                "slot": "0x" + proof.slot.hex(),
                "value": hex(proof.value),
                "accountProof": ["0x" + data.hex() for data in proof.account_proof],
                "storageProof": ["0x" + data.hex() for data in proof.storage_proof],
            }
        )
        return len(value["storage"]) - 1

    def add_key(self, value: Value, fingerprint: bytes, height: int = 0) -> None:
        index = self.add_word(value, "MemberDirectory", "keys", fingerprint, height)
        value["keys"].append({"fingerprint": "0x" + fingerprint.hex(), "storage": index})

    def add_voucher(
        self,
        value: Value,
        seq: int,
        signer: Secp256k1Signer,
        *,
        logged: int | None,
        height: int = 0,
    ) -> None:
        """Another voucher with its key, and with its log entry unless it has none."""
        self.add_key(value, signer.fingerprint, height)
        value["statements"].append(self.sign(voucher(seq), signer))
        if logged is not None:
            value["logs"][0]["entries"].append(self.entry(logged))


def leaves_of(domain: Domain) -> list[bytes]:
    def leaf(digest: Any) -> bytes:
        return dumps({"at": 1_800_000_000, "digest": digest, "kind": "Voucher"})

    first, late, early = ("0x" + voucher(seq).digest(domain).hex() for seq in (1, 2, 3))
    leaves = [
        leaf(first),
        leaf(late),
        leaf(early),
        leaf(["no", "text"]),
        leaf(first),
        *(leaf("0x" + keccak256(bytes([n])).hex()) for n in (5, 6)),
    ]
    assert json.loads(leaves[ODD])["digest"] == ["no", "text"]
    return leaves


@pytest.fixture(scope="module")
def world(kcn_network: Network) -> Iterator[World]:
    """Admission, keys that end before and after the anchor, and the anchor itself, each in its own
    block.
    """
    admins, senders = ([Secp256k1Signer(new_private_key()) for _ in range(3)] for _ in range(2))
    names, roles = (OPERATOR, BANK, SUPERVISOR), (Role.OPERATOR, Role.BANK, Role.SUPERVISOR)
    governors = [
        Governor(name, name, role, admin.address, sender.address)
        for name, role, admin, sender in zip(names, roles, admins, senders, strict=True)
    ]
    deployment = deploy(kcn_network.rpc_urls[0], new_private_key(), governors)
    ledger = Ledger(kcn_network.rpc_urls[0], deployment)
    office, bank_log = Office(), Ed25519Signer(b"\x0c" * 32)
    made = World(
        kcn_network,
        ledger,
        office,
        bank_log,
        admins,
        senders[0],
        leaves_of(deployment.domain("TradeSettlement")),
    )
    made.admitted_at = made.mined(
        made.govern("admit", OFFICE, "housing office", int(Role.DEPARTMENT), office.entries()),
        made.govern(
            "addKey",
            BANK,
            (bank_log.fingerprint, int(KeyPurpose.LOG), int(Algorithm.ED25519)),
            ahead=1,
        ),
    )
    made.mined(
        made.govern("endKey", office.ended.fingerprint, b"lost".ljust(32, b"\0")),
        made.govern("endKey", office.log_ended.fingerprint, b"lost".ljust(32, b"\0"), ahead=1),
    )
    made.anchored_at = made.mined(
        made.send(office.transaction, "EvidenceLog", "anchor", 0, 7, made.root()),
        made.send(office.transaction, "EvidenceLog", "anchor", 1, 7, made.root(), ahead=1),
    )
    made.head = made.mined(
        made.govern("endKey", office.ended_late.fingerprint, b"changed".ljust(32, b"\0")),
        made.govern(
            "endKey", office.log_ended_late.fingerprint, b"changed".ljust(32, b"\0"), ahead=1
        ),
    )
    made.value = made.build()
    yield made
    ledger.close()


def refusal(
    world: World, change: Change | None = None, held: Trust | None = None
) -> tuple[type[VerificationError], str]:
    with pytest.raises(VerificationError) as caught:
        world.verify(change, held)
    assert caught.value.sentence
    return type(caught.value), caught.value.code


def flipped(text: str, index: int = -1) -> str:
    """With another hexadecimal digit at a place."""
    other = "1" if text[index] == "0" else "0"
    return text[:index] + other + (text[index + 1 :] if index != -1 else "")


# --- The complete proof ---------------------------------------------------------------------------


def test_a_complete_proof_is_verified(world: World) -> None:
    report = world.verify()
    assert report.proved == ["voucher 1 is at 0"]
    assert report.height == world.head
    assert "cannot prove that nobody looked earlier" in report.limits[0]


def test_each_kind_of_failure_has_an_exit_code_of_its_own() -> None:
    kinds = (Malformed, BadSignature, NotIncluded, NotAnchored, NotFinal, WrongTrust, Inconsistent)
    assert [kind.exit_code for kind in kinds] == [10, 11, 12, 13, 14, 15, 16]
    assert all(issubclass(kind, VerificationError) and kind.status == 422 for kind in kinds)


OTHER_KINDS: tuple[Any, ...] = (None, True, -1, 2**53 - 1, "", "0x", "\0", [], {}, [[]], {"a": []})


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything in a JSON value."""
    if path:
        yield path
    for key, item in (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    ):
        yield from places(item, (*path, key))


def put(value: Any, path: tuple[Any, ...], new: Any) -> None:
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = new(value[path[-1]])


def altered(old: Any) -> Any:
    if isinstance(old, str) and old.startswith("0x") and len(old) > 2:
        return flipped(old)
    return old + (1 if isinstance(old, int) else "x" if isinstance(old, str) else [None])


def test_no_value_of_a_bundle_can_be_altered(world: World) -> None:
    assert world.value is not None
    leaves = [path for path in places(world.value) if not isinstance(_at(world.value, path), dict)]
    assert len(leaves) > 100
    for path in leaves:
        with pytest.raises(VerificationError) as caught:
            world.verify_once(lambda value, path=path: put(value, path, altered))  # type: ignore[misc]
        assert caught.value.exit_code in range(10, 17)


def test_no_value_of_a_bundle_can_be_replaced_by_another_type(world: World) -> None:
    """Nor does anything a stranger may write end the verifier in another way than by its refusal."""
    assert world.value is not None
    for path in places(world.value):
        for new in OTHER_KINDS:
            if new == _at(world.value, path):
                continue
            with pytest.raises(VerificationError):
                world.verify_once(
                    lambda value, path=path, new=new: put(value, path, lambda _old: new)
                )  # type: ignore[misc]


def test_no_element_of_a_bundle_can_be_omitted_or_repeated(world: World) -> None:
    assert world.value is not None
    for path in places(world.value):
        parent = _at(world.value, path[:-1])
        for change in (_without, _doubled) if isinstance(parent, list) else (_without,):
            with pytest.raises(VerificationError):
                world.verify_once(
                    lambda value, path=path, change=change: change(_at(value, path[:-1]), path[-1])
                )  # type: ignore[misc]


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def _without(parent: Any, key: Any) -> None:
    del parent[key]


def _doubled(parent: list[Any], key: int) -> None:
    parent.insert(key, parent[key])


# --- Form: exit code 10 ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param(
            lambda v: v.update(format="qiaolian-bundle/2"), "bundle_malformed", id="another format"
        ),
        pytest.param(lambda v: v.pop("structs"), "bundle_malformed", id="no structs"),
        pytest.param(
            lambda v: v.update(remark="trust me"), "bundle_malformed", id="a section of its own"
        ),
        pytest.param(lambda v: v.update(subject=[]), "bundle_malformed", id="no subject"),
        pytest.param(
            lambda v: v.update({"story": "fable"}), "profile_unknown", id="an unknown profile"
        ),
        pytest.param(lambda v: v.update(headers={}), "bundle_malformed", id="headers in an object"),
        pytest.param(lambda v: v["headers"].append("0xc0"), "header_malformed", id="no header"),
        pytest.param(
            lambda v: v["headers"].append("0xc1"), "rlp_malformed", id="a header cut short"
        ),
        pytest.param(
            lambda v: v["headers"].append(v["headers"][0].replace("a", "A")),
            "bundle_malformed",
            id="capital digits",
        ),
        pytest.param(lambda v: v["headers"].append("0xabc"), "bundle_malformed", id="half a byte"),
        pytest.param(
            lambda v: v["statements"].append(v["statements"][0]),
            "bundle_malformed",
            id="a statement twice",
        ),
        pytest.param(
            lambda v: v["statements"][0].update(type="Report"),
            "bundle_malformed",
            id="an unknown statement",
        ),
        pytest.param(
            lambda v: v["statements"][0].update(type="AssetRecord"),
            "bundle_malformed",
            id="a struct among statements",
        ),
        pytest.param(
            lambda v: v["structs"][0].update(type="Voucher"),
            "bundle_malformed",
            id="a statement among structs",
        ),
        pytest.param(
            lambda v: v["statements"][0].update(signature="0x" + "11" * 64),
            "bundle_malformed",
            id="a short signature",
        ),
        pytest.param(
            lambda v: v["statements"][0]["message"].update(extra=1),
            "statement_malformed",
            id="a field too many",
        ),
        pytest.param(
            lambda v: v["statements"][0]["message"].update(seq=-1),
            "statement_malformed",
            id="a field out of range",
        ),
        pytest.param(
            lambda v: v["storage"][0].update(header=1),
            "bundle_malformed",
            id="a header that is not there",
        ),
        pytest.param(
            lambda v: v["storage"][0].update(header=-1),
            "bundle_malformed",
            id="a header counted from behind",
        ),
        pytest.param(
            lambda v: v["storage"][0].update(value="0x0" + v["storage"][0]["value"][2:]),
            "bundle_malformed",
            id="a value with a zero before",
        ),
        pytest.param(
            lambda v: v["storage"][0].update(slot="0x00"), "bundle_malformed", id="a short slot"
        ),
        pytest.param(
            lambda v: v["storage"][0].update(address=v["storage"][0]["address"].upper()),
            "bundle_malformed",
            id="a shouted address",
        ),
        pytest.param(
            lambda v: v["keys"][0].update(storage=99),
            "bundle_malformed",
            id="a record that is not there",
        ),
        pytest.param(
            lambda v: v["logs"][0].update(note="head\n\n— me x\n"),
            "checkpoint_malformed",
            id="no checkpoint",
        ),
        pytest.param(
            lambda v: v["logs"][0]["entries"][0]["leaf"].update(note="x"),
            "bundle_malformed",
            id="a leaf with a remark",
        ),
        pytest.param(
            lambda v: v["disclosures"][0].update(salt="0x05"), "bundle_malformed", id="a short salt"
        ),
    ],
)
def test_a_value_of_another_form_is_malformed(world: World, change: Change, code: str) -> None:
    assert refusal(world, change) == (Malformed, code)


def test_bytes_that_are_not_canonical_are_malformed(world: World) -> None:
    for data in (
        world.edited() + b"\n",
        json.dumps(world.value).encode(),
        json.dumps(world.value, ensure_ascii=False, indent=1).encode(),
    ):
        with pytest.raises(Malformed) as caught:
            verify(data, world.trust, {"test": check})
        assert caught.value.code == "json_not_canonical"


def test_a_bundle_over_the_size_limit_is_refused_unread(world: World) -> None:
    data = world.edited()
    assert verify(data, world.trust, {"test": check}, max_bytes=len(data)).proved
    with pytest.raises(Malformed) as caught:
        verify(data, world.trust, {"test": check}, max_bytes=len(data) - 1)
    assert caught.value.code == "json_too_large"


def test_a_bundle_over_the_verifiers_limits_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    builder = BundleBuilder(profile="test", chain_id=1, genesis_hash="0x", subject={})
    for seq in (1, 2, 1, 2):
        builder.add_statement(voucher(seq), bytes(65))
    written = builder.build()
    assert [statement["message"]["seq"] for statement in json.loads(written)["statements"]] == [
        1,
        2,
    ], "each occurs once, where it was added first"
    for name, most in (("MAX_BYTES", len(written)), ("MAX_ELEMENTS", 2)):
        with monkeypatch.context() as patch:
            patch.setattr(f"chain.bundle.builder.{name}", most)
            assert builder.build() == written
            patch.setattr(f"chain.bundle.builder.{name}", most - 1)
            with pytest.raises(Conflict) as refused:
                builder.build()
            assert refused.value.code == "bundle_too_large"


def test_elements_over_the_limit_are_refused_before_any_is_checked(world: World) -> None:
    def crowd(value: Value) -> None:
        value["headers"] = [f"{number:x}" for number in range(MAX_ELEMENTS)]

    # Even the chain is looked at later.
    assert refusal(world, crowd, replace(world.trust, chain_id=7)) == (
        Malformed,
        "bundle_malformed",
    )


def test_a_log_entry_that_names_no_digest_is_malformed_though_its_log_holds_it(
    world: World,
) -> None:
    assert refusal(world, lambda value: value["logs"][0]["entries"].append(world.entry(ODD))) == (
        Malformed,
        "bundle_malformed",
    )


# --- Signatures: exit code 11 ---------------------------------------------------------------------


def _sign_again(world: World, signer: Secp256k1Signer, domain: Domain | None = None) -> Change:
    def change(value: Value) -> None:
        value["statements"][0] = world.sign(voucher(1), signer, domain)

    return change


def test_a_statement_of_an_unknown_signer_is_refused(world: World) -> None:
    assert refusal(world, _sign_again(world, STRANGER)) == (BadSignature, "signer_unknown")


def test_a_statement_signed_for_another_chain_or_contract_is_refused(world: World) -> None:
    home = world.ledger.deployment.domain("TradeSettlement")
    for domain in (
        Domain(home.chain_id + 1, home.contract),
        world.ledger.deployment.domain("CreditLedger"),
    ):
        kind, code = refusal(world, _sign_again(world, world.office.statement, domain))
        assert (kind, code) in (
            (BadSignature, "signer_unknown"),
            (BadSignature, "signature_malformed"),
        )


def test_a_mirrored_signature_is_refused(world: World) -> None:
    def mirror(value: Value) -> None:
        signature = bytes.fromhex(value["statements"][0]["signature"][2:])
        high = CURVE_ORDER - int.from_bytes(signature[32:64], "big")
        value["statements"][0]["signature"] = (
            "0x" + (signature[:32] + high.to_bytes(32, "big") + bytes([55 - signature[64]])).hex()
        )

    assert refusal(world, mirror) == (BadSignature, "signature_malformed")


def test_a_key_of_another_algorithm_signs_nothing(world: World) -> None:
    """The contracts take no such key for the member's either."""
    office = world.office
    assert world.ledger.members.key(office.misnamed.fingerprint).algorithm == Algorithm.ED25519

    def misname(value: Value) -> None:
        value["statements"][0] = world.sign(voucher(1), office.misnamed)
        world.add_key(value, office.misnamed.fingerprint)

    assert refusal(world, misname) == (BadSignature, "signer_unknown")


def test_a_statement_logged_before_its_key_ended_still_counts(world: World) -> None:
    report = world.verify(
        lambda value: world.add_voucher(value, 2, world.office.ended_late, logged=1)
    )
    assert report.proved == ["voucher 1 is at 0", "voucher 2 is at 1"]


def test_a_statement_under_an_ended_key_that_no_earlier_anchor_includes_is_refused(
    world: World,
) -> None:
    office = world.office
    assert world.ledger.members.key(office.ended.fingerprint).end_height < world.anchored_at
    for seq, signer, logged in (
        (2, office.ended_late, None),
        (3, office.ended, 2),
        (3, office.ended, None),
    ):
        kind_and_code = refusal(
            world,
            lambda value, seq=seq, signer=signer, logged=logged: world.add_voucher(
                value, seq, signer, logged=logged
            ),
        )  # type: ignore[misc]
        assert kind_and_code == (BadSignature, "key_ended")


def test_an_older_header_cannot_hide_a_keys_end(world: World) -> None:
    """The key was live in the block of the proof, ended in a later one, and what it signed was
    anchored after that.
    """
    ended, before = world.office.ended, world.admitted_at
    assert before < world.ledger.members.key(ended.fingerprint).end_height < world.anchored_at
    stale = refusal(
        world, lambda value: world.add_voucher(value, 3, ended, logged=2, height=before)
    )
    assert stale == (Inconsistent, "state_at_two_heights")


def _log_key(world: World, signer: Ed25519Signer) -> Change:
    """The log's checkpoint under another of its member's keys."""

    def change(value: Value) -> None:
        key = {
            "fingerprint": "0x" + signer.fingerprint.hex(),
            "storage": world.add_word(value, "MemberDirectory", "keys", signer.fingerprint),
        }
        value["storage"][value["keys"][1]["storage"]] = value["storage"].pop()
        value["keys"][1] = {**key, "storage": value["keys"][1]["storage"]}
        value["logs"][0].update(key="0x" + signer.public_key.hex(), note=world.note(log=signer))

    return change


def test_a_log_key_counts_only_until_its_end(world: World) -> None:
    office = world.office
    assert world.verify(_log_key(world, office.log_ended_late)).proved, (
        "its checkpoint was anchored before the end"
    )
    assert refusal(world, _log_key(world, office.log_ended)) == (BadSignature, "key_ended")


def _certificate(world: World, signer: Secp256k1Signer, **changes: Any) -> Change:
    def change(value: Value) -> None:
        value["statements"][1] = world.sign(replace(CERTIFICATE, **changes), signer)

    return change


def test_a_subjects_key_counts_only_under_its_issuers_certificate(world: World) -> None:
    office = world.office.statement
    assert refusal(world, _certificate(world, STRANGER)) == (BadSignature, "signer_unknown")
    assert refusal(world, _certificate(world, SUBJECT)) == (BadSignature, "signer_unknown")
    assert refusal(world, _certificate(world, office, issuer=BANK)) == (
        BadSignature,
        "signer_unknown",
    )
    assert refusal(world, _certificate(world, office, issuer="")) == (
        BadSignature,
        "signer_unknown",
    )
    assert refusal(world, _certificate(world, office, key=STRANGER.address)) == (
        BadSignature,
        "signer_unknown",
    )
    assert refusal(world, _certificate(world, office, key=ZERO_ADDRESS)) == (
        BadSignature,
        "signer_unknown",
    )
    assert refusal(world, lambda value: value["statements"].pop(1)) == (
        BadSignature,
        "signer_unknown",
    )


def test_two_different_certificates_of_one_key_are_refused(world: World) -> None:
    """An office that says two things of one key could show whichever suits whom it helps."""
    office = world.office.statement
    for changes in ({"subject": b"\x07" * 32}, {"purpose": "dispute"}, {"not_after": 2**41}):
        second = world.sign(replace(CERTIFICATE, **changes), office)
        for index in (0, 2, 3):
            assert refusal(
                world,
                lambda value, second=second, index=index: value["statements"].insert(index, second),  # type: ignore[misc]
            ) == (Inconsistent, "certificate_twice")


def test_a_certified_subject_cannot_certify_another(world: World) -> None:
    heir = Secp256k1Signer(b"\x66" * 32)

    def inherit(value: Value) -> None:
        value["statements"].append(
            world.sign(replace(CERTIFICATE, issuer="", key=heir.address), SUBJECT)
        )
        value["statements"][2] = world.sign(WITHDRAWAL, heir)

    assert refusal(world, inherit) == (BadSignature, "signer_unknown")


def test_a_certificate_may_follow_what_it_certifies(world: World) -> None:
    assert world.verify(lambda value: value["statements"].reverse()).proved


def test_a_checkpoint_of_another_key_than_the_logs_is_refused(world: World) -> None:
    note = world.note(log=Ed25519Signer(b"\x0d" * 32))
    assert refusal(world, lambda value: value["logs"][0].update(note=note)) == (
        BadSignature,
        "checkpoint_signature",
    )


def test_a_log_under_another_members_key_or_a_key_for_something_else_is_refused(
    world: World,
) -> None:
    for signer in (world.bank_log, world.office.token):

        def swap(value: Value, signer: Ed25519Signer = signer) -> None:
            world.add_key(value, signer.fingerprint)
            value["logs"][0].update(key="0x" + signer.public_key.hex(), note=world.note(log=signer))

        assert refusal(world, swap) == (BadSignature, "log_key_unknown")
    assert refusal(world, lambda value: value["keys"].pop(1)) == (BadSignature, "log_key_unknown")


def test_a_checkpoint_needs_as_many_witnesses_as_the_verifier_demands(world: World) -> None:
    alone = world.note().split("— supervisor")[0]
    assert refusal(world, lambda value: value["logs"][0].update(note=alone)) == (
        BadSignature,
        "witness_missing",
    )
    assert world.verify(
        lambda value: value["logs"][0].update(note=alone),
        replace(world.trust, required_witnesses=0),
    ).proved
    more = replace(
        world.trust,
        required_witnesses=2,
        witnesses={**world.trust.witnesses, "bank": STRANGER.fingerprint},
    )
    assert refusal(world, held=more) == (BadSignature, "witness_missing")


def test_a_witness_the_verifier_does_not_know_counts_for_nothing_and_is_reported(
    world: World,
) -> None:
    stranger = Ed25519Signer(b"\x0e" * 32)
    line = checkpoint.cosign(world.note(), "bank", stranger, timestamp=1)
    report = world.verify(lambda value: value["logs"][0].update(note=world.note() + line))
    assert any(
        "1 signature of keys that the trust file does not name" in limit for limit in report.limits
    )
    assert world.verify().limits == (*Report.limits,)
    alone = world.note().split("— supervisor")[0] + line
    assert refusal(world, lambda value: value["logs"][0].update(note=alone)) == (
        BadSignature,
        "witness_missing",
    )
    other = replace(world.trust, witnesses={"supervisor": stranger.public_key})
    assert refusal(world, held=other) == (BadSignature, "witness_missing")


# --- Inclusion: exit code 12 ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(
            lambda e: e["path"].__setitem__(0, flipped(e["path"][0])), id="a node changed"
        ),
        pytest.param(lambda e: e["path"].pop(), id="a node too few"),
        pytest.param(lambda e: e["path"].append("0x" + "00" * 32), id="a node too many"),
        pytest.param(lambda e: e.update(index=1), id="another place"),
        pytest.param(lambda e: e.update(index=-1), id="a place before the first"),
        pytest.param(lambda e: e.update(index=7), id="a place behind the last"),
        pytest.param(lambda e: e["leaf"].update(at=1), id="another time"),
        pytest.param(lambda e: e["leaf"].update(digest="0x" + "12" * 32), id="another digest"),
    ],
)
def test_an_entry_that_is_not_under_its_tree_head_is_refused(world: World, change: Change) -> None:
    assert refusal(world, lambda value: change(value["logs"][0]["entries"][0])) == (
        NotIncluded,
        "not_included",
    )


def test_a_statement_that_its_signer_never_logged_is_refused(world: World) -> None:
    assert refusal(
        world,
        lambda value: value["statements"].append(world.sign(voucher(9), world.office.statement)),
    ) == (NotIncluded, "not_logged")
    assert refusal(world, lambda value: value["logs"].clear()) == (NotIncluded, "not_logged")


# --- State: exit code 13 --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda s: s.update(value=flipped(s["value"])), id="another value"),
        pytest.param(
            lambda s: s.update(value="0x0", storageProof=[]), id="absence of what is there"
        ),
        pytest.param(
            lambda s: s["storageProof"].__setitem__(-1, flipped(s["storageProof"][-1])),
            id="a storage node changed",
        ),
        pytest.param(
            lambda s: s["accountProof"].__setitem__(0, flipped(s["accountProof"][0], 40)),
            id="an account node changed",
        ),
        pytest.param(lambda s: s["accountProof"].pop(), id="an account node too few"),
        pytest.param(lambda s: s["storageProof"].append("0xc0"), id="a node too many"),
        pytest.param(lambda s: s.update(accountProof=[]), id="no account"),
    ],
)
def test_a_storage_value_that_the_header_does_not_prove_is_refused(
    world: World, change: Change
) -> None:
    assert refusal(world, lambda value: change(value["storage"][0])) == (NotAnchored, "proof_wrong")


def test_a_storage_value_the_profile_needs_must_be_proved(world: World) -> None:
    def other_member(value: Value) -> None:
        index = world.add_word(value, "MemberDirectory", "members", BANK)
        value["storage"][0] = value["storage"].pop(index)

    assert refusal(world, other_member) == (NotAnchored, "state_not_proved")


def test_a_state_under_an_older_header_than_the_bundles_newest_is_refused(world: World) -> None:
    def older(value: Value) -> None:
        index = world.add_word(value, "MemberDirectory", "members", OFFICE, world.anchored_at)
        value["storage"][0] = value["storage"].pop(index)

    assert refusal(world, older) == (Inconsistent, "state_at_two_heights")


def test_an_anchors_size_and_root_are_of_one_block(world: World) -> None:
    """Else a tree that was anchored later passes for one of the earlier size."""

    def mix(value: Value) -> None:
        log_id = keccak256(checkpoint.log_origin(OFFICE, 0).encode())
        index = world.add_word(value, "EvidenceLog", "roots", log_id, world.anchored_at)
        value["storage"][value["logs"][0]["root"]] = value["storage"].pop(index)

    assert refusal(world, mix) == (NotAnchored, "anchor_not_proved")


def test_a_key_the_directory_does_not_show_is_refused(world: World) -> None:
    def strangers_key(value: Value) -> None:
        world.add_key(value, STRANGER.fingerprint)
        value["statements"][0] = world.sign(voucher(1), STRANGER)

    assert refusal(world, strangers_key) == (NotAnchored, "key_not_proved")
    # Another key's record, and another variable altogether, in place of the key's own.
    for index in (2, 0):
        assert refusal(
            world, lambda value, index=index: value["keys"][0].update(storage=index)
        ) == (NotAnchored, "key_not_proved")  # type: ignore[misc]


def test_a_newer_tree_head_than_the_chain_anchors_is_not_anchored(world: World) -> None:
    """The log's own key signs it and its witness cosigns it; the chain has not seen it."""
    longer = merkle.root_of([merkle.leaf_hash(data) for data in [*world.leaves, b"more"]])
    for root in (longer, world.root()):
        note = world.note(8, root=root)
        assert refusal(world, lambda value, note=note: value["logs"][0].update(note=note)) == (
            NotAnchored,
            "anchor_differs",
        )  # type: ignore[misc]


def test_another_tree_of_the_same_size_than_the_chain_anchors_is_not_anchored(world: World) -> None:
    assert refusal(
        world, lambda value: value["logs"][0].update(note=world.note(root=b"\x01" * 32))
    ) == (NotAnchored, "anchor_differs")


def test_an_anchor_is_proved_by_its_own_two_storage_values(world: World) -> None:
    def swap(value: Value) -> None:
        log = value["logs"][0]
        log["size"], log["root"] = log["root"], log["size"]

    assert refusal(world, swap) == (NotAnchored, "anchor_not_proved")
    assert refusal(world, lambda value: value["logs"][0].update(size=0)) == (
        NotAnchored,
        "anchor_not_proved",
    )


def test_an_anchor_of_another_log_epoch_does_not_count(world: World) -> None:
    def other(value: Value) -> None:
        log_id = keccak256(checkpoint.log_origin(OFFICE, 1).encode())
        log = value["logs"][0]
        log["size"], log["root"] = (
            world.add_word(value, "EvidenceLog", variable, log_id) for variable in ("logs", "roots")
        )

    assert refusal(world, other) == (NotAnchored, "anchor_not_proved")


# --- Finality: exit code 14 -----------------------------------------------------------------------


def _resealed(raw: str, seals: Callable[[list[Any]], list[Any]], **fields: bytes) -> str:
    items = rlp.decode_list(bytes.fromhex(raw[2:]))
    extra = rlp.as_bytes(items[11])
    istanbul = rlp.decode_list(extra[32:])
    for name, value in fields.items():
        items[{"state_root": 2, "number": 7}[name]] = value
    items[11] = extra[:32] + rlp.encode([istanbul[0], istanbul[1], seals(list(istanbul[2]))])
    return "0x" + rlp.encode(items).hex()


@pytest.mark.parametrize(
    ("seals", "code"),
    [
        (lambda _seals: [], "seal_missing"),
        (lambda seals: [*seals, *seals], "seal_duplicate"),
        (lambda seals: [*seals, b""], "seal_invalid"),
        (lambda seals: [seals[0][:64] + b"\x02"], "seal_invalid"),
        (
            lambda seals: [*seals, sign_digest(keccak256(b"stranger"), bytes(32))[:64] + b"\0"],
            "seal_foreign",
        ),
    ],
)
def test_a_header_without_exactly_its_validators_seals_is_not_final(
    world: World, seals: Any, code: str
) -> None:
    def reseal(value: Value) -> None:
        value["headers"][0] = _resealed(value["headers"][0], seals)

    assert refusal(world, reseal) == (NotFinal, code)


def _forked(world: World, raw: str) -> str:
    """Another block of a header's height that the same validators sealed."""
    changed = _resealed(raw, lambda _seals: [], state_root=b"\x01" * 32)
    message = keccak256(headers.parse(bytes.fromhex(changed[2:])).hash + b"\x02")
    keys = [
        bytes.fromhex(path.read_text(encoding="ascii"))
        for path in sorted(world.network.directory.rglob("nodekey"))
    ]
    seals = [sign_digest(key, message) for key in keys]
    return _resealed(changed, lambda _seals: [seal[:64] + bytes([seal[64] - 27]) for seal in seals])


def test_two_final_blocks_of_one_height_are_a_fork(world: World) -> None:
    """Validators that seal two blocks of one height are caught by a bundle that carries both."""

    def fork(value: Value) -> None:
        value["headers"].append(_forked(world, value["headers"][0]))

    assert refusal(world, fork) == (Inconsistent, "chain_forked")


def test_a_header_with_another_state_or_height_is_not_final(world: World) -> None:
    for fields in ({"state_root": b"\x01" * 32}, {"number": rlp.integer(world.head + 1)}):

        def forge(value: Value, fields: dict[str, bytes] = fields) -> None:
            value["headers"][0] = _resealed(value["headers"][0], lambda seals: seals, **fields)

        kind, code = refusal(world, forge)
        assert kind is NotFinal
        assert code in ("seal_foreign", "seal_invalid")


def _with_sets(world: World, *sets: ValidatorSet) -> Trust:
    return replace(world.trust, validator_sets=sets)


def test_a_header_of_validators_outside_the_trust_file_is_refused(world: World) -> None:
    ours, other = frozenset(world.network.addresses), frozenset({STRANGER.address})
    assert refusal(world, held=_with_sets(world, ValidatorSet(0, None, other))) == (
        NotFinal,
        "seal_foreign",
    )
    assert refusal(world, held=_with_sets(world, ValidatorSet(0, None, ours | other))) == (
        NotFinal,
        "seal_missing",
    )


def test_each_header_is_checked_against_the_validators_of_its_height(world: World) -> None:
    ours, other = frozenset(world.network.addresses), frozenset({STRANGER.address})

    def two_headers(value: Value) -> None:
        log_id = keccak256(checkpoint.log_origin(OFFICE, 0).encode())
        for variable, part in (("logs", "size"), ("roots", "root")):
            index = world.add_word(value, "EvidenceLog", variable, log_id, world.anchored_at)
            value["storage"][value["logs"][0][part]] = value["storage"].pop(index)

    assert world.anchored_at < world.head
    assert world.verify(two_headers).height == world.head
    change_over = (
        ValidatorSet(0, world.anchored_at, ours),
        ValidatorSet(world.anchored_at + 1, None, other),
    )
    assert refusal(world, two_headers, _with_sets(world, *change_over)) == (
        NotFinal,
        "seal_foreign",
    )
    assert refusal(world, two_headers, _with_sets(world, *reversed(change_over))) == (
        NotFinal,
        "seal_foreign",
    )
    both = (
        ValidatorSet(0, world.anchored_at, ours),
        ValidatorSet(world.anchored_at + 1, world.head, ours),
    )
    assert world.verify(two_headers, _with_sets(world, *both)).proved


# --- Trust: exit code 15 --------------------------------------------------------------------------


def test_a_bundle_of_another_chain_is_refused(world: World) -> None:
    other = "0x" + "33" * 32
    for change in ({"chainId": world.network.chain_id + 1}, {"genesisHash": other}, {"more": 1}):
        assert refusal(world, lambda value, change=change: value["chain"].update(change)) == (
            WrongTrust,
            "other_chain",
        )  # type: ignore[misc]
    for held in (
        replace(world.trust, chain_id=world.network.chain_id + 1),
        replace(world.trust, genesis_hash=other),
    ):
        assert refusal(world, held=held) == (WrongTrust, "other_chain")


def test_a_chain_of_another_genesis_cannot_claim_ours(
    world: World,
) -> None:
    """A bundle may claim any genesis; the seals are what it cannot claim."""
    other = _with_sets(world, ValidatorSet(0, None, frozenset({STRANGER.address})))
    assert refusal(world, held=other)[0] is NotFinal


def test_a_height_without_known_validators_is_refused(world: World) -> None:
    ours = frozenset(world.network.addresses)
    for sets in (
        (ValidatorSet(0, world.head - 1, ours),),
        (ValidatorSet(world.head + 1, None, ours),),
    ):
        assert refusal(world, held=_with_sets(world, *sets)) == (WrongTrust, "trust_no_validators")


def test_a_contract_or_slot_the_trust_file_does_not_name_is_refused(world: World) -> None:
    held = world.trust

    def without(kind: Mapping[str, Any], name: str) -> dict[str, Any]:
        return {text: value for text, value in kind.items() if text != name}

    # The evidence log's words are proved under an address that is then nobody's.
    assert refusal(world, held=replace(held, contracts=without(held.contracts, "EvidenceLog"))) == (
        WrongTrust,
        "other_contract",
    )
    assert refusal(
        world, held=replace(held, contracts=without(held.contracts, "TradeSettlement"))
    ) == (WrongTrust, "trust_no_contract")
    assert refusal(world, held=replace(held, storage=without(held.storage, "EvidenceLog"))) == (
        WrongTrust,
        "trust_no_slot",
    )
    keyless = {**held.storage, "MemberDirectory": without(held.storage["MemberDirectory"], "keys")}
    assert refusal(world, held=replace(held, storage=keyless)) == (WrongTrust, "trust_no_slot")


def test_the_same_contracts_at_other_addresses_do_not_count(world: World) -> None:
    other = {name: "0x" + keccak256(name.encode())[:20].hex() for name in NAMES}
    assert refusal(world, held=replace(world.trust, contracts=other)) == (
        WrongTrust,
        "other_contract",
    )
    moved = {
        **world.trust.contracts,
        "EvidenceLog": world.trust.contracts["MemberDirectory"],
        "other": world.trust.contracts["EvidenceLog"],
    }
    assert refusal(world, held=replace(world.trust, contracts=moved)) == (
        NotAnchored,
        "anchor_not_proved",
    )


# --- Consistency: exit code 16 --------------------------------------------------------------------


def test_a_header_that_proves_nothing_is_refused(world: World) -> None:
    header = "0x" + world.header(world.anchored_at).hex()
    assert refusal(world, lambda value: value["headers"].append(header)) == (
        Inconsistent,
        "element_unused",
    )


def test_an_unused_storage_value_is_refused(world: World) -> None:
    assert refusal(
        world, lambda value: world.add_word(value, "MemberDirectory", "members", BANK)
    ) == (Inconsistent, "element_unused")


def test_an_unused_key_is_refused(world: World) -> None:
    assert refusal(world, lambda value: world.add_key(value, world.office.spare.fingerprint)) == (
        Inconsistent,
        "element_unused",
    )


def test_a_key_of_no_log_is_refused(world: World) -> None:
    for fingerprint in (
        world.bank_log.fingerprint,
        world.office.token.fingerprint,
        world.office.misnamed.fingerprint,
    ):
        assert refusal(
            world, lambda value, fingerprint=fingerprint: world.add_key(value, fingerprint)
        ) == (Inconsistent, "element_unused")  # type: ignore[misc]


def test_an_unused_statement_is_refused(world: World) -> None:
    approval = Approval(1, b"\x01" * 32, 7, 2**40)
    assert refusal(
        world,
        lambda value: value["statements"].append(world.sign(approval, world.office.statement)),
    ) == (Inconsistent, "element_unused")


def test_an_unused_struct_is_refused(world: World) -> None:
    terms = GrantTerms(
        1, b"\1" * 32, 1, OFFICE, BANK, 1, "credit", "loan", bytes(32), 0, 1, 1, bytes(32)
    )
    element = {"type": "GrantTerms", "message": terms.to_json()}
    assert refusal(world, lambda value: value["structs"].append(element)) == (
        Inconsistent,
        "element_unused",
    )


def test_an_unused_disclosure_is_refused(world: World) -> None:
    def disclose(value: Value) -> None:
        commitment = commit(SALT, "qiaolian.other.v1", RECORD)
        value["disclosures"].append(
            {
                "commitment": "0x" + commitment.hex(),
                "salt": "0x" + SALT.hex(),
                "domain": "qiaolian.other.v1",
                "record": RECORD,
            }
        )

    assert refusal(world, disclose) == (Inconsistent, "element_unused")


def test_an_unused_log_entry_is_refused(world: World) -> None:
    assert refusal(world, lambda value: value["logs"][0]["entries"].append(world.entry(5))) == (
        Inconsistent,
        "element_unused",
    )


def test_a_digest_logged_twice_is_refused(world: World) -> None:
    """The second place would otherwise hide the first, which then is checked by nobody."""
    assert refusal(world, lambda value: value["logs"][0]["entries"].append(world.entry(4))) == (
        Inconsistent,
        "element_twice",
    )


def _second_log(world: World, *indices: int) -> Change:
    """The same member's next log, anchored too, with some of its entries."""

    def change(value: Value) -> None:
        log_id = keccak256(checkpoint.log_origin(OFFICE, 1).encode())
        size, root = (
            world.add_word(value, "EvidenceLog", variable, log_id) for variable in ("logs", "roots")
        )
        log = {
            **value["logs"][0],
            "incarnation": 1,
            "note": world.note(log_epoch=1),
            "size": size,
            "root": root,
        }
        value["logs"].append({**log, "entries": [world.entry(index) for index in indices]})

    return change


def test_a_log_without_an_entry_is_refused(world: World) -> None:
    assert refusal(world, _second_log(world)) == (Inconsistent, "element_unused")


def test_an_entry_is_not_used_because_another_log_s_entry_at_its_place_is(world: World) -> None:
    def other_place(value: Value) -> None:
        # Entry 1 of the first log is used, and entry 1 of the second is not.
        world.add_voucher(value, 2, world.office.ended_late, logged=1)
        _second_log(world, 5)(value)
        value["logs"][1]["entries"] = [world.entry(5)]

    assert refusal(world, other_place) == (Inconsistent, "element_unused")
    assert refusal(world, _second_log(world, 0)) == (Inconsistent, "element_twice")


def test_a_slot_proved_at_two_heights_is_refused(world: World) -> None:
    assert refusal(
        world,
        lambda value: world.add_word(
            value, "MemberDirectory", "members", OFFICE, world.anchored_at
        ),
    ) == (
        Inconsistent,
        "element_unused",
    )


def test_a_checkpoint_of_another_log_is_refused(world: World) -> None:
    assert refusal(world, lambda value: value["logs"][0].update({"incarnation": 1})) == (
        Inconsistent,
        "log_origin_wrong",
    )


@pytest.mark.parametrize("salt", [SALT[:31], SALT + b"\0", SALT + bytes(8)])
def test_only_a_salt_of_32_bytes_opens_a_record(world: World, salt: bytes) -> None:
    def other(value: Value) -> None:
        value["disclosures"][0]["salt"] = "0x" + salt.hex()

    assert refusal(world, other)[0] is Malformed


@pytest.mark.parametrize(
    "change",
    [
        {"record": {"area": 90}},
        {"domain": "qiaolian.other.v1"},
        {"salt": "0x" + "06" * 32},
        {"commitment": "0x" + "01" * 32},
    ],
)
def test_another_record_than_the_committed_one_is_refused(world: World, change: Value) -> None:
    assert refusal(world, lambda value: value["disclosures"][0].update(change)) == (
        Inconsistent,
        "commitment_differs",
    )


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param(lambda v: v["structs"].clear(), "profile_incomplete", id="no struct"),
        pytest.param(lambda v: v["statements"].pop(2), "profile_incomplete", id="no withdrawal"),
        pytest.param(lambda v: v["disclosures"].clear(), "not_disclosed", id="nothing opened"),
        pytest.param(
            lambda v: v["subject"].update(member=BANK), "voucher_other", id="another subject"
        ),
    ],
)
def test_an_incomplete_proof_or_another_subject_is_refused(
    world: World, change: Change, code: str
) -> None:
    assert refusal(world, change) == (Inconsistent, code)


# --- The trust file -------------------------------------------------------------------------------


def test_a_trust_file_survives_a_round_trip(world: World) -> None:
    assert trust.read(json.dumps(world.trust.to_json()).encode()) == world.trust


SET = {"fromHeight": 0, "toHeight": None, "validators": ["0x" + "11" * 20]}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"format": "qiaolian-trust/2"}, id="another format"),
        pytest.param({"remark": "trust me"}, id="a remark"),
        pytest.param({"chainId": "7"}, id="a chain id in quotes"),
        pytest.param({"chainId": True}, id="a chain id that is a truth"),
        pytest.param({"chainId": -1}, id="a chain id below zero"),
        pytest.param({"genesisHash": "0x01"}, id="a short genesis hash"),
        pytest.param({"genesisHash": None}, id="no genesis hash"),
        pytest.param({"validatorSets": []}, id="no validators"),
        pytest.param({"validatorSets": [{**SET, "validators": []}]}, id="an empty set"),
        pytest.param(
            {"validatorSets": [{**SET, "validators": ["0x" + "11" * 20] * 2}]},
            id="a validator twice",
        ),
        pytest.param(
            {"validatorSets": [{**SET, "validators": ["0x" + "AB" * 20]}]}, id="a shouted address"
        ),
        pytest.param(
            {"validatorSets": [{**SET, "validators": "0x" + "11" * 20}]}, id="validators in a text"
        ),
        pytest.param(
            {"validatorSets": [{**SET, "validators": {"0x" + "11" * 20: 1}}]},
            id="validators in an object",
        ),
        pytest.param({"validatorSets": [{**SET, "fromHeight": "0"}]}, id="a height in quotes"),
        pytest.param({"validatorSets": [{**SET, "fromHeight": -1}]}, id="a height below zero"),
        pytest.param(
            {"validatorSets": [{**SET, "fromHeight": 9, "toHeight": 8}]},
            id="a range that ends before it starts",
        ),
        pytest.param(
            {"validatorSets": [SET, {**SET, "fromHeight": 5, "validators": ["0x" + "22" * 20]}]},
            id="two sets for a height",
        ),
        pytest.param({"validatorSets": [{**SET, "remark": 1}]}, id="a set with a remark"),
        pytest.param({"contracts": {"EvidenceLog": "0x11"}}, id="a short contract"),
        pytest.param({"contracts": []}, id="contracts in a list"),
        pytest.param({"storage": {"EvidenceLog": {"logs": "2"}}}, id="a slot in quotes"),
        pytest.param({"storage": {"EvidenceLog": {"logs": -2}}}, id="a slot below zero"),
        pytest.param({"storage": {"EvidenceLog": 2}}, id="a contract without variables"),
        pytest.param({"witnesses": {"supervisor": "0x11"}}, id="a short witness key"),
        pytest.param({"witnesses": ["0x" + "11" * 32]}, id="witnesses without names"),
        pytest.param({"requiredWitnesses": -1}, id="witnesses below zero"),
        pytest.param({"requiredWitnesses": None}, id="no number of witnesses"),
    ],
)
def test_a_trust_file_of_another_form_is_refused(world: World, change: Value) -> None:
    with pytest.raises(WrongTrust) as caught:
        trust.read(json.dumps({**world.trust.to_json(), **change}).encode())
    assert (caught.value.code, caught.value.exit_code) == ("trust_malformed", 15)


@pytest.mark.parametrize(
    "data",
    [b"", b"null", b"[]", b"\xff", b"{" * 1_000, b'{"format":1,"format":2}', b" " * 2_000_000],
)
def test_other_bytes_than_a_trust_file_are_refused(data: bytes) -> None:
    with pytest.raises(WrongTrust) as caught:
        trust.read(data)
    assert caught.value.code == "trust_malformed"


# --- Sending --------------------------------------------------------------------------------------


def test_more_bytes_than_a_node_reads_at_once_are_sent_in_parts(world: World) -> None:
    answers = world.ledger.send([bytes([number]) * 60_000 for number in range(10)])
    assert len(answers) == 10
    assert all(isinstance(answer, RpcRefused) for answer in answers)
