"""Compiles the contracts and writes their artifacts; ``--check`` proves the committed ones
reproducible.

``python -m contracts.compile [--check]``. The compiler is the npm build of solc behind
``contracts/tools/solc``, driven by py-solc-x.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from contracts import ARTIFACTS, NAMES

ROOT = Path(__file__).parent
SETTINGS: dict[str, Any] = {
    "evmVersion": "cancun",
    "optimizer": {"enabled": True, "runs": 200},
    "metadata": {"bytecodeHash": "none", "appendCBOR": False},
    "remappings": ["@openzeppelin/=node_modules/@openzeppelin/"],
}
OUTPUT = {"*": {"*": ["abi", "evm.bytecode.object", "storageLayout"]}}


def compile_all() -> dict[str, str]:
    """The artifact texts by contract name, compiled again."""
    output = compiler_output(OUTPUT)
    return {name: _artifact(name, output["contracts"][f"src/{name}.sol"][name]) for name in NAMES}


def compiler_output(selection: dict[str, Any]) -> dict[str, Any]:
    """What solc answers for ``src`` and all it imports, as its JSON interface's
    ``outputSelection`` asks.
    """
    import solcx

    sources: dict[str, dict[str, str]] = {}
    pending = [f"src/{path.name}" for path in sorted((ROOT / "src").glob("*.sol"))]
    while pending:
        name = pending.pop()
        if name not in sources:
            text = (ROOT / name).read_text(encoding="utf-8")
            sources[name] = {"content": text}
            pending.extend(_imports(name, text))
    settings = {**SETTINGS, "outputSelection": selection}
    output: dict[str, Any] = solcx.compile_standard(
        {"language": "Solidity", "sources": sources, "settings": settings},
        solc_binary=str(ROOT / "tools" / "solc"),
    )
    return output


def _imports(name: str, text: str) -> list[str]:
    """The source names that ``text`` imports, as paths below the contracts' folder."""
    found = []
    for target in re.findall(r'^import\s[^;"]*"([^"]+)";', text, flags=re.MULTILINE):
        if target.startswith("@openzeppelin/"):
            found.append("node_modules/" + target)
        else:
            found.append(str((ROOT / name).parent.joinpath(target).resolve().relative_to(ROOT)))
    return found


def _artifact(name: str, compiled: dict[str, Any]) -> str:
    storage = {
        item["label"].lstrip("_"): int(item["slot"])
        for item in compiled["storageLayout"]["storage"]
    }
    value = {
        "contractName": name,
        "abi": compiled["abi"],
        "bytecode": "0x" + compiled["evm"]["bytecode"]["object"],
        "storage": storage,
    }
    return json.dumps(value, indent=1, sort_keys=True) + "\n"


def main() -> int:
    """Write the artifacts, or with ``--check`` compare them."""
    fresh = compile_all()
    if "--check" in sys.argv[1:]:
        differing = [name for name, text in fresh.items() if not _same(name, text)]
        if differing:
            print(
                f"The committed artifacts of {', '.join(differing)} "
                "are not what the sources compile to."
            )
            print("Run: .venv/bin/python -m contracts.compile")
            return 1
        print(f"{len(fresh)} contracts compile to exactly the committed artifacts.")
        return 0
    ARTIFACTS.mkdir(exist_ok=True)
    for name, text in fresh.items():
        (ARTIFACTS / f"{name}.json").write_text(text, encoding="utf-8")
        print(f"{name}: {(len(json.loads(text)['bytecode']) - 2) // 2} bytes")
    return 0


def _same(name: str, text: str) -> bool:
    path = ARTIFACTS / f"{name}.json"
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
