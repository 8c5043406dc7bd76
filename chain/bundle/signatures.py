"""Check the signatures of a bundle's statements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chain.bundle.claims import Evidence, VerifiedStatement
from chain.bundle.form import read_bytes, read_struct
from chain.core import schema
from chain.core.crypto import recover
from chain.core.errors import BadSignature, Inconsistent
from chain.ethereum.eip712 import Domain, Statement
from chain.ethereum.records import KeyRecord
from chain.statements.catalogue import STATEMENTS
from chain.statements.members import Algorithm, KeyPurpose, SubjectKeyCertificate


def check_statements(
    values: Sequence[Any], keys: Mapping[bytes, KeyRecord], evidence: Evidence
) -> set[bytes]:
    """Record the statements, each signed by a proved key or by a certified subject's key.

    Certificates are checked first, at any position. Returns the fingerprints of the keys that
    signed.
    """
    signed = [_read_signed(value) for value in values]
    ordered = sorted(signed, key=lambda pair: not isinstance(pair[0], SubjectKeyCertificate))
    certificates: dict[str, SubjectKeyCertificate] = {}
    seen: set[tuple[bytes, str]] = set()
    verified: dict[int, VerifiedStatement[Any]] = {}
    for statement, signature in ordered:
        checked = _check_signature(statement, signature, keys, certificates, evidence)
        if (checked.digest, checked.signer) in seen:
            raise Inconsistent(
                "element_twice", "The bundle holds one statement twice under one key."
            )
        seen.add((checked.digest, checked.signer))
        if isinstance(statement, SubjectKeyCertificate):
            _add_certificate(statement, checked, certificates)
        verified[id(statement)] = checked
    evidence.statements.extend(verified[id(statement)] for statement, _ in signed)
    return {
        fingerprint_of(checked.signer)
        for checked in verified.values()
        if checked.certificate is None
    }


def _read_signed(value: Any) -> tuple[Statement, bytes]:
    statement = read_struct(value, STATEMENTS, "signature")
    return statement, read_bytes(value["signature"], length=schema.SIGNATURE_BYTES)


def _check_signature(
    statement: Statement,
    signature: bytes,
    keys: Mapping[bytes, KeyRecord],
    certificates: Mapping[str, SubjectKeyCertificate],
    evidence: Evidence,
) -> VerifiedStatement[Any]:
    domain = Domain(evidence.trust.chain_id, evidence.trust.contract(statement.contract))
    digest = statement.digest(domain)
    signer = recover(digest, signature)
    key = keys.get(fingerprint_of(signer))
    if key is not None and key.algorithm == Algorithm.SECP256K1:
        return VerifiedStatement(statement, signer, key.member, KeyPurpose(key.purpose), digest)
    if signer in certificates:
        return VerifiedStatement(statement, signer, "", None, digest, certificates[signer])
    name = type(statement).__name__
    raise BadSignature("signer_unknown", f"Nobody known to the network signed the {name}.")


def _add_certificate(
    certificate: SubjectKeyCertificate,
    checked: VerifiedStatement[Any],
    certificates: dict[str, SubjectKeyCertificate],
) -> None:
    if checked.member != certificate.issuer or checked.purpose != KeyPurpose.STATEMENT:
        raise BadSignature("signer_unknown", "A certificate is not signed by the issuer it names.")
    if certificates.setdefault(certificate.key, certificate) != certificate:
        raise Inconsistent(
            "certificate_twice", "The bundle holds two certificates of one key that differ."
        )


def fingerprint_of(address: str) -> bytes:
    """The directory's fingerprint of a secp256k1 key: its address, left-padded to 32 bytes."""
    return bytes.fromhex(address[2:]).rjust(32, b"\0")
