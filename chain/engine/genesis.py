"""The genesis of a permissioned Kaia network: Istanbul BFT, ballot governance, free gas, no token
economy.

Ballot mode means that validators are voted in and out by more than half of them; the engine's
default ("none") would let one validator's vote take effect alone. Kaia's own later forks (kaia,
randao, kip103, kip160) stay off: they bring a token economy. With all base fees zero an account
without a balance can send transactions.
"""

from __future__ import annotations

import secrets
import time
from typing import Any

from chain.ethereum import rlp

VANITY = bytes(32)
EMPTY_SEAL = bytes(65)
EPOCH = 604_800
"""Blocks between the engine's own checkpoints of its votes (Kaia's default, a week)."""
COMMITTEE = 21
"""Most validators of one block; with more members than this each block would be sealed by a draw.
"""


def new_chain_id() -> int:
    """A chain id no other genesis has, so that a rebuilt network cannot be shown the old one's
    signatures.
    """
    return 1_000_000 + secrets.randbelow(2_000_000_000)


def extra_data(validators: list[str]) -> bytes:
    """The genesis' ``extraData``: vanity, the validators' addresses (sorted, as the engine keeps
    them), no seals.
    """
    addresses = [bytes.fromhex(validator[2:]) for validator in sorted(validators)]
    return VANITY + rlp.encode([addresses, EMPTY_SEAL, []])


def genesis(
    *, chain_id: int, validators: list[str], timestamp: int | None = None
) -> dict[str, Any]:
    """The genesis file's content for the given validator addresses."""
    forks = ("istanbul", "london", "ethTxType", "magma", "kore", "shanghai", "cancun")
    return {
        "config": {
            "chainId": chain_id,
            **{f"{fork}CompatibleBlock": 0 for fork in forks},
            "istanbul": {"epoch": EPOCH, "policy": 0, "sub": COMMITTEE},
            "unitPrice": 0,
            "deriveShaImpl": 0,
            "governance": {
                "governanceMode": "ballot",
                "governingNode": sorted(validators)[0],
                "kip71": {
                    "lowerboundbasefee": 0,
                    "upperboundbasefee": 0,
                    "gastarget": 30_000_000,
                    "maxblockgasusedforbasefee": 60_000_000,
                    "basefeedenominator": 20,
                },
                "reward": {
                    "mintingAmount": 0,
                    "ratio": "100/0/0",
                    "kip82ratio": "20/80",
                    "useginicoeff": False,
                    "deferredTxFee": True,
                    "stakingUpdateInterval": 86_400,
                    "proposerUpdateInterval": 3_600,
                    "minimumStake": 0,
                },
            },
        },
        "timestamp": hex(timestamp if timestamp is not None else int(time.time())),
        "extraData": "0x" + extra_data(validators).hex(),
        "governanceData": None,
        "blockScore": "0x1",
        "alloc": {},
        "number": "0x0",
        "gasUsed": "0x0",
        "parentHash": "0x" + "00" * 32,
    }
