"""Rules of membership, without I/O: what may be proposed, and in which form the
directory takes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from chain.core.crypto import require_address
from chain.core.errors import BadInput, Forbidden
from chain.ethereum.eip712 import encode_code
from chain.ethereum.proved_records import ProvedRecords, StorageKey, governor_record
from chain.statements.members import Algorithm, KeyPurpose, Role
from chain.statements.trade import Agreement
from registry import uscc
from registry.reasons import reason_code
from registry.text import is_plain

APPROVALS = 2
"""Approvals of different organisations that execute an action."""
MAX_NAME_LENGTH = 120
MAX_KEYS = 16
MAX_AMOUNT = 2**53 - 1
"""Fen; what every JSON reader takes without rounding."""

ACTIONS: dict[str, tuple[str, ...]] = {
    "admit": ("member", "name", "roles", "keys"),
    "suspend": ("member", "reason"),
    "lift": ("member",),
    "remove": ("member", "reason"),
    "addKey": ("member", "key"),
    "endKey": ("fingerprint", "reason"),
    "replaceGovernor": ("outgoing", "incoming"),
    "announceContract": ("name", "address", "contractVersion"),
    "closeContract": ("address",),
    "correctLog": ("contract", "member", "epoch", "size", "root", "reason"),
    "assignSource": ("contract", "dataItem", "asset", "reason"),
    "fineProvider": ("contract", "agreement", "amount", "to", "reason"),
}
"""What two governors may do, with the names of the arguments in JSON, in order: MemberDirectory's
governed functions, and ``GOVERNED_CALLS``.
"""

GOVERNED_CALLS = {
    "correctLog": ("EvidenceLog", "correct"),
    "assignSource": ("AssetRegistry", "assignSource"),
    "fineProvider": ("TradeDisputes", "fine"),
}
"""Actions that another contract takes from the directory (``MemberDirectory.actOn``), with that
contract and its function. Their first argument is the contract's address."""


def governor_records(signers: Iterable[str], records: ProvedRecords) -> list[StorageKey]:
    """The records that say whether the members of signers' keys govern."""
    members = (records.key(signer).member for signer in signers)
    return [governor_record(member) for member in members if member]


def governor_of(signer: str, records: ProvedRecords) -> str:
    """The governor whose live ADMIN key signed, by the proved key and governor records; the
    contract asks the same again.

    Raises:
        Forbidden: ``not_governor``.
    """
    key = records.key(signer)
    if not key.live or key.purpose != KeyPurpose.ADMIN or not records.governs(key.member):
        raise Forbidden(
            "not_governor", "It is not signed with a live administration key of a governor."
        )
    return key.member


def require_own_contract(
    function: str, arguments: Mapping[str, Any], address: Callable[[str], str]
) -> None:
    """An action on another contract names this network's own: ``other_contract``.

    Args:
        address: the address of a contract of this network by its name.
    """
    act = GOVERNED_CALLS.get(function)
    if act and arguments.get("contract") != address(act[0]):
        raise BadInput(
            "other_contract",
            f"The proposal acts on a contract that is not this network's {act[0]}.",
            hint="Do not approve it.",
        )


def call_arguments(function: str, arguments: Mapping[str, Any]) -> list[Any]:
    """The contract call's arguments for an action given as JSON.

    Raises:
        BadInput: ``action_unknown``, ``action_malformed``, ``wrong_check_character``,
            ``wrong_roles``, ``wrong_key``.
    """
    names = ACTIONS.get(function)
    if names is None:
        raise BadInput(
            "action_unknown",
            "The directory has no such action.",
            hint=f"One of {', '.join(ACTIONS)}.",
        )
    if set(arguments) != set(names):
        raise BadInput(
            "action_malformed", f"The action {function} takes exactly: {', '.join(names)}."
        )
    return [_argument(function, name, arguments[name]) for name in names]


def _argument(function: str, name: str, value: Any) -> Any:
    if name in ("member", "outgoing", "incoming", "to"):
        return uscc.require_valid(value)
    if name == "agreement":
        return Agreement.from_json(value)
    if name == "amount":
        return _fen(value)
    if name == "reason":
        return encode_code(reason_code(value if isinstance(value, str) else ""))
    if name == "dataItem" or (name == "name" and function == "announceContract"):
        return encode_code(value)
    if name == "name":
        if not is_plain(value, limit=MAX_NAME_LENGTH):
            raise BadInput(
                "action_malformed",
                f"A member's name has 1 to {MAX_NAME_LENGTH} visible characters in normal form C.",
            )
        return value
    if name == "roles":
        if type(value) is not int or not 1 <= value < 2 * max(Role):
            raise BadInput("wrong_roles", "A member holds at least one of the network's roles.")
        return value
    if name == "keys":
        if not isinstance(value, list) or not 1 <= len(value) <= MAX_KEYS:
            raise BadInput("wrong_key", f"A member is admitted with 1 to {MAX_KEYS} keys.")
        return [_key(item) for item in value]
    if name == "key":
        return _key(value)
    if name == "fingerprint":
        return _fingerprint(value)
    if name in ("root", "asset"):
        return _hash(name, value)
    if name in ("address", "contract"):
        return require_address(value)
    if type(value) is not int or not 0 <= value < (2**64 if name == "size" else 2**32):
        raise BadInput("action_malformed", f"The action's {name} is not a whole number.")
    return value


def _fen(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= MAX_AMOUNT:
        raise BadInput(
            "action_malformed", "The action's amount is not a whole number of fen from 1 on."
        )
    return value


def _key(value: Any) -> tuple[bytes, int, int]:
    if not isinstance(value, Mapping) or set(value) != {"fingerprint", "purpose", "algorithm"}:
        raise BadInput("wrong_key", "A key is given as fingerprint, purpose and algorithm.")
    try:
        purpose, algorithm = KeyPurpose(value["purpose"]), Algorithm(value["algorithm"])
    except ValueError as error:
        raise BadInput("wrong_key", "A key has an unknown purpose or algorithm.") from error
    return _fingerprint(value["fingerprint"]), int(purpose), int(algorithm)


def _fingerprint(value: Any) -> bytes:
    data = _bytes32(value)
    if data is None:
        raise BadInput("wrong_key", "A key's fingerprint is not 32 bytes in 0x hexadecimal.")
    return data


def _hash(name: str, value: Any) -> bytes:
    data = _bytes32(value)
    if data is None:
        raise BadInput(
            "action_malformed", f"The action's {name} is not 32 bytes in 0x hexadecimal."
        )
    return data


def _bytes32(value: Any) -> bytes | None:
    try:
        data = bytes.fromhex(value.removeprefix("0x"))
    except (AttributeError, ValueError):
        return None
    return data if len(data) == 32 else None


def status(*, admitted_at: int, suspended_at: int, lifted_at: int, removed_at: int) -> str:
    """A member's status by its heights: ``active``, ``suspended``, ``removed``."""
    if removed_at:
        return "removed"
    if suspended_at > lifted_at:
        return "suspended"
    return "active" if admitted_at else "unknown"


def role_names(roles: int) -> list[str]:
    """The roles' names, in the order of their bits."""
    return [str(role.name).lower() for role in Role if roles & role]
