"""Hand-encoded transactions and calls against web3's own libraries as an independent witness."""

from __future__ import annotations

import pytest
from eth_account import Account
from eth_utils.abi import event_abi_to_log_topic, function_abi_to_4byte_selector
from hypothesis import given
from hypothesis import strategies as st
from web3 import Web3

import contracts
from chain.core.crypto import new_private_key
from chain.core.errors import BadInput
from chain.ethereum.ledger.abi import contract_abi, decode_revert, snake_case
from chain.ethereum.transactions import gas_for, sign_transaction
from chain.keys.files import Secp256k1Signer
from chain.statements.assets import AssetRecord
from chain.statements.trade import Share

KEY = bytes(range(1, 33))
TO = "0x" + "ab" * 20
RECORD = AssetRecord(
    version=1,
    holder="11440700MB2C1A000U",
    processor="11440700MB2C1A000U",
    operator="11440700MB2C1A000U",
    data_item="tax.records",
    name="tax",
    asset_version=1,
    grade=2,
    category="tax",
    schema_hash=b"\1" * 32,
    records_root=b"\2" * 32,
    row_count=4454,
    metadata_hash=b"\3" * 32,
    parents=(b"\4" * 32, b"\5" * 32),
)


@given(
    st.integers(0, 2**40), st.binary(max_size=600), st.integers(1, 2**31), st.integers(0, 10**12)
)
def test_a_signed_transaction_is_byte_for_byte_what_eth_account_signs(
    nonce: int, data: bytes, chain_id: int, price: int
) -> None:
    ours = sign_transaction(
        Secp256k1Signer(KEY),
        chain_id=chain_id,
        nonce=nonce,
        to=TO,
        data=data,
        gas=gas_for(data),
        gas_price=price,
    )
    theirs = Account.sign_transaction(
        {
            "nonce": nonce,
            "gasPrice": price,
            "gas": gas_for(data),
            "to": Web3.to_checksum_address(TO),
            "value": 0,
            "data": data,
            "chainId": chain_id,
        },
        KEY,
    )
    assert ours.raw == bytes(theirs.raw_transaction)
    assert ours.transaction_hash == bytes(theirs.hash)


def test_every_key_signs_what_recovers_to_its_address() -> None:
    for _ in range(50):
        signer = Secp256k1Signer(new_private_key())
        raw = sign_transaction(signer, chain_id=1, nonce=0, to=TO, data=b"", gas=21_000).raw
        assert Account.recover_transaction(raw).lower() == signer.address


def test_calls_are_encoded_as_web3_does() -> None:
    web3 = Web3()
    contract = web3.eth.contract(abi=contracts.artifact("AssetRegistry").abi)
    ours = contract_abi("AssetRegistry").encode("register", [RECORD])
    assert "0x" + ours.hex() == contract.encode_abi("register", [RECORD.to_contract()])
    ours = contract_abi("AssetRegistry").encode("idOf", ["11440700MB2C1A000U", "tax"])
    theirs = contract.encode_abi("idOf", [b"11440700MB2C1A000U", b"tax".ljust(32, b"\0")])
    assert "0x" + ours.hex() == theirs


def test_every_selector_and_topic_is_web3s() -> None:
    for name in contracts.NAMES:
        abi = contract_abi(name)
        for item in contracts.artifact(name).abi:
            if item["type"] == "function":
                assert abi.function(item["name"]).selector == function_abi_to_4byte_selector(item)  # type: ignore[arg-type]
            if item["type"] == "event":
                assert abi.events[bytes(event_abi_to_log_topic(item))].name == item["name"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("register", []),
        ("register", [1]),
        ("nothing", []),
        ("idOf", ["11440700MB2C1A000U", b"short"]),
        ("idOf", ["no member", b"\0" * 32]),
        ("idOf", [b"\0" * 19, b"\0" * 32]),
        ("recordHash", [b"\0" * 32, -1]),
        ("recordHash", [b"\0" * 32, 2**32]),
    ],
)
def test_arguments_that_do_not_fit_are_refused_before_anything_is_sent(
    function: str, arguments: list[object]
) -> None:
    with pytest.raises(BadInput) as caught:
        contract_abi("AssetRegistry").encode(function, arguments)
    assert caught.value.code in ("call_malformed", "statement_malformed")


def test_a_struct_of_another_type_is_refused() -> None:
    with pytest.raises(BadInput) as caught:
        contract_abi("AssetRegistry").encode("register", [Share("11440700MB2C1A000U", 1)])
    assert caught.value.code == "call_malformed"


def test_custom_errors_become_their_snake_case_code_with_their_arguments() -> None:
    web3 = Web3()
    selector = web3.keccak(text="DataItemTaken(bytes32,bytes32)")[:4]
    reverted = decode_revert(selector + b"\1" * 32 + b"\2" * 32, contract_abi("AssetRegistry"))
    assert reverted.code == "data_item_taken"
    assert reverted.context["dataItem"] == b"\1" * 32
    assert reverted.context["assetId"] == b"\2" * 32
    assert snake_case("USCCWrong") == "uscc_wrong"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "reverted"),
        (
            bytes.fromhex("08c379a0")
            + (32).to_bytes(32, "big")
            + (2).to_bytes(32, "big")
            + b"no".ljust(32, b"\0"),
            "reverted",
        ),
        (bytes.fromhex("4e487b71") + (17).to_bytes(32, "big"), "panicked"),
        (b"\xde\xad\xbe\xef", "unknown_revert"),
        (b"\xde", "unknown_revert"),
    ],
)
def test_reverts_without_a_custom_error_still_get_a_code(data: bytes, code: str) -> None:
    assert decode_revert(data, contract_abi("AssetRegistry")).code == code


def test_revert_data_cut_short_does_not_break_the_reader() -> None:
    web3 = Web3()
    selector = bytes(web3.keccak(text="DataItemTaken(bytes32,bytes32)")[:4])
    assert (
        decode_revert(selector + b"\1" * 31, contract_abi("AssetRegistry")).code == "unknown_revert"
    )
