"""The signed and unsigned types by name: what a bundle may contain."""

from __future__ import annotations

from chain.ethereum.eip712 import Statement, Struct
from chain.statements.assets import AssetRecord
from chain.statements.credit import (
    Consent,
    ConsentRegistration,
    ConsentWithdrawal,
    CreditDispute,
    CreditQuery,
    CreditRepair,
)
from chain.statements.disputes import Ruling
from chain.statements.grants import GrantDecision, GrantRevocation, GrantTerms
from chain.statements.members import Approval, ApprovalWithdrawal, SubjectKeyCertificate
from chain.statements.property import DealStep, DealTerms, TitleStatement, UnitHold
from chain.statements.trade import (
    Agreement,
    DepositConfirmation,
    FinalSettlement,
    ReceiptVoid,
    RequestWithdrawal,
    UsageReceipt,
    UsageRequest,
    Voucher,
)

STATEMENTS: dict[str, type[Statement]] = {
    statement.__name__: statement
    for statement in (
        Approval,
        ApprovalWithdrawal,
        SubjectKeyCertificate,
        GrantDecision,
        GrantRevocation,
        Agreement,
        DepositConfirmation,
        UsageRequest,
        UsageReceipt,
        ReceiptVoid,
        RequestWithdrawal,
        Voucher,
        FinalSettlement,
        Ruling,
        Consent,
        ConsentRegistration,
        ConsentWithdrawal,
        CreditQuery,
        CreditDispute,
        CreditRepair,
        TitleStatement,
        DealStep,
        UnitHold,
    )
}
"""Signed types by name."""

STRUCTS: dict[str, type[Struct]] = {
    struct.__name__: struct for struct in (AssetRecord, GrantTerms, DealTerms)
}
"""Unsigned types whose hash is an id or a storage value."""

ACCEPTED: dict[str, type[Struct]] = {
    statement.__name__: statement for statement in (Agreement, UsageReceipt, Ruling)
}
"""Signed types that a bundle may hold without a signature: the chain stores their hash, and took
them under their signatures.
"""
