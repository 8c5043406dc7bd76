"""The Ledger port: the network's contracts as typed Python. See ``chain.ledger.port.Ledger``."""

from chain.ledger.abi import ContractAbi, Reverted, contract_abi
from chain.ledger.contracts import agreement_id_of, asset_id_of, log_id_of, version_key
from chain.ledger.port import Block, Event, Ledger, Receipt, code_text
from chain.words import Account, AgreementState

__all__ = [
    "Account",
    "AgreementState",
    "Block",
    "ContractAbi",
    "Event",
    "Ledger",
    "Receipt",
    "Reverted",
    "agreement_id_of",
    "asset_id_of",
    "code_text",
    "contract_abi",
    "log_id_of",
    "version_key",
]
