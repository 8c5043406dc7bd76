"""Why identifiers are never compared by a hash: the dictionary attack on unified social credit
codes, carried out.
"""

from __future__ import annotations

import hashlib
import itertools

import numpy as np

from federated.intersection.identifiers import tags_of
from federated.intersection.suites import SUITES

SIGNS = "0123456789ABCDEFGHJKLMNPQRTUWXY"  # GB 32100-2015: 31 signs, without I, O, S, V, Z
REGION = "91310115"  # an enterprise registered in one district


def organisation_check(body: str) -> str:
    """The ninth sign of an organisation code (GB 11714)."""
    total = sum(
        weight * int(sign, 36) for weight, sign in zip((3, 7, 9, 10, 5, 8, 4, 2), body, strict=True)
    )
    return "0123456789X0"[11 - total % 11] if total % 11 else "0"


def code_of(body: str, region: str = REGION) -> bytes:
    """The whole code of an organisation: 18 signs, the last one a check over the others."""
    front = region + body + organisation_check(body)
    total = sum(SIGNS.index(sign) * pow(3, position, 31) for position, sign in enumerate(front))
    return (front + SIGNS[-total % 31]).encode()


def dictionary() -> list[bytes]:
    """All codes of the region in one of the registry's series (MA1K followed by any four signs
    would be 31 times as many).
    """
    return [code_of("MA1K3" + "".join(letters)) for letters in itertools.product(SIGNS, repeat=3)]


def test_a_known_code_has_the_check_signs_of_the_standards() -> None:
    assert code_of("M000100Y", "91350100") == b"91350100M000100Y43"


def test_hashed_codes_of_a_region_are_all_recovered() -> None:
    codes = dictionary()
    secret = [
        codes[index] for index in np.random.default_rng(5).choice(len(codes), 500, replace=False)
    ]
    published = {hashlib.sha256(identifier).digest() for identifier in secret}
    recovered = [code for code in codes if hashlib.sha256(code).digest() in published]
    assert sorted(recovered) == sorted(secret)


def test_a_salt_both_parties_know_does_not_help() -> None:
    codes, key = dictionary(), bytes(range(16))
    secret = np.array(codes[::61])
    shown = {tag.tobytes() for tag in tags_of(secret, 18, SUITES["aes"], key)}
    tried = tags_of(np.array(codes), 18, SUITES["aes"], key)
    assert [
        code for code, tag in zip(codes, tried, strict=True) if tag.tobytes() in shown
    ] == secret.tolist()
