"""The Ledger port: the network's contracts as typed Python. See
``chain.ethereum.ledger.port.Ledger``.
"""

from chain.ethereum.ledger.abi import ContractAbi, Reverted, contract_abi
from chain.ethereum.ledger.contracts import agreement_id_of, asset_id_of, log_id_of
from chain.ethereum.ledger.port import Block, Event, Ledger, TransactionReceipt, code_text
from chain.ethereum.proved_records import version_key
from chain.ethereum.records import AccountRecord, AgreementRecord

__all__ = [
    "AccountRecord",
    "AgreementRecord",
    "Block",
    "ContractAbi",
    "Event",
    "Ledger",
    "Reverted",
    "TransactionReceipt",
    "agreement_id_of",
    "asset_id_of",
    "code_text",
    "contract_abi",
    "log_id_of",
    "version_key",
]
