"""Signers and their key files.

A key file is JSON: the private key under AES-256-GCM with a key derived by scrypt from the node's
passphrase, and a SHA-256 over the rest. The hash distinguishes a damaged file
(``key_file_corrupt``) from a wrong passphrase (``key_passphrase_wrong``). Files have mode 0600 and
are written atomically. ``Signer`` is the interface for a hardware module or remote signer. A
person's key (chief data officer, administrator, data subject) is stored outside every node, under
the person's own passphrase, in a Web3 Secret Storage file that any wallet opens
(``chain.keys.keystore``).
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import ipaddress
import json
import os
import re
import secrets
from pathlib import Path
from typing import Any, Protocol

import coincurve
from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.x509.oid import NameOID

from chain.core.crypto import address_of_public_key, new_private_key
from chain.core.errors import BadInput, Conflict, NotFound
from chain.ethereum.eip712 import Domain, Statement
from chain.keys import keystore
from chain.statements.members import Algorithm

NODE = keystore.ScryptCost(2**14)
"""For the passphrase that an operator chose for a node's keys: its processes open them at every
start. One that ``node init`` made takes ``keystore.RANDOM``.
"""
_MAX_SCRYPT = {"n": 2**20, "r": 32, "p": 16}
"""A file that asks for more was not written here, and would stop the node for minutes."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class Signer(Protocol):
    """Whoever can sign 32-byte digests with one secp256k1 key, wherever that is stored."""

    @property
    def address(self) -> str:
        """The key's address, lowercase 0x hex."""

    @property
    def public_key(self) -> bytes:
        """65 bytes, uncompressed."""

    def sign_digest(self, digest: bytes) -> bytes:
        """65 bytes r, s, v with low s and v in {27, 28}."""


class Secp256k1Signer:
    """Signs 32-byte digests with one secp256k1 key."""

    def __init__(self, private_key: bytes) -> None:
        self._key = coincurve.PrivateKey(private_key)
        self.public_key = self._key.public_key.format(compressed=False)
        self.address = address_of_public_key(self.public_key)

    @property
    def fingerprint(self) -> bytes:
        """The address left-padded to 32 bytes: the key's name in MemberDirectory."""
        return bytes.fromhex(self.address[2:]).rjust(32, b"\0")

    def sign_digest(self, digest: bytes) -> bytes:
        """65 bytes, low-s, deterministic."""
        signature = self._key.sign_recoverable(digest, hasher=None)
        return signature[:64] + bytes([signature[64] + 27])

    def sign(self, statement: Statement, domain: Domain) -> bytes:
        """A statement's signature under its contract's domain; ``statement_malformed`` for one that
        no reader would take.
        """
        statement.require_json_safe()
        return self.sign_digest(statement.digest(domain))


class Ed25519Signer:
    """Signs messages with one Ed25519 key (RFC 8032)."""

    def __init__(self, private_key: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(private_key)
        self.public_key = self._key.public_key().public_bytes_raw()

    @property
    def fingerprint(self) -> bytes:
        """The public key itself: the key's name in MemberDirectory."""
        return self.public_key

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""
        return self._key.sign(message)


class KeyStore:
    """A directory of encrypted key files, ``NAME.key.json``."""

    def __init__(
        self, directory: Path, passphrase: str, *, cost: keystore.ScryptCost = NODE
    ) -> None:
        self.directory = directory
        self._passphrase = passphrase.encode()
        self._cost = cost

    def names(self) -> list[str]:
        """The names of the keys held."""
        return sorted(
            path.name.removesuffix(".key.json") for path in self.directory.glob("*.key.json")
        )

    def create(self, name: str, algorithm: Algorithm) -> None:
        """Make and store a fresh key; ``key_exists`` if the name is taken."""
        if self._path(name).exists():
            raise Conflict("key_exists", f"There is a key named {name}.")
        private = new_private_key() if algorithm == Algorithm.SECP256K1 else secrets.token_bytes(32)
        if algorithm == Algorithm.P256:
            private = (
                ec.generate_private_key(ec.SECP256R1())
                .private_numbers()
                .private_value.to_bytes(32, "big")
            )
        self.add(name, algorithm, private)

    def add(self, name: str, algorithm: Algorithm, private_key: bytes) -> None:
        """Encrypt and store a 32-byte private key."""
        write_private(
            self._path(name), seal_key(algorithm, private_key, self._passphrase, self._cost)
        )

    def secp256k1(self, name: str) -> Secp256k1Signer:
        """The signer of a stored secp256k1 key."""
        return Secp256k1Signer(self._load(name, Algorithm.SECP256K1))

    def ed25519(self, name: str) -> Ed25519Signer:
        """The signer of a stored Ed25519 key."""
        return Ed25519Signer(self._load(name, Algorithm.ED25519))

    def p256(self, name: str) -> ec.EllipticCurvePrivateKey:
        """A stored P-256 key, for TLS."""
        return ec.derive_private_key(
            int.from_bytes(self._load(name, Algorithm.P256), "big"), ec.SECP256R1()
        )

    # A key that is being replaced: NAME.next waits to be put in use, NAME.1, NAME.2 … were
    # replaced, NAME.1.ended-BLOCK has ended.

    def fingerprint(self, name: str, algorithm: Algorithm) -> bytes:
        """A stored key's name in MemberDirectory."""
        if algorithm == Algorithm.SECP256K1:
            return self.secp256k1(name).fingerprint
        if algorithm == Algorithm.ED25519:
            return self.ed25519(name).fingerprint
        return tls_fingerprint(self.p256(name).public_key())

    def holds(self, name: str) -> bool:
        """Whether there is a key of that name."""
        return self._path(name).exists()

    def replaced(self, name: str, *, ended: bool = True) -> list[str]:
        """The names of the keys that were replaced, oldest first; without ``ended`` those that have
        not ended.
        """
        pattern = re.compile(re.escape(name) + r"\.([0-9]+)(\.ended-[0-9]+)?")
        found = [
            match
            for text in self.names()
            if (match := pattern.fullmatch(text)) and (ended or not match[2])
        ]
        return [match.string for match in sorted(found, key=lambda match: int(match[1]))]

    def put_in_use(self, name: str, algorithm: Algorithm) -> None:
        """Replace a key by ``NAME.next``; safe to repeat after a crash at any point, and nothing
        without a next key.

        The old key has a second name before the first one is taken from it, so that it is never
        lost.
        """
        if not self.holds(f"{name}.next"):
            return
        earlier = self.replaced(name)
        if not earlier or self.fingerprint(earlier[-1], algorithm) != self.fingerprint(
            name, algorithm
        ):
            number = 1 + (int(earlier[-1].removeprefix(f"{name}.").split(".")[0]) if earlier else 0)
            os.link(self._path(name), self._path(f"{name}.{number}"))
            _sync(self.directory)
        self._path(f"{name}.next").replace(self._path(name))
        _sync(self.directory)

    def mark_ended(self, name: str, height: int) -> None:
        """Rename a replaced key that ended in that block."""
        self._path(name).replace(self._path(f"{name}.ended-{height}"))
        _sync(self.directory)

    def _path(self, name: str) -> Path:
        if _NAME.fullmatch(name) is None:
            raise BadInput(
                "key_name",
                "A key's name has other characters than letters, digits, '.', '_' and '-'.",
            )
        return self.directory / f"{name}.key.json"

    def _load(self, name: str, algorithm: Algorithm) -> bytes:
        path = self._path(name)
        if not path.exists():
            raise NotFound(
                "key_missing", f"There is no key named {name}.", hint=f"Looked in {self.directory}."
            )
        return open_key(path.read_bytes(), algorithm, self._passphrase, name=name)


def seal_key(
    algorithm: Algorithm,
    private_key: bytes,
    passphrase: bytes,
    cost: keystore.ScryptCost = NODE,
) -> bytes:
    """A key file's bytes."""
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
    parameters = dataclasses.asdict(cost)
    body = {
        "format": "qiaolian-key/1",
        "algorithm": int(algorithm),
        "kdf": {"name": "scrypt", "salt": salt.hex(), **parameters},
        "nonce": nonce.hex(),
        "ciphertext": AESGCM(_derive(passphrase, salt, parameters))
        .encrypt(nonce, private_key, bytes([algorithm]))
        .hex(),
    }
    body["sha256"] = _checksum(body)
    return json.dumps(body, indent=1).encode() + b"\n"


def open_key(data: bytes, algorithm: Algorithm, passphrase: bytes, *, name: str) -> bytes:
    """The private key in a key file.

    Raises:
        BadInput: ``key_file_corrupt``, ``key_algorithm_wrong`` or ``key_passphrase_wrong``.
    """
    try:
        body = json.loads(data)
        if body.pop("sha256") != _checksum(body) or body["format"] != "qiaolian-key/1":
            raise ValueError("checksum")
        stored_algorithm, kdf = Algorithm(body["algorithm"]), body["kdf"]
        salt, nonce, ciphertext = (
            bytes.fromhex(text) for text in (kdf["salt"], body["nonce"], body["ciphertext"])
        )
        key = _derive(passphrase, salt, kdf)
        cipher = AESGCM(key)
        if len(nonce) != 12:
            raise ValueError("nonce")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInput(
            "key_file_corrupt",
            f"The key file of {name} is damaged.",
            hint="Restore it from the backup.",
        ) from error
    if stored_algorithm != algorithm:
        raise BadInput("key_algorithm_wrong", f"The key {name} is of another algorithm.")
    try:
        return cipher.decrypt(nonce, ciphertext, bytes([algorithm]))
    except InvalidTag as error:
        raise BadInput(
            "key_passphrase_wrong",
            f"The passphrase does not open the key {name}.",
            hint="Check the passphrase file.",
        ) from error


def create_person_key(path: Path, passphrase: str | None = None) -> Secp256k1Signer:
    """Make a person's secp256k1 key in ``path``; without a passphrase, a random one is left beside
    it for the person to keep elsewhere. ``key_exists``: a key is never overwritten.
    """
    if path.exists():
        raise Conflict(
            "key_exists", f"{path} exists; a key is never overwritten.", hint="Choose another file."
        )
    private = new_private_key()
    chosen = passphrase or secrets.token_urlsafe(24)
    if passphrase is None:
        write_private(passphrase_file(path), chosen.encode() + b"\n")
    write_private(
        path, keystore.seal(private, chosen, keystore.PERSON if passphrase else keystore.RANDOM)
    )
    return Secp256k1Signer(private)


def open_person_key(path: Path, passphrase: str | None = None) -> Secp256k1Signer:
    """Open a person's key file; the passphrase is read from ``FILE.passphrase`` unless
    given.

    A file of the former format is rewritten in the present one.

    Raises:
        BadInput: ``key_missing``, ``key_file_corrupt``, ``key_passphrase_wrong``.
    """
    return Secp256k1Signer(_person_private_key(path, passphrase))


def change_person_passphrase(path: Path, passphrase: str | None, new: str) -> None:
    """Seal a person's key under another passphrase; what stood beside the file is of no use then
    and goes.
    """
    private = _person_private_key(path, passphrase)
    write_private(path, keystore.seal(private, new))
    passphrase_file(path).unlink(missing_ok=True)


def _person_private_key(path: Path, passphrase: str | None) -> bytes:
    try:
        text = passphrase or passphrase_file(path).read_text(encoding="utf-8").strip()
        data = path.read_bytes()
    except OSError as error:
        raise NotFound(
            "key_missing", f"There is no key at {path}, or its passphrase is missing."
        ) from error
    if keystore.is_keystore(data):
        return keystore.unseal(data, text, name=path.name)
    private = open_key(data, Algorithm.SECP256K1, text.encode(), name=path.name)
    with contextlib.suppress(OSError):  # a file that only may be read stays as it is
        write_private(path, keystore.seal(private, text))
    return private


def passphrase_file(path: Path) -> Path:
    """The default file of a person's passphrase."""
    return path.with_name(path.name + ".passphrase")


def write_private(path: Path, data: bytes) -> None:
    """Write a 0600 file, durable and whole or not at all: a crash leaves the old file or the new
    one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    descriptor = os.open(partial, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        partial.unlink()
        raise
    partial.replace(path)
    _sync(path.parent)


def _sync(directory: Path) -> None:
    """Make a directory's names durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def tls_certificate(key: ec.EllipticCurvePrivateKey, name: str, *, days: float = 825) -> bytes:
    """A self-signed certificate (PEM) for a node; peers pin its key, so its names matter little."""
    loopback = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return _self_signed(key, subject, x509.SubjectAlternativeName(loopback), days)


def renewed_certificate(
    former: bytes, key: ec.EllipticCurvePrivateKey, *, days: float = 825
) -> bytes:
    """A self-signed certificate (PEM) for the names of a former one (PEM), valid for ``days`` from
    now.
    """
    certificate = x509.load_pem_x509_certificate(former)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = None
    return _self_signed(key, certificate.subject, names, days)


def _self_signed(
    key: ec.EllipticCurvePrivateKey,
    subject: x509.Name,
    names: x509.SubjectAlternativeName | None,
    days: float,
) -> bytes:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A day back: clients whose clocks are behind accept it at once.
        .not_valid_before(
            min(now, now + datetime.timedelta(days=days)) - datetime.timedelta(days=1)
        )
        .not_valid_after(now + datetime.timedelta(days=days))
    )
    if names is not None:
        builder = builder.add_extension(names, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def tls_fingerprint(key: ec.EllipticCurvePublicKey) -> bytes:
    """SHA-256 of the key's SubjectPublicKeyInfo: its name in MemberDirectory and what peers pin."""
    info = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(info).digest()


def tls_private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The TLS key as the web server reads it."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _derive(passphrase: bytes, salt: bytes, parameters: dict[str, Any]) -> bytes:
    if any(
        type(parameters[name]) is not int or not 0 < parameters[name] <= most
        for name, most in _MAX_SCRYPT.items()
    ):
        raise ValueError("scrypt")
    return Scrypt(
        salt=salt, length=32, n=parameters["n"], r=parameters["r"], p=parameters["p"]
    ).derive(passphrase)


def _checksum(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
