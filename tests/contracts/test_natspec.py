"""The contracts' NatSpec is whole: what each external function is for, takes, returns, emits and
reverts with, as solc's own syntax tree shows it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from contracts import NAMES
from contracts.compile import compiler_output

Node = dict[str, Any]
"""A node of solc's syntax tree."""

BODIES = ("FunctionDefinition", "ModifierDefinition")


@dataclass(frozen=True)
class Definitions:
    """The declarations of all sources, by the syntax tree's number."""

    by_id: dict[int, Node]

    @classmethod
    def of(cls, sources: Node) -> Definitions:
        trees = (node for source in sources.values() for node in descendants(source["ast"]))
        return cls({node["id"]: node for node in trees})

    def functions(self, contract: str) -> list[Node]:
        """The functions of a contract that others call, and its constructor."""
        owner = next(
            node
            for node in self.by_id.values()
            if node["nodeType"] == "ContractDefinition" and node["name"] == contract
        )
        return [
            node
            for node in owner["nodes"]
            if node["nodeType"] == "FunctionDefinition"
            and (node["visibility"] in ("external", "public") or node["kind"] == "constructor")
        ]

    def reached(self, function: Node, kind: str) -> set[str]:
        """The names of the events or errors that a function, and whatever it calls, mentions."""
        seen: set[int] = set()
        pending, found = [function], set()
        while pending:
            node = pending.pop()
            for part in descendants([node.get("body"), node.get("modifiers")]):
                number = part.get("referencedDeclaration")
                if number in seen or number not in self.by_id:
                    continue
                seen.add(number)
                declaration = self.by_id[number]
                if declaration["nodeType"] == kind:
                    found.add(declaration["name"])
                elif declaration["nodeType"] in BODIES:
                    pending.append(declaration)
        return found


def descendants(value: Any) -> Iterator[Node]:
    """A part of a syntax tree and all parts below it that are nodes."""
    if isinstance(value, list):
        for item in value:
            yield from descendants(item)
    elif isinstance(value, dict):
        if "id" in value and "nodeType" in value:
            yield value
        for item in value.values():
            yield from descendants(item)


@pytest.fixture(scope="module")
def definitions() -> Definitions:
    return Definitions.of(compiler_output({"*": {"": ["ast"]}})["sources"])


def text_of(function: Node) -> str:
    return str((function.get("documentation") or {}).get("text", ""))


def named_after(tag: str, text: str) -> set[str]:
    """The names that a tag lists: its capitalised words."""
    found = re.search(rf"@custom:{tag} ([^@]*)", text)
    return set(re.findall(r"\b[A-Z]\w+", found[1])) if found else set()


@pytest.mark.parametrize("contract", [*NAMES, "Membership"])
def test_every_function_says_what_it_is_for_takes_and_returns(
    definitions: Definitions, contract: str
) -> None:
    lacking = {}
    for function in definitions.functions(contract):
        text = text_of(function)
        takes = {item["name"] for item in function["parameters"]["parameters"]}
        returns = len(function["returnParameters"]["parameters"])
        if (
            not re.search(r"@notice \w", text)
            or set(re.findall(r"@param (\w+) \w", text)) != takes
            or len(re.findall(r"@return \w", text)) != returns
        ):
            lacking[function["name"] or "constructor"] = text
    assert lacking == {}


@pytest.mark.parametrize("contract", [*NAMES, "Membership"])
@pytest.mark.parametrize(
    ("tag", "kind"), [("emits", "EventDefinition"), ("reverts", "ErrorDefinition")]
)
def test_every_function_names_the_events_and_errors_it_reaches_and_no_others(
    definitions: Definitions, contract: str, tag: str, kind: str
) -> None:
    stated, reached = {}, {}
    for function in definitions.functions(contract):
        name = function["name"] or "constructor"
        stated[name] = named_after(tag, text_of(function))
        reached[name] = definitions.reached(function, kind)
    assert stated == reached
