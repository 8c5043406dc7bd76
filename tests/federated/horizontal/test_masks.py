"""Keys and masks: published vectors, the primitives composed by hand, and the vectors of
docs/protocols/aggregation.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from federated.horizontal import masks
from federated.horizontal.gaussian import discrete_gaussian
from federated.horizontal.secagg import SecureSumTerms, advert_digest
from federated.horizontal.secagg_aggregator import Aggregator
from federated.horizontal.secagg_member import Member
from federated.randomness import Randomness

# RFC 7748, section 6.1.
ALICE = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
ALICE_PUBLIC = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
BOB = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
BOB_PUBLIC = bytes.fromhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
SHARED = bytes.fromhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")

PAGE = Path(__file__).parents[3] / "docs" / "protocols" / "aggregation.md"


def test_public_keys_are_those_of_rfc_7748() -> None:
    assert masks.public_key(ALICE) == ALICE_PUBLIC
    assert masks.public_key(BOB) == BOB_PUBLIC


def test_an_agreed_key_is_hkdf_of_the_shared_secret_of_rfc_7748() -> None:
    derived = HKDF(hashes.SHA256(), 32, salt=None, info=b"qiaolian.secagg.v1/use").derive(SHARED)
    assert (
        masks.agree(ALICE, BOB_PUBLIC, b"use") == masks.agree(BOB, ALICE_PUBLIC, b"use") == derived
    )
    assert masks.agree(ALICE, BOB_PUBLIC, b"other use") != derived


def test_a_key_of_small_order_is_refused() -> None:
    with pytest.raises(ValueError):
        masks.agree(ALICE, bytes(32), b"use")


@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
@pytest.mark.parametrize("length", [1, 3, 70_000])
def test_a_mask_is_aes_of_the_counter(dtype: type, length: int) -> None:
    key, size = b"k" * 32, length * np.dtype(dtype).itemsize
    blocks = b"".join(count.to_bytes(16, "big") for count in range(-(-size // 16)))
    stream = Cipher(algorithms.AES256(key), modes.ECB()).encryptor().update(blocks)[:size]
    vector: NDArray[Any] = np.ones(length, dtype)
    masks.add_mask(vector, key)
    assert np.array_equal(vector, np.frombuffer(stream, dtype) + dtype(1))
    masks.add_mask(vector, key, subtract=True)
    assert (vector == 1).all()


def test_the_pages_vectors_are_what_the_code_gives() -> None:
    names, page = ("a", "b", "c"), PAGE.read_text(encoding="utf-8")
    terms = SecureSumTerms("vector", names, 3, 1000)
    members = {
        name: Member(terms, name, bytes([index + 1]) * 32) for index, name in enumerate(names)
    }
    aggregator = Aggregator(terms)
    roster = aggregator.collect_keys({name: member.advertise() for name, member in members.items()})
    attested = {name: advert_digest(terms, name, advert) for name, advert in roster.items()}
    routed = aggregator.route_shares(
        {name: member.share(roster, attested) for name, member in members.items()},
    )
    masked = {
        name: members[name].mask(np.array([1, 2, 3]) * 10**index, routed[name])
        for index, name in enumerate(names)
    }
    survivors = aggregator.add_masked({name: masked[name] for name in "ac"})
    confirmed = aggregator.route_confirmations(
        {name: members[name].confirm(survivors) for name in "ac"},
    )
    total = aggregator.unmask({name: members[name].reveal(confirmed[name]) for name in "ac"})
    assert total.tolist() == [101, 202, 303]
    shown = [
        terms.digest.hex(),
        roster["a"].hex(),
        routed["b"]["a"][:16].hex(),
        masked["a"].tobytes().hex(),
        attested["a"].hex(),
        confirmed["c"]["a"].hex(),
    ]
    noise = discrete_gaussian(5, 12, Randomness(bytes(32))).tolist()
    for text in (*shown, str(noise)):
        assert text in page, text
