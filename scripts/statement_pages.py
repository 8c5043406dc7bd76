"""Write ``docs/statements.md``: the fields and a test vector of every statement, from its type.

``python -m scripts.statement_pages`` writes the page; ``--check`` compares it with the committed
one.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from pathlib import Path
from typing import Any

from chain.core.crypto import address_of, keccak256, sign_digest
from chain.ethereum.eip712 import Domain, Statement, Struct, camel
from chain.statements.catalogue import STATEMENTS, STRUCTS
from chain.statements.disputes import LogPosition
from chain.statements.examples import example
from chain.statements.trade import LaneTotal, Share

PAGE = Path(__file__).parent.parent / "docs" / "statements.md"
VECTOR_KEY = keccak256(b"qiaolian test vector")
VECTOR_DOMAIN = Domain(7_421, "0x" + "33" * 20)

_HEAD = """\
# Statements, field by field

`python -m scripts.statement_pages` generates this page from `chain/statements`. The contracts
define the same types in `contracts/src/Statements.sol`. Statements are signed under EIP-712 with
the domain `EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)`:
name `{name}`, version `{version}`, the chain's id and the address of the contract named with each
type. Signatures are 65 bytes, with low s.

The test vectors use chain id {chain} and contract `{contract}`. They are signed by the key whose
address is `{signer}` (private key: keccak256 of the text `qiaolian test vector`). Times are Unix
seconds, money is fen.

A statement in JSON is an object with exactly the fields of its type:

| form | value |
|---|---|
| number | a whole number from 0 to 2^53-1, within its type |
| decimal text | a whole number within its type, without leading zeros |
| hex | lowercase, after `0x`; all bytes of the type |
| code | empty, or 1 to 31 of `a-z`, `0-9`, `.`, `-` and `_`, the first a letter or digit |
| member id | empty, or 18 of `0-9` and `A-Z` |
| list | at most 256 items; an item is in the form of its type |

The bytes of a code or member id are its ASCII text, padded with zeros on the right.

`version` is 1 where the field says nothing else. A reader refuses other versions, since it does not
know what they mean.
"""


def page() -> str:
    """The whole page."""
    head = _HEAD.format(
        name="Qiaolian",
        version="1",
        chain=VECTOR_DOMAIN.chain_id,
        contract=VECTOR_DOMAIN.contract,
        signer=address_of(VECTOR_KEY),
    )
    signed = [_section(statement) for statement in STATEMENTS.values()]
    unsigned = [_section(struct) for struct in STRUCTS.values()]
    inner = [_section(struct) for struct in (Share, LaneTotal, LogPosition)]
    return "\n".join(
        [
            head,
            "## Signed statements",
            *signed,
            "\n## Structs whose hash is an id",
            *unsigned,
            "\n## Structs within statements",
            *inner,
        ]
    )


def _description(struct: type[Struct]) -> str:
    paragraphs = inspect.cleandoc(struct.__doc__ or "").split("\n\n")
    return "\n\n".join(textwrap.fill(paragraph, 100) for paragraph in paragraphs)


def _section(struct: type[Struct]) -> str:
    notes = _field_notes(struct)
    rows = [
        f"| `{camel(name)}` | `{codec.solidity}` | {codec.json_form} | {meaning}|"
        for name, codec in struct._codecs()
        for meaning in [f"{notes[name]} " if name in notes else ""]
    ]
    instance = example(struct)
    vector = [
        f"- type hash `0x{struct.type_hash().hex()}`",
        f"- struct hash `0x{instance.struct_hash().hex()}`",
    ]
    if isinstance(instance, Statement):
        digest = instance.digest(VECTOR_DOMAIN)
        vector.append(f"- digest `0x{digest.hex()}`")
        vector.append(f"- signature `0x{sign_digest(VECTOR_KEY, digest).hex()}`")
    contract = f" (domain: `{struct.contract}`)" if issubclass(struct, Statement) else ""
    return "\n".join(
        [
            f"\n### {struct.__name__}{contract}\n",
            _description(struct) + "\n",
            "| field | type | in JSON | meaning |\n|---|---|---|---|",
            *rows,
            "\nVector: the fields below in order.\n",
            "```json\n" + _compact(instance.to_json()) + "\n```\n",
            *vector,
        ]
    )


def _compact(value: dict[str, Any]) -> str:
    import json

    return json.dumps(value, ensure_ascii=False, indent=1)


def _field_notes(struct: type[Struct]) -> dict[str, str]:
    """The text under each field in the source."""
    body = ast.parse(textwrap.dedent(inspect.getsource(struct))).body[0]
    assert isinstance(body, ast.ClassDef)
    notes: dict[str, str] = {}
    last = ""
    for item in body.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            last = item.target.id
        elif isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant) and last:
            notes[last] = " ".join(str(item.value.value).split()).replace("|", "\\|")
    return notes


def main() -> int:
    """Write the page, or with ``--check`` compare it."""
    fresh = page()
    if "--check" in sys.argv:
        return 0 if PAGE.read_text(encoding="utf-8") == fresh else 1
    PAGE.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
