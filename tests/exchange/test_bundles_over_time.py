"""Bundles after keys and rights have ended: an older header cannot hide the end, and what was signed
before it stays provable. A provider with modified code can show only what the buyer acknowledged.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from chain.bundle.claims import Report
from chain.core.canonical import dumps
from chain.core.crypto import new_private_key
from chain.core.errors import Conflict, Unavailable, VerificationError
from chain.ethereum.eip712 import encode_code
from chain.keys.files import Ed25519Signer, Secp256k1Signer
from chain.outbox import enqueue
from chain.statements.commitment import commit, new_salt
from chain.statements.credit import ConsentWithdrawal
from chain.statements.grants import GrantDecision, GrantRevocation, GrantTerms
from chain.statements.members import Algorithm, KeyPurpose
from chain.statements.trade import ReceiptVoid, UsageOutcome, UsageReceipt
from exchange.closing import notice
from exchange.metering import buyer as buyer_side
from exchange.metering.model import CallStatus
from exchange.metering.store import GATEWAY, call_at
from exchange.proof_profile import check_lane, check_trade
from exchange.settlement import bundles
from registry.credit import consents
from registry.credit import export as credit_export
from registry.credit import proof_profile as credit_story
from registry.evidence import log as evidence_log
from registry.grants import export as grant_export
from registry.grants import proof_profile as grant_story
from registry.grants import service as grants
from registry.grants.rules import SCOPE_DOMAIN
from registry.grants.store import GrantRow
from tests.exchange.conftest import Market, Node
from tests.exchange.test_reports import Subject, ask
from tests.support.two_verifiers import verify

CHECKERS = {
    "trade": check_trade,
    "lane": check_lane,
    "grant": grant_story.check,
    "credit": credit_story.check,
}


def checked(market: Market, bundle: bytes) -> Report:
    return verify(bundle, market.trust, CHECKERS)


def refusal(market: Market, bundle: bytes) -> str:
    with pytest.raises(VerificationError) as refused:
        checked(market, bundle)
    return refused.value.code


def traded(market: Market, *numbers: int, claimed: bool = True) -> bytes:
    """An agreement with these calls, acknowledged, claimed and anchored."""
    market.offer()
    agreement_id: bytes = market.open(market.grant(), cap=1000)
    for number in numbers:
        market.call(agreement_id, number)
    if claimed:
        finished(market, agreement_id)
    return agreement_id


def finished(market: Market, agreement_id: bytes) -> None:
    market.run(notice.acknowledge_all(market.bank.context, agreement_id))
    market.claim(agreement_id)
    market.anchor()


def both(market: Market, agreement_id: bytes, seq: int = 1) -> list[bytes]:
    context = market.department.context
    return [
        bundles.trade_bundle(context, agreement_id, 0, seq),
        bundles.lane_bundle(context, agreement_id, 0),
    ]


def rotate(market: Market, node: Node) -> None:
    """End a member's STATEMENT key and give it another."""
    fresh = Secp256k1Signer(new_private_key())
    market.governance.execute(
        "endKey", node.context.signers[KeyPurpose.STATEMENT].fingerprint, encode_code("retired")
    )
    market.governance.execute(
        "addKey",
        node.member,
        (fresh.fingerprint, int(KeyPurpose.STATEMENT), int(Algorithm.SECP256K1)),
    )
    node.context.signers[KeyPurpose.STATEMENT] = fresh
    market.settle()


# --- What ended is not hidden ---------------------------------------------------------------------


def storage_of(value: dict[str, Any], earlier: dict[str, Any], new: dict[str, Any]) -> None:
    """Put a word as an earlier bundle proved it in the place of the new one."""
    old = next(
        item
        for item in earlier["storage"]
        if (item["address"], item["slot"]) == (new["address"], new["slot"])
    )
    assert old["value"] != new["value"], "something has ended since"
    header = earlier["headers"][old["header"]]
    if header not in value["headers"]:
        value["headers"].append(header)
    new.update(old, header=value["headers"].index(header))


def with_earlier_words(later: bytes, earlier: bytes, address: str) -> bytes:
    """The later bundle with each word of a contract that changed since as the earlier one proved
    it.
    """
    value, before = json.loads(later), json.loads(earlier)
    known = {(item["address"], item["slot"]): item["value"] for item in before["storage"]}
    for item in value["storage"]:
        if (
            item["address"] == address
            and known.get((address, item["slot"]), item["value"]) != item["value"]
        ):
            storage_of(value, before, item)
    assert value != json.loads(later)
    return dumps(value)


def revoke(market: Market, grant_id: bytes, officer: Secp256k1Signer) -> None:
    context = market.department.context
    revocation = GrantRevocation(version=1, grant_id=grant_id, reason="ended", deadline=2**40)
    signature = officer.sign_digest(revocation.digest(context.domain("GrantRegistry")))
    market.department.done(grants.revoke(context, grant_id, revocation, signature))
    market.settle()


def contract_of(market: Market, name: str) -> str:
    address: str = market.department.context.ledger.deployment.contracts[name]
    return address


def test_a_revocation_is_not_hidden_behind_the_grants_older_record(market: Market) -> None:
    market.offer()
    grant_id = market.grant()
    agreement_id = market.open(grant_id, cap=1000)
    market.call(agreement_id, 1)
    finished(market, agreement_id)
    earlier = [
        *both(market, agreement_id),
        grant_export.bundle(market.department.context, grant_id),
    ]
    revoke(market, grant_id, market.department.organisation.officer)
    market.anchor()
    later = [*both(market, agreement_id), grant_export.bundle(market.department.context, grant_id)]
    for before, after in zip(earlier, later, strict=True):
        assert checked(market, before).proved, "a proof at one older height covers that height"
        assert checked(market, after).proved
        assert (
            refusal(market, with_earlier_words(after, before, contract_of(market, "GrantRegistry")))
            == "state_at_two_heights"
        )


def test_a_withdrawal_is_not_hidden_behind_the_consents_older_record(market: Market) -> None:
    market.offer()
    agreement_id = market.open(market.grant(purpose="credit-assessment"), cap=1000)
    subject = Remembering(market)
    commitment = subject.consents()
    made = ask(market, agreement_id, commitment).json()
    market.bank.done(made["operation"])
    market.anchor(market.bank)
    context, query = market.bank.context, bytes.fromhex(made["queryId"][2:])
    earlier = credit_export.bundle(context, query)
    subject.withdraws(commitment)
    later = credit_export.bundle(context, query)
    assert any("withdrawn later" in name for name in checked(market, later).proved)
    assert (
        refusal(market, with_earlier_words(later, earlier, contract_of(market, "CreditLedger")))
        == "state_at_two_heights"
    )


class Remembering(Subject):
    """A firm that keeps the key it signed with last."""

    key = b""

    def signed(self, key: bytes, statement: Any) -> bytes:
        self.key = key
        return super().signed(key, statement)

    def withdraws(self, commitment: str) -> None:
        operator, withdrawal = (
            self.market.operator,
            ConsentWithdrawal(1, bytes.fromhex(commitment[2:]), 2**40),
        )
        operator.done(
            consents.relay_withdrawal(
                operator.context, withdrawal, self.signed(self.key, withdrawal)
            )
        )
        self.market.settle()


# --- What the provider shows is what the buyer acknowledged ---------------------------------------


def forge(market: Market, agreement_id: bytes, seq: int, **changes: Any) -> bytes:
    """The provider signs another receipt for a position, logs and anchors it, and exports the call."""
    context = market.department.context
    with context.database.read() as session:
        row = call_at(session, GATEWAY, agreement_id, 0, seq)
    assert row is not None
    receipt = replace(UsageReceipt.from_json(json.loads(row.receipt)), **changes)
    values = {
        "status": CallStatus.SERVED,
        "receipt": json.dumps(receipt.to_json()),
        "receipt_hash": receipt.struct_hash(),
        "receipt_signature": context.sign(receipt),
        "void": None,
        "void_signature": None,
    }

    def change(session: Any) -> None:
        session.execute(
            sa.update(GATEWAY)
            .where(GATEWAY.c.agreement_id == agreement_id, GATEWAY.c.seq == seq)
            .values(**values)
        )
        if changes:
            evidence_log.append_statement(
                session, receipt, context.domain("TradeSettlement"), at=context.now()
            )

    context.database.write(change)
    market.anchor()
    return bundles.trade_bundle(context, agreement_id, 0, seq)


@pytest.mark.parametrize("seq", [2, 3], ids=["before another call", "closed by a voucher"])
def test_a_second_receipt_for_a_position_is_not_the_one_the_buyer_acknowledged(
    market: Market, seq: int
) -> None:
    agreement_id = traded(market, 1, 2, 3)
    assert checked(
        market, bundles.trade_bundle(market.department.context, agreement_id, 0, seq)
    ).proved
    assert (
        refusal(market, forge(market, agreement_id, seq, response_commitment=new_salt()))
        == "acknowledgement_differs"
    )


def test_a_call_that_was_refused_and_not_billed_is_not_shown_as_paid(market: Market) -> None:
    agreement_id = traded(market, 1, 999, 3)
    record = {
        "outcome": int(UsageOutcome.SERVED),
        "reason": "",
        "response_commitment": new_salt(),
        "units": 1,
        "amount": 50,
    }
    assert (
        refusal(market, forge(market, agreement_id, 2, **record, total_units=2, total_amount=100))
        == "acknowledgement_differs"
    )


def test_a_voided_call_is_not_shown_as_paid_by_leaving_the_void_out(market: Market) -> None:
    agreement_id = traded(market, 1, claimed=False)
    market.bank.peers.lost = 1
    patience, buyer_side.RETRY_SECONDS = buyer_side.RETRY_SECONDS, 0.0
    try:
        with pytest.raises(Unavailable):
            market.call(agreement_id, 2, key="void")
    finally:
        buyer_side.RETRY_SECONDS = patience
    market.governance.execute("suspend", market.bank.member, encode_code("unpaid"))
    market.settle()
    assert market.call(agreement_id, 2, key="void").status == CallStatus.VOID
    market.governance.execute("lift", market.bank.member)
    market.settle()
    market.call(agreement_id, 3)
    finished(market, agreement_id)
    assert checked(market, bundles.lane_bundle(market.department.context, agreement_id, 0)).proved
    assert refusal(market, forge(market, agreement_id, 2)) == "acknowledgement_differs"


def test_a_voided_call_has_no_trade_bundle(market: Market) -> None:
    agreement_id = traded(market, 1, 2)
    context = market.department.context
    value = json.loads(bundles.trade_bundle(context, agreement_id, 0, 1))
    receipt = next(
        statement for statement in value["statements"] if statement["type"] == "UsageReceipt"
    )
    void = ReceiptVoid(
        1,
        agreement_id,
        0,
        1,
        UsageReceipt.from_json(receipt["message"]).struct_hash(),
        "late",
        context.now(),
    )
    value["statements"].append(
        {
            "type": "ReceiptVoid",
            "message": void.to_json(),
            "signature": "0x" + context.sign(void).hex(),
        }
    )
    assert refusal(market, dumps(value)) == "call_voided"


def test_a_trade_bundle_says_plainly_whether_the_buyer_acknowledged_a_refusal(
    market: Market,
) -> None:
    agreement_id = traded(market, 999, claimed=False)
    market.anchor()
    context = market.department.context
    alone = checked(market, bundles.trade_bundle(context, agreement_id, 0, 1))
    assert any("has not acknowledged this refusal" in name for name in alone.proved)
    market.call(agreement_id, 2)
    seen = checked(market, bundles.trade_bundle(context, agreement_id, 0, 1))
    assert "The buyer acknowledged this refusal." in seen.proved
    assert any(
        "the last one not" in name
        for name in checked(market, anchored_lane(market, agreement_id)).proved
    )
    with pytest.raises(Conflict):
        bundles.trade_bundle(context, agreement_id, 0, 2)


def anchored_lane(market: Market, agreement_id: bytes) -> bytes:
    market.anchor()
    return bundles.lane_bundle(market.department.context, agreement_id, 0)


def test_a_bundle_with_statements_of_other_positions_is_refused(market: Market) -> None:
    agreement_id = traded(market, 1, 2, 3)
    context = market.department.context
    value, other = (
        json.loads(bundles.trade_bundle(context, agreement_id, 0, seq)) for seq in (1, 3)
    )
    request = next(
        statement for statement in other["statements"] if statement["type"] == "UsageRequest"
    )
    value["statements"].append(request)
    assert refusal(market, dumps(value)) == "element_unused"


# --- What was signed before a key's end stays provable --------------------------------------------


def test_a_providers_bundles_outlive_its_key(market: Market) -> None:
    agreement_id = traded(market, 1, 999, 3)
    rotate(market, market.department)
    after = traded(market, 4)
    for bundle in (
        *both(market, agreement_id),
        *both(market, agreement_id, 3),
        *both(market, after),
    ):
        assert checked(market, bundle).proved
    assert checked(
        market, bundles.trade_bundle(market.department.context, agreement_id, 0, 2)
    ).proved


def test_a_buyer_that_ends_its_key_does_not_break_the_providers_bundles(market: Market) -> None:
    agreement_id = traded(market, 1, 2, 3)
    old = market.bank.context.signers[KeyPurpose.STATEMENT]
    rotate(market, market.bank)
    fresh, market.bank.context.signers[KeyPurpose.STATEMENT] = (
        market.bank.context.signers[KeyPurpose.STATEMENT],
        old,
    )
    assert market.call(agreement_id, 4).reason == "key_ended"
    market.bank.context.signers[KeyPurpose.STATEMENT] = fresh
    market.anchor()
    for seq in (1, 2, 3):
        trade, lane = both(market, agreement_id, seq)
        assert checked(market, trade).proved
        assert any(
            "is shown from position 1 to 3, none missing between: 3 served, 0 refused" in name
            for name in checked(market, lane).proved
        )


def test_what_no_anchor_showed_before_a_keys_end_is_not_exported_and_not_believed(
    market: Market,
) -> None:
    agreement_id, context = traded(market, 1, 2, claimed=False), market.department.context
    market.claim(agreement_id)
    rotate(market, market.bank)
    market.anchor()
    for made in (
        lambda: bundles.lane_bundle(context, agreement_id, 0),
        lambda: bundles.trade_bundle(context, agreement_id, 0, 1),
    ):
        with pytest.raises(Conflict) as refused:
            made()
        assert refused.value.code == "key_ended"


def test_a_departments_new_key_does_not_break_the_banks_report(market: Market) -> None:
    market.offer()
    agreement_id = market.open(market.grant(purpose="credit-assessment"), cap=1000)
    made = ask(market, agreement_id, Subject(market).consents()).json()
    market.bank.done(made["operation"])
    market.anchor(market.bank)
    rotate(market, market.department)
    bundle = credit_export.bundle(market.bank.context, bytes.fromhex(made["queryId"][2:]))
    assert checked(market, bundle).proved


def test_a_grants_life_is_told_over_two_officers_keys(market: Market) -> None:
    department, before = market.department, market.department.organisation.officer
    market.offer()
    grant_id = market.grant()
    market.anchor()
    fresh = Secp256k1Signer(new_private_key())
    market.governance.execute("endKey", before.fingerprint, encode_code("retired"))
    market.governance.execute(
        "addKey",
        department.member,
        (fresh.fingerprint, int(KeyPurpose.APPROVAL), int(Algorithm.SECP256K1)),
    )
    department.organisation.signers[KeyPurpose.APPROVAL] = fresh
    market.settle()
    revoke(market, grant_id, fresh)
    market.anchor()
    bundle = grant_export.bundle(department.context, grant_id)
    assert len(json.loads(bundle)["logs"]) == 2, (
        "the decision under an anchor from before the key's end, the revocation under a later one"
    )
    assert any("revoked it in block" in name for name in checked(market, bundle).proved)


def test_a_scope_that_is_no_list_of_columns_is_refused_by_name(market: Market) -> None:
    market.offer()
    grant_id = market.grant()
    market.anchor()
    context, salt = market.department.context, new_salt()
    with context.database.read() as session:
        terms = replace(
            GrantTerms.from_json(session.get_one(GrantRow, grant_id).terms),
            scope=commit(salt, SCOPE_DOMAIN, {}),
            nonce=new_salt(),
        )
    requested(market, terms)
    context.database.write(lambda session: opened(session, terms, salt))
    decision = GrantDecision(
        version=1, grant_id=terms.struct_hash(), approved=True, reason="agreed", deadline=2**40
    )
    signature = market.department.organisation.officer.sign_digest(
        decision.digest(context.domain("GrantRegistry"))
    )
    market.department.done(grants.decide(context, terms.struct_hash(), decision, signature))
    market.anchor()
    assert refusal(market, grant_export.bundle(context, terms.struct_hash())) == "scope_malformed"


def requested(market: Market, terms: GrantTerms) -> None:
    """The grantee asks the contract itself, past its node's rules."""
    bank = market.bank.context
    arguments = {
        "sender": bank.transaction_address,
        "operation_id": "crafted",
        "contract": "GrantRegistry",
        "function": "request",
    }
    bank.database.write(lambda session: enqueue(session, **arguments, arguments=[terms]))
    market.bank.done("crafted")
    market.settle()


def opened(session: Any, terms: GrantTerms, salt: bytes) -> None:
    row = session.get_one(GrantRow, terms.struct_hash())
    row.scope, row.scope_salt = {}, salt


def test_bundles_outlive_the_logs_key(market: Market) -> None:
    agreement_id = traded(market, 1, 2)
    department, fresh = market.department, Ed25519Signer(new_private_key())
    market.governance.execute(
        "endKey", department.context.log_signer.fingerprint, encode_code("retired")
    )
    market.governance.execute(
        "addKey",
        department.member,
        (fresh.fingerprint, int(KeyPurpose.LOG), int(Algorithm.ED25519)),
    )
    department.context.log_signer = fresh
    market.settle()
    after = traded(market, 3)
    for bundle in (*both(market, agreement_id), *both(market, after)):
        assert checked(market, bundle).proved
