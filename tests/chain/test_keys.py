"""Key files: round trips, and the errors for damaged, foreign and wrongly opened files."""

from __future__ import annotations

import json
import ssl
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chain.core.crypto import HALF_ORDER, address_of, keccak256, recover
from chain.core.errors import BadInput, Conflict, NotFound
from chain.keys.files import (
    Ed25519Signer,
    KeyStore,
    Secp256k1Signer,
    Signer,
    open_key,
    seal_key,
    tls_certificate,
    tls_fingerprint,
    tls_private_pem,
    write_private,
)
from chain.statements.members import Algorithm

PRIVATE = bytes(range(1, 33))
PASSPHRASE = b"correct horse"
SEALED = seal_key(Algorithm.SECP256K1, PRIVATE, PASSPHRASE)


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    return KeyStore(tmp_path / "keys", "correct horse")


def reopened(data: bytes, passphrase: bytes = PASSPHRASE) -> bytes:
    return open_key(data, Algorithm.SECP256K1, passphrase, name="transactions")


def rewritten(**changes: Any) -> bytes:
    """The sealed key with members replaced and, as an attacker would, the checksum made to fit."""
    from chain.keys.files import _checksum

    body = json.loads(SEALED)
    del body["sha256"]
    body |= changes
    return json.dumps(body | {"sha256": _checksum(body)}).encode()


def code_of(data: bytes, passphrase: bytes = PASSPHRASE) -> str:
    with pytest.raises(BadInput) as caught:
        reopened(data, passphrase)
    assert caught.value.sentence
    return caught.value.code


def test_a_sealed_key_opens_with_its_passphrase_and_does_not_show_itself() -> None:
    assert reopened(SEALED) == PRIVATE
    assert PRIVATE.hex() not in SEALED.decode()


def test_two_files_of_one_key_share_neither_salt_nor_nonce_nor_ciphertext() -> None:
    one, two = json.loads(SEALED), json.loads(seal_key(Algorithm.SECP256K1, PRIVATE, PASSPHRASE))
    assert one["kdf"]["salt"] != two["kdf"]["salt"]
    assert one["nonce"] != two["nonce"]
    assert one["ciphertext"] != two["ciphertext"]


def test_a_wrong_passphrase_is_told_from_a_damaged_file() -> None:
    assert code_of(SEALED, b"wrong horse") == "key_passphrase_wrong"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(index=st.integers(0, len(SEALED) - 2), mask=st.integers(1, 255))
def test_a_key_file_with_any_byte_changed_is_corrupt_or_still_the_same_key(
    index: int, mask: int
) -> None:
    changed = SEALED[:index] + bytes([SEALED[index] ^ mask]) + SEALED[index + 1 :]
    try:
        outcome: Any = reopened(changed)
    except BadInput as error:
        outcome = error.code
    assert outcome in (
        PRIVATE,
        "key_file_corrupt",
    )  # the same: white space, or a hexadecimal digit in capitals


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"null", b"\xff\xfe", SEALED[:-40], b"[" * 100_000]
)
def test_a_file_that_is_no_key_file_is_corrupt(data: bytes) -> None:
    assert code_of(data) == "key_file_corrupt"


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "qiaolian-key/9"},
        {"algorithm": 99},
        {"nonce": "00"},
        {"nonce": 7},
        {"ciphertext": "zz"},
        {"kdf": {}},
        {"kdf": {"name": "scrypt", "salt": "00" * 16, "n": 2**40, "r": 8, "p": 1}},
        {"kdf": {"name": "scrypt", "salt": "00" * 16, "n": 15, "r": 8, "p": 1}},
        {"kdf": {"name": "scrypt", "salt": "00" * 16, "n": "x", "r": 8, "p": 1}},
    ],
)
def test_a_tampered_file_with_a_fitting_checksum_is_corrupt(changes: dict[str, Any]) -> None:
    assert code_of(rewritten(**changes)) == "key_file_corrupt"


def test_another_ciphertext_with_a_fitting_checksum_yields_no_key() -> None:
    body = json.loads(SEALED)
    flipped = bytes.fromhex(body["ciphertext"])
    flipped = flipped[:-1] + bytes([flipped[-1] ^ 1])
    assert code_of(rewritten(ciphertext=flipped.hex())) == "key_passphrase_wrong"


def test_a_key_of_another_algorithm_is_refused_even_when_the_file_is_relabelled() -> None:
    with pytest.raises(BadInput) as caught:
        open_key(SEALED, Algorithm.ED25519, PASSPHRASE, name="log")
    assert caught.value.code == "key_algorithm_wrong"
    with pytest.raises(BadInput) as caught:
        open_key(
            rewritten(algorithm=int(Algorithm.ED25519)), Algorithm.ED25519, PASSPHRASE, name="log"
        )
    assert caught.value.code == "key_passphrase_wrong"


def test_a_stored_key_is_the_same_after_a_restart_and_its_file_is_for_its_owner_only(
    store: KeyStore,
) -> None:
    store.create("transactions", Algorithm.SECP256K1)
    store.create("log", Algorithm.ED25519)
    again = KeyStore(store.directory, "correct horse")
    assert again.names() == ["log", "transactions"]
    assert again.secp256k1("transactions").address == store.secp256k1("transactions").address
    assert again.ed25519("log").public_key == store.ed25519("log").public_key
    assert {stat.S_IMODE(path.stat().st_mode) for path in store.directory.iterdir()} == {0o600}


def test_creating_a_key_never_replaces_one(store: KeyStore) -> None:
    store.create("transactions", Algorithm.SECP256K1)
    before = (store.directory / "transactions.key.json").read_bytes()
    with pytest.raises(Conflict) as caught:
        store.create("transactions", Algorithm.SECP256K1)
    assert caught.value.code == "key_exists"
    assert (store.directory / "transactions.key.json").read_bytes() == before


def test_a_missing_key_says_so(store: KeyStore) -> None:
    with pytest.raises(NotFound) as caught:
        store.secp256k1("transactions")
    assert caught.value.code == "key_missing"


@pytest.mark.parametrize("name", ["../transactions", "/etc/key", "", ".hidden", "a/b", "a\0b"])
def test_a_key_s_name_cannot_lead_out_of_the_directory(store: KeyStore, name: str) -> None:
    with pytest.raises(BadInput) as caught:
        store.create(name, Algorithm.SECP256K1)
    assert caught.value.code == "key_name"


def test_a_file_left_half_written_neither_counts_nor_stands_in_the_way(store: KeyStore) -> None:
    store.directory.mkdir(parents=True)
    left = store.directory / "transactions.key.json.partial"
    left.write_bytes(b"half")
    left.chmod(0o644)
    assert store.names() == []
    store.create("transactions", Algorithm.SECP256K1)
    assert stat.S_IMODE((store.directory / "transactions.key.json").stat().st_mode) == 0o600
    assert not left.exists()


def test_a_private_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write_private(path, b"one")
    write_private(path, b"two")
    assert path.read_bytes() == b"two"
    assert [item.name for item in path.parent.iterdir()] == ["file"]


def test_a_signature_recovers_to_its_address_is_low_s_and_deterministic() -> None:
    signer: Signer = Secp256k1Signer(PRIVATE)
    assert signer.address == address_of(PRIVATE)
    for index in range(50):
        digest = keccak256(bytes([index]))
        signature = signer.sign_digest(digest)
        assert len(signature) == 65
        assert signature[64] in (27, 28)
        assert int.from_bytes(signature[32:64], "big") <= HALF_ORDER
        assert recover(digest, signature) == signer.address
        assert signer.sign_digest(digest) == signature


def test_an_ed25519_signature_matches_rfc_8032_and_no_other_message() -> None:
    # RFC 8032, section 7.1, test 2.
    signer = Ed25519Signer(
        bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    )
    assert (
        signer.public_key.hex()
        == "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    )
    assert signer.sign(b"\x72").hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    with pytest.raises(InvalidSignature):
        Ed25519PublicKey.from_public_bytes(signer.public_key).verify(signer.sign(b"\x72"), b"\x73")


def test_a_tls_certificate_is_for_loopback_and_its_fingerprint_is_the_key_s(
    store: KeyStore, tmp_path: Path
) -> None:
    store.create("tls", Algorithm.P256)
    key = store.p256("tls")
    pem = tls_certificate(key, "department")
    certificate = x509.load_pem_x509_certificate(pem)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(item) for item in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert tls_fingerprint(certificate.public_key()) == tls_fingerprint(key.public_key())  # type: ignore[arg-type]
    write_private(tmp_path / "both.pem", pem + tls_private_pem(key))
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tmp_path / "both.pem")
