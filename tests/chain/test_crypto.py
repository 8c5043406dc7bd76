"""Signatures and EIP-712 against published vectors: one signature a digest and key, one digest a
chain, contract and struct.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.core.crypto import (
    CURVE_ORDER,
    HALF_ORDER,
    address_of,
    address_of_public_key,
    is_address,
    keccak256,
    new_private_key,
    recover,
    require_address,
    sign_digest,
)
from chain.core.errors import BadInput, BadSignature
from chain.ethereum.eip712 import (
    Address,
    Bool,
    Bytes32,
    Code,
    Domain,
    MemberId,
    Statement,
    Struct,
    Uint256,
    domain_separator,
)

DIGEST = keccak256(b"digest")
KEY = keccak256(b"cow")
"""The key of EIP-712's example."""


def signature_of(r: str | int, s: str | int, v: int) -> bytes:
    return b"".join(
        (int(item, 16) if isinstance(item, str) else item).to_bytes(32, "big") for item in (r, s)
    ) + bytes([v])


def mirrored(signature: bytes) -> bytes:
    """The other signature of the same key over the same digest: s negated, v turned over."""
    return signature_of(
        signature[:32].hex(),
        CURVE_ORDER - int.from_bytes(signature[32:64], "big"),
        55 - signature[64],
    )


def refused(digest: bytes, signature: bytes) -> bool:
    with pytest.raises(BadSignature) as caught:
        recover(digest, signature)
    assert caught.value.exit_code == 11
    return caught.value.code == "signature_malformed"


def signer_or_nobody(digest: bytes, signature: bytes) -> str:
    """Most altered signatures recover to some other key; about half of all r are no point's."""
    with contextlib.suppress(BadSignature):
        return recover(digest, signature)
    return "nobody"


# --- Keccak-256, addresses ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        (b"", "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"),
        (b"abc", "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"),
        (
            b"Transfer(address,address,uint256)",
            "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef",
        ),
    ],
)
def test_keccak_is_ethereums_and_not_sha_3(text: bytes, digest: str) -> None:
    assert keccak256(text).hex() == digest
    assert keccak256(text) != hashlib.sha3_256(text).digest()


@pytest.mark.parametrize(
    ("private_key", "address"),
    [
        ((1).to_bytes(32, "big"), "0x7e5f4552091a69125d5dfcb7b8c2659029395bdf"),
        ((2).to_bytes(32, "big"), "0x2b5ad5c4795c026514f8317c7a215e218dccd6cf"),
        (KEY, "0xcd2a3d9f938e13cd947ec05abc7fe734df8dd826"),
    ],
)
def test_a_keys_address_is_the_published_one(private_key: bytes, address: str) -> None:
    assert address_of(private_key) == address


def test_fresh_keys_differ_and_sign() -> None:
    keys = {new_private_key() for _ in range(20)}
    assert len(keys) == 20
    assert all(recover(DIGEST, sign_digest(key, DIGEST)) == address_of(key) for key in keys)


def test_an_address_is_lowercase_0x_and_forty_digits() -> None:
    assert is_address("0x" + "ab" * 20)
    assert require_address("0x" + "AB" * 20) == "0x" + "ab" * 20
    for wrong in (
        "",
        "0x",
        "ab" * 20,
        "0x" + "ab" * 19,
        "0x" + "ab" * 21,
        "0x" + "zz" * 20,
        "0x" + "ab" * 20 + "\n",
    ):
        assert not is_address(wrong)
        with pytest.raises(BadInput) as caught:
            require_address(wrong)
        assert caught.value.code == "address_malformed"


# --- Signatures -----------------------------------------------------------------------------------


def test_a_signature_is_rfc_6979s() -> None:
    """The vector for secp256k1 that Bitcoin's libraries share: key 1, "Satoshi Nakamoto"."""
    signature = sign_digest((1).to_bytes(32, "big"), hashlib.sha256(b"Satoshi Nakamoto").digest())
    assert (
        signature[:32].hex() == "934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d8"
    )
    assert (
        signature[32:64].hex() == "2442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5"
    )


def test_eip_712s_own_example_is_signed_and_recovered() -> None:
    digest = bytes.fromhex("be609aee343fb3c4b28e1df9e632fca64fcfaede20f02e86244efddf30957bd2")
    signature = signature_of(
        "4355c47d63924e8a72e509b65029052eb6c299d53a04e167c5775fd466751c9d",
        "07299936d304c153f6443dfa05f40ff007d72911b6f72307f996231605b91562",
        28,
    )
    assert sign_digest(KEY, digest) == signature
    assert recover(digest, signature) == "0xcd2a3d9f938e13cd947ec05abc7fe734df8dd826"


# Ethereum's vector for ecrecover; its s is high, as the precompile allows and we do not.
ECRECOVER = bytes.fromhex("18c547e4f7b0f325ad1e56f57e26c745b09a3e503d86e00e5255ff7f715d3d1c")
HIGH_S = signature_of(
    "73b1693892219d736caba55bdb67216e485557ea6b6af75f37096c9aa6a5a75f",
    "eeb940b1d03b21e36b0e47e79769f095fe2ab855bd91e3a38756b7d75a9c4549",
    28,
)


def test_ecrecovers_vector_is_refused_with_its_high_s_and_recovered_with_the_low_one() -> None:
    assert refused(ECRECOVER, HIGH_S)
    assert recover(ECRECOVER, mirrored(HIGH_S)) == "0xa94f5374fce5edbc8e2a8697c15331677e6ebf0b"


@given(st.binary(min_size=32, max_size=32))
def test_of_a_signature_and_its_mirror_only_the_low_one_holds(digest: bytes) -> None:
    signature = sign_digest(KEY, digest)
    assert int.from_bytes(signature[32:64], "big") <= HALF_ORDER
    assert recover(digest, signature) == address_of(KEY)
    assert refused(digest, mirrored(signature))


@pytest.mark.parametrize("v", [0, 1, 2, 3, 26, 29, 30, 35, 36, 128, 255])
def test_a_recovery_value_other_than_27_and_28_is_refused(v: int) -> None:
    assert refused(DIGEST, sign_digest(KEY, DIGEST)[:64] + bytes([v]))


@pytest.mark.parametrize("r", range(1, 17))
def test_a_point_beyond_the_order_is_no_signature_though_the_curve_has_it(r: int) -> None:
    """v 29 and 30 would name the point at r plus the order, which exists for about half of all
    small r.
    """
    assert all(refused(DIGEST, signature_of(r, 1, v)) for v in (29, 30))


def test_the_other_recovery_value_gives_another_signer() -> None:
    signature = sign_digest(KEY, DIGEST)
    assert signer_or_nobody(DIGEST, signature[:64] + bytes([55 - signature[64]])) != address_of(KEY)


@pytest.mark.parametrize("length", [0, 1, 32, 64, 66, 130])
def test_a_signature_of_another_length_is_refused(length: int) -> None:
    assert refused(
        DIGEST, (sign_digest(KEY, DIGEST) * 2)[: length - 1] + b"\x1b" if length else b""
    )


@pytest.mark.parametrize(
    ("r", "s"),
    [(0, 1), (1, 0), (0, 0), (CURVE_ORDER, 1), (2**256 - 1, 1), (1, CURVE_ORDER), (5, 1)],
    ids=[
        "r zero",
        "s zero",
        "both zero",
        "r the order",
        "r beyond",
        "s the order",
        "r of no point",
    ],
)
@pytest.mark.parametrize("v", [27, 28])
def test_numbers_that_are_no_signature_are_refused(r: int, s: int, v: int) -> None:
    assert refused(DIGEST, signature_of(r, s, v))


def test_half_the_order_is_the_highest_s() -> None:
    signature = sign_digest(KEY, DIGEST)
    assert is_address(
        recover(DIGEST, signature[:32] + HALF_ORDER.to_bytes(32, "big") + signature[64:])
    )
    assert refused(DIGEST, signature[:32] + (HALF_ORDER + 1).to_bytes(32, "big") + signature[64:])


@given(st.integers(0, 63), st.integers(0, 7))
def test_a_signature_with_a_bit_turned_is_no_longer_its_signers(index: int, bit: int) -> None:
    signature = bytearray(sign_digest(KEY, DIGEST))
    signature[index] ^= 1 << bit
    assert signer_or_nobody(DIGEST, bytes(signature)) != address_of(KEY)


def test_a_public_keys_address_is_its_private_keys() -> None:
    import coincurve

    public = coincurve.PrivateKey(KEY).public_key.format(compressed=False)
    assert address_of_public_key(public) == address_of(KEY)


# --- EIP-712 --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Permit(Struct):
    """EIP-2612."""

    owner: Address
    spender: Address
    value: Uint256
    nonce: Uint256
    deadline: Uint256


@dataclass(frozen=True)
class TokenPermissions(Struct):
    """Permit2."""

    token: Address
    amount: Uint256


@dataclass(frozen=True)
class PermitTransferFrom(Struct):
    """Permit2: a struct within a struct."""

    permitted: TokenPermissions
    spender: Address
    nonce: Uint256
    deadline: Uint256


@dataclass(frozen=True)
class PermitBatchTransferFrom(Struct):
    """Permit2: an array of structs."""

    permitted: tuple[TokenPermissions, ...]
    spender: Address
    nonce: Uint256
    deadline: Uint256


@dataclass(frozen=True)
class Order(Statement):
    """A statement with a field of each plain kind."""

    contract: ClassVar[str] = "Orders"
    buyer: MemberId
    purpose: Code
    content: Bytes32
    final: Bool
    to: Address
    amount: Uint256


@pytest.mark.parametrize(
    ("struct", "type_hash"),
    [
        (Permit, "6e71edae12b1b97f4d1f60370fef10105fa2faae0126114a169c64845d6126c9"),
        (TokenPermissions, "618358ac3db8dc274f0cd8829da7e234bd48cd73c4a740aede1adec9846d06a1"),
        (PermitTransferFrom, "939c21a48a8dbe3a9a2404a1d46691e4d39f6583d6ec6b35714604c986d80106"),
        (
            PermitBatchTransferFrom,
            "fcf35f5ac6a2c28868dc44c302166470266239195f02b0ee408334829333b766",
        ),
    ],
)
def test_type_hashes_are_those_deployed_contracts_carry(
    struct: type[Struct], type_hash: str
) -> None:
    """EIP-2612's and Permit2's published constants."""
    assert struct.type_hash().hex() == type_hash


def test_a_structs_hash_is_its_type_hash_and_words() -> None:
    one, other = "0x" + "11" * 20, "0x" + "22" * 20
    encoded = [
        Permit.type_hash(),
        bytes(12) + b"\x11" * 20,
        bytes(12) + b"\x22" * 20,
        *(n.to_bytes(32, "big") for n in (3, 4, 5)),
    ]
    assert Permit(one, other, 3, 4, 5).struct_hash() == keccak256(b"".join(encoded))


def test_structs_within_are_hashed_and_an_array_is_the_hash_of_its_hashes() -> None:
    pair = (TokenPermissions("0x" + "11" * 20, 1), TokenPermissions("0x" + "22" * 20, 2))
    tail = [bytes(12) + b"\x33" * 20, (4).to_bytes(32, "big"), (5).to_bytes(32, "big")]
    single = keccak256(b"".join([PermitTransferFrom.type_hash(), pair[0].struct_hash(), *tail]))
    assert PermitTransferFrom(pair[0], "0x" + "33" * 20, 4, 5).struct_hash() == single
    inner = keccak256(pair[0].struct_hash() + pair[1].struct_hash())
    batch = keccak256(b"".join([PermitBatchTransferFrom.type_hash(), inner, *tail]))
    assert PermitBatchTransferFrom(pair, "0x" + "33" * 20, 4, 5).struct_hash() == batch


def test_each_kind_of_field_has_its_word() -> None:
    order = Order(
        "91440700MA4UAAAA1X", "credit-check", b"\x07" * 32, True, "0x" + "44" * 20, 2**256 - 1
    )
    encoded = [
        Order.type_hash(),
        b"91440700MA4UAAAA1X".ljust(32, b"\0"),
        b"credit-check".ljust(32, b"\0"),
        b"\x07" * 32,
        (1).to_bytes(32, "big"),
        bytes(12) + b"\x44" * 20,
        b"\xff" * 32,
    ]
    assert (
        Order.type_string()
        == "Order(bytes18 buyer,bytes32 purpose,bytes32 content,bool final,address to,uint256 amount)"
    )
    assert order.struct_hash() == keccak256(b"".join(encoded))


def test_the_domain_is_the_standards_four_fields() -> None:
    encoded = [
        # The type hash that OpenZeppelin's and every other four-field domain carries.
        bytes.fromhex("8b73c3c69bb8fe3d512ecc4cf759cc79239f7b179b0ffacaa9a75d522b39400f"),
        keccak256(b"Qiaolian"),
        keccak256(b"1"),
        (1907).to_bytes(32, "big"),
        bytes(12) + b"\xcc" * 20,
    ]
    assert domain_separator(Domain(1907, "0x" + "cc" * 20)) == keccak256(b"".join(encoded))


ORDER = Order("", "", bytes(32), False, "0x" + "00" * 20, 1)


def test_a_digest_is_the_standards_prefix_domain_and_struct() -> None:
    domain = Domain(1907, "0x" + "cc" * 20)
    assert ORDER.digest(domain) == keccak256(
        b"\x19\x01" + domain_separator(domain) + ORDER.struct_hash()
    )


def test_a_signature_for_one_chain_or_contract_is_nobodys_on_another() -> None:
    home = Domain(1907, "0x" + "cc" * 20)
    signature = sign_digest(KEY, ORDER.digest(home))
    assert recover(ORDER.digest(home), signature) == address_of(KEY)
    for other in (
        Domain(1908, home.contract),
        Domain(1907, "0x" + "cd" * 20),
        Domain(0, home.contract),
    ):
        assert ORDER.digest(other) != ORDER.digest(home)
        assert signer_or_nobody(ORDER.digest(other), signature) != address_of(KEY)


def test_the_same_fields_in_another_type_are_another_digest() -> None:
    @dataclass(frozen=True)
    class Offer(Statement):
        contract: ClassVar[str] = "Orders"
        buyer: MemberId
        purpose: Code
        content: Bytes32
        final: Bool
        to: Address
        amount: Uint256

    offer = Offer("", "", bytes(32), False, "0x" + "00" * 20, 1)
    domain = Domain(1907, "0x" + "cc" * 20)
    assert offer.to_json() == ORDER.to_json()
    assert offer.digest(domain) != ORDER.digest(domain)
