"""The network's policies on statements of ended keys, by domain.

TradeSettlement, PropertyLedger and CreditLedger accept the statements below under live keys alone,
so a stored hash shows that the key had not ended.
"""

from __future__ import annotations

from chain.bundle.claims import VerifiedClaims
from chain.bundle.ended_keys import EndedKeyPolicies
from chain.ethereum.eip712 import Statement
from chain.ethereum.records import AgreementRecord
from chain.statements.credit import CreditRepair
from chain.statements.property import DealStep
from chain.statements.trade import Agreement, FinalSettlement, UsageReceipt


def _agreement_opened(agreement: Agreement, claims: VerifiedClaims) -> bool:
    state = claims.storage_value("TradeSettlement", "agreements", agreement.struct_hash(), offset=2)
    return AgreementRecord.decode(0, 0, state.value).opened_at != 0


def _settlement_stored(settlement: FinalSettlement, claims: VerifiedClaims) -> bool:
    stored = claims.storage_value("TradeSettlement", "finalSettlements", settlement.agreement_id)
    return stored.value == _hash_value(settlement)


def _step_stored(step: DealStep, claims: VerifiedClaims) -> bool:
    stored = claims.storage_value("PropertyLedger", "steps", step.deal_id, step.step)
    return stored.value == _hash_value(step)


def _repair_stored(repair: CreditRepair, claims: VerifiedClaims) -> bool:
    stored = claims.storage_value("CreditLedger", "repairs", repair.dispute_id)
    return stored.value == _hash_value(repair)


def _hash_value(statement: Statement) -> int:
    """A statement's struct hash as a storage value."""
    return int.from_bytes(statement.struct_hash(), "big")


NETWORK = EndedKeyPolicies(
    accepted={
        Agreement: _agreement_opened,
        FinalSettlement: _settlement_stored,
        DealStep: _step_stored,
        CreditRepair: _repair_stored,
    },
    under_root=(UsageReceipt,),  # a credit query names the root over its receipts
)
