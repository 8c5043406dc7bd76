"""Persons' keys in Web3 Secret Storage: what we write other wallets open, what they write we open,
and nothing else.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from eth_keyfile.keyfile import create_keyfile_json, decode_keyfile_json
from hypothesis import given
from hypothesis import strategies as st

from chain.core.crypto import address_of, new_private_key
from chain.core.errors import BadInput
from chain.keys import keystore
from chain.keys.files import change_person_passphrase, create_person_key, open_person_key, seal_key
from chain.keys.keystore import RANDOM, ScryptCost, seal, unseal
from chain.statements.members import Algorithm

PASSPHRASE = "江门 correct horse"
KEY = bytes(range(1, 33))
FILE = seal(KEY, PASSPHRASE, RANDOM)


def changed(**fields: Any) -> bytes:
    """The file with fields replaced; ``crypto__mac`` names one inside another."""
    body = json.loads(FILE)
    for path, value in fields.items():
        *above, last = path.split("__")
        index = body
        for name in above:
            index = index[name]
        index[last] = value
    return json.dumps(body).encode()


def code_of(data: bytes, passphrase: str = PASSPHRASE) -> str:
    with pytest.raises(BadInput) as caught:
        unseal(data, passphrase, name="officer")
    return caught.value.code


@given(st.text(min_size=1, max_size=30))
def test_another_implementation_opens_what_is_written(passphrase: str) -> None:
    key = new_private_key()
    written = json.loads(seal(key, passphrase, ScryptCost(2)))
    assert decode_keyfile_json(written, passphrase.encode()) == key
    assert "0x" + written["address"] == address_of(key)


@pytest.mark.parametrize("kdf", ["scrypt", "pbkdf2"])
def test_what_another_implementation_writes_is_opened(kdf: str) -> None:
    made = create_keyfile_json(KEY, PASSPHRASE.encode(), kdf=kdf, iterations=2)
    assert unseal(json.dumps(made).encode(), PASSPHRASE, name="officer") == KEY


def test_a_wrong_passphrase_is_told_from_a_damaged_file() -> None:
    assert code_of(FILE, "wrong") == "key_passphrase_wrong"
    assert code_of(changed(crypto__ciphertext="00" * 32)) == "key_passphrase_wrong"
    assert code_of(changed(crypto__cipherparams__iv="00" * 16)) == "key_file_corrupt"


@pytest.mark.parametrize(
    "fields",
    [
        {"version": 4},
        {"address": "00" * 20},
        {"crypto": None},
        {"crypto__cipher": "aes-256-gcm"},
        {"crypto__ciphertext": "00" * 31},
        {"crypto__ciphertext": "zz" * 32},
        {"crypto__cipherparams__iv": "00" * 12},
        {"crypto__kdf": "argon2"},
        {"crypto__kdfparams__n": 2**30},
        {"crypto__kdfparams__n": 3},
        {"crypto__kdfparams__n": True},
        {"crypto__kdfparams__p": 1_000},
        {"crypto__kdfparams__dklen": 16},
        {
            "crypto__kdf": "pbkdf2",
            "crypto__kdfparams": {"dklen": 32, "salt": "00", "prf": "hmac-sha256", "c": 10**12},
        },
    ],
)
def test_a_damaged_or_ruinous_file_is_refused_before_any_work(fields: dict[str, Any]) -> None:
    assert code_of(changed(**fields)) == "key_file_corrupt"


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"[" * 100_000, b"\xff"])
def test_what_is_no_key_file_is_refused(data: bytes) -> None:
    assert code_of(data) == "key_file_corrupt"
    assert not keystore.is_keystore(data)


def test_a_persons_key_keeps_its_address_under_a_new_passphrase(tmp_path: Path) -> None:
    path = tmp_path / "officer.json"
    signer = create_person_key(path)
    change_person_passphrase(path, None, PASSPHRASE)
    assert open_person_key(path, PASSPHRASE).address == signer.address
    assert json.loads(path.read_bytes())["version"] == 3
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_of_the_former_format_is_read_and_rewritten(tmp_path: Path) -> None:
    path = tmp_path / "officer.json"
    path.write_bytes(seal_key(Algorithm.SECP256K1, KEY, PASSPHRASE.encode()))
    assert open_person_key(path, PASSPHRASE).address == address_of(KEY)
    assert decode_keyfile_json(json.loads(path.read_bytes()), PASSPHRASE.encode()) == KEY
    assert open_person_key(path, PASSPHRASE).address == address_of(KEY)
