"""The committed vectors are those of today's statement types, and cover every one."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

GENERATOR = runpy.run_path(str(Path(__file__).with_name("statement_vectors.py")))
STATEMENTS = Path(__file__).parents[2] / "contracts" / "src" / "Statements.sol"


def test_the_committed_vectors_are_current() -> None:
    current = GENERATOR["PATH"].read_text() == GENERATOR["text"]()
    assert current, "Run: python tests/contracts/statement_vectors.py"


def test_every_struct_of_the_contracts_has_vectors() -> None:
    declared = set(re.findall(r"^struct (\w+) \{", STATEMENTS.read_text(), flags=re.MULTILINE))
    assert declared == set(GENERATOR["TYPES"])


def test_no_two_vectors_are_the_same() -> None:
    vectors = GENERATOR["vectors"]()
    hashes = [
        struct_digest
        for name in vectors["types"]
        for struct_digest in vectors[name]["structHashes"]
    ]
    assert (
        len(set(hashes)) == len(hashes) == len(GENERATOR["ARRAY_LENGTHS"]) * len(GENERATOR["TYPES"])
    )
