"""Web3 Secret Storage, version 3: a secp256k1 key in a file that any Ethereum wallet opens.

The private key is encrypted with AES-128-CTR. The encryption key is derived from the passphrase by
scrypt (PBKDF2 is read too, because other wallets write it). A Keccak-256 MAC over the ciphertext
detects a wrong passphrase. Source: the Ethereum "Web3 Secret Storage Definition".
"""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from hmac import compare_digest
from typing import Any

from Crypto.Cipher import AES
from Crypto.Hash import SHA256
from Crypto.Protocol import KDF

from chain.core.crypto import address_of, keccak256
from chain.core.errors import BadInput

_KDF: Any = KDF
"""Its type stubs know text only; it takes bytes."""
MAX_SCRYPT_MEMORY = 1 << 30
"""Bytes that opening a file may take (128 · r · n); a file that asks for more is refused before any
work.
"""
MAX_SCRYPT_PARALLEL = 16
MAX_PBKDF2_ROUNDS = 10_000_000


@dataclass(frozen=True)
class ScryptCost:
    """How much work one guess of the passphrase is (RFC 7914)."""

    n: int
    r: int = 8
    p: int = 1


PERSON = ScryptCost(2**17)
"""For a passphrase that a person chose: 128 MB and some 0.3 s a guess (OWASP, Password Storage
Cheat Sheet).
"""
RANDOM = ScryptCost(2**12)
"""For a passphrase of 192 random bits, which nobody can guess at any cost."""


def seal(private_key: bytes, passphrase: str, cost: ScryptCost = PERSON) -> bytes:
    """The file of a 32-byte private key."""
    salt, counter = secrets.token_bytes(32), secrets.token_bytes(16)
    derived = _scrypt(passphrase, salt, cost)
    ciphertext = _cipher(derived, counter).encrypt(private_key)
    body = {
        "address": address_of(private_key)[2:],
        "crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": {"iv": counter.hex()},
            "ciphertext": ciphertext.hex(),
            "kdf": "scrypt",
            "kdfparams": {"dklen": 32, "n": cost.n, "p": cost.p, "r": cost.r, "salt": salt.hex()},
            "mac": _mac(derived, ciphertext).hex(),
        },
        "id": str(uuid.uuid4()),
        "version": 3,
    }
    return json.dumps(body, indent=1).encode() + b"\n"


def is_keystore(data: bytes) -> bool:
    """Whether a file is of this format, by its version."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(body, dict) and body.get("version") == 3


def unseal(data: bytes, passphrase: str, *, name: str) -> bytes:
    """The 32-byte private key in a file.

    Raises:
        BadInput: ``key_file_corrupt``, ``key_passphrase_wrong``.
    """
    try:
        body = json.loads(data)
        crypto, address = body["crypto"], body.get("address")
        if body["version"] != 3 or crypto["cipher"] != "aes-128-ctr":
            raise ValueError("format")
        counter, ciphertext, mac = (
            bytes.fromhex(text)
            for text in (crypto["cipherparams"]["iv"], crypto["ciphertext"], crypto["mac"])
        )
        if (len(counter), len(ciphertext)) != (16, 32):
            raise ValueError("length")
        derived = _derive(passphrase, crypto["kdf"], crypto["kdfparams"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _corrupt(name) from error
    if not compare_digest(mac, _mac(derived, ciphertext)):
        raise BadInput(
            "key_passphrase_wrong",
            f"The passphrase does not open the key {name}.",
            hint="Check the passphrase file.",
        )
    private_key: bytes = _cipher(derived, counter).decrypt(ciphertext)
    if address is not None and _address(private_key) != str(address).lower().removeprefix("0x"):
        raise _corrupt(name)
    return private_key


def _derive(passphrase: str, kdf: str, parameters: Mapping[str, Any]) -> bytes:
    salt = bytes.fromhex(parameters["salt"])
    if parameters["dklen"] != 32:
        raise ValueError("dklen")
    if kdf == "scrypt":
        n, r, p = (_whole(parameters[name]) for name in ("n", "r", "p"))
        if 128 * r * n > MAX_SCRYPT_MEMORY or p > MAX_SCRYPT_PARALLEL:
            raise ValueError("scrypt")
        return _scrypt(passphrase, salt, ScryptCost(n, r, p))
    if kdf == "pbkdf2" and parameters["prf"] == "hmac-sha256":
        rounds = _whole(parameters["c"])
        if rounds > MAX_PBKDF2_ROUNDS:
            raise ValueError("pbkdf2")
        derived: bytes = _KDF.PBKDF2(passphrase.encode(), salt, 32, rounds, hmac_hash_module=SHA256)
        return derived
    raise ValueError("kdf")


def _scrypt(passphrase: str, salt: bytes, cost: ScryptCost) -> bytes:
    derived: bytes = _KDF.scrypt(passphrase.encode(), salt, 32, cost.n, cost.r, cost.p)
    return derived


def _whole(value: object) -> int:
    if type(value) is not int or value < 1:
        raise ValueError("number")
    return value


def _cipher(derived: bytes, counter: bytes) -> Any:
    return AES.new(derived[:16], AES.MODE_CTR, nonce=b"", initial_value=counter)


def _mac(derived: bytes, ciphertext: bytes) -> bytes:
    return keccak256(derived[16:32] + ciphertext)


def _address(private_key: bytes) -> str:
    try:
        return address_of(private_key)[2:]
    except ValueError:
        return ""


def _corrupt(name: str) -> BadInput:
    return BadInput(
        "key_file_corrupt",
        f"The key file of {name} is damaged.",
        hint="Restore it from the backup.",
    )
