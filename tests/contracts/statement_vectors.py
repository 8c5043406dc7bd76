"""Vectors that hold ``chain.statements`` and ``contracts/src/Statements.sol`` to the same
hashes.

``python tests/contracts/statement_vectors.py`` writes ``contracts/test/vectors/statements.json``.
For each type it holds a few statements, ABI-encoded as the contracts take them, with their struct
hash and, under one domain, their digest: all fields zero, all at their largest, and some in between
with arrays of different lengths. The values come from hashes of their place, so the file is the
same on every run. ``contracts/test/Statements.t.sol`` decodes each and hashes it in Solidity.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from eth_abi.abi import encode

from chain.ethereum.eip712 import Codec, Domain, Statement, Struct
from chain.statements.catalogue import STATEMENTS, STRUCTS
from chain.statements.disputes import LogPosition
from chain.statements.trade import LaneTotal, Share

PATH = Path(__file__).parents[2] / "contracts" / "test" / "vectors" / "statements.json"
DOMAIN = Domain(chain_id=440_700, contract="0x" + "5e" * 20)
TYPES: dict[str, type[Struct]] = {
    **STRUCTS,
    Share.__name__: Share,
    LaneTotal.__name__: LaneTotal,
    LogPosition.__name__: LogPosition,
    **STATEMENTS,
}
ARRAY_LENGTHS = (0, 16, 1, 2, 3)
"""How many items an array has in the vectors of a type: empty in the smallest, full in the largest,
then in between.
"""

_MEMBER_LETTERS = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_CODE_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def vectors() -> dict[str, Any]:
    """The whole file as a value."""
    return {
        "domain": {"chainId": DOMAIN.chain_id, "verifyingContract": DOMAIN.contract},
        "types": sorted(TYPES),
        **{
            name: _columns([example(TYPES[name], case) for case in range(len(ARRAY_LENGTHS))])
            for name in sorted(TYPES)
        },
    }


def text() -> str:
    """The whole file as it is written."""
    return json.dumps(vectors(), indent=1) + "\n"


def example(struct: type[Struct], case: int) -> Struct:
    """The vector number ``case`` of a type: 0 is all zeros, 1 the largest, later ones are
    arbitrary.
    """
    hints = get_type_hints(struct, include_extras=True)
    return struct(
        **{
            name: _value(hints[name], codec, f"{struct.__name__}.{name}", case)
            for name, codec in struct._codecs()
        }
    )


def abi_type(struct: type[Struct]) -> str:
    """A struct's type as an ABI tuple: ``(uint16,bytes18,…)``."""
    hints = get_type_hints(struct, include_extras=True)
    return "(" + ",".join(_field_type(hints[name], codec) for name, codec in struct._codecs()) + ")"


def _columns(examples: list[Struct]) -> dict[str, list[str]]:
    return {
        "encoded": [
            _hex(encode([abi_type(type(struct))], [struct.to_contract()])) for struct in examples
        ],
        "structHashes": [_hex(struct.struct_hash()) for struct in examples],
        "digests": [_hex(item.digest(DOMAIN)) for item in examples if isinstance(item, Statement)],
    }


def _field_type(hint: Any, codec: Codec) -> str:
    if get_origin(hint) is tuple and _is_struct(get_args(hint)[0]):
        return abi_type(get_args(hint)[0]) + "[]"
    return codec.solidity


def _is_struct(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Struct)


def _value(hint: Any, codec: Codec, position: str, case: int) -> Any:
    if get_origin(hint) is tuple:
        item = get_args(hint)[0]
        return tuple(
            _item(item, f"{position}[{index}]", case) for index in range(ARRAY_LENGTHS[case])
        )
    if codec.solidity == "bool":
        return case % 2 == 1
    if codec.solidity.startswith("uint"):
        return _integer(int(codec.solidity[4:]), position, case)
    size = 20 if codec.solidity == "address" else int(codec.solidity[5:])
    raw = b"\xff" * size if case == 1 else _bytes(position, case)[:size] if case else bytes(size)
    if codec.solidity == "address":
        return _hex(raw)
    if codec.solidity == "bytes18":
        return _letters(_MEMBER_LETTERS, 18, position, case)
    return raw if _takes_bytes(codec) else _letters(_CODE_LETTERS, 31, position, case)


def _item(hint: Any, index: str, case: int) -> Any:
    """An array's item: bytes32, or a struct with values of its own for each place."""
    if not _is_struct(hint):
        return b"\xff" * 32 if case == 1 else _bytes(index, case)
    hints = get_type_hints(hint, include_extras=True)
    return hint(
        **{
            name: _value(hints[name], codec, f"{index}.{name}", case)
            for name, codec in hint._codecs()
        }
    )


def _integer(bits: int, index: str, case: int) -> int:
    if case < 2:
        return (1 << bits) - 1 if case else 0
    return int.from_bytes(_bytes(index, case), "big") % (1 << bits)


def _letters(alphabet: str, longest: int, index: str, case: int) -> str:
    """Empty, the longest possible, then of any length; a member id has one length."""
    if case == 0:
        return ""
    digits = _bytes(index, case)
    length = longest if case == 1 or longest == 18 else 1 + digits[31] % longest
    return "".join(alphabet[digit % len(alphabet)] for digit in digits[:length])


def _takes_bytes(codec: Codec) -> bool:
    return isinstance(codec.from_contract(bytes(32)), bytes)


def _bytes(index: str, case: int) -> bytes:
    return hashlib.sha256(f"{index} {case}".encode()).digest()


def _hex(value: bytes) -> str:
    return "0x" + value.hex()


if __name__ == "__main__":
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_text(text())
