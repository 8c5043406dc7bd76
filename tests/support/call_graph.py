"""Which functions of our sources call which, by name.

The analysis is of the source alone. A call is followed by name through imports, ``self`` and methods
whose name is defined once.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
Key = tuple[str, str, str]
"""Module, class (empty for none), function."""


@dataclass
class Function:
    key: Key
    is_coroutine: bool
    calls: list[ast.Call]
    body: list[ast.stmt]

    @property
    def name(self) -> str:
        """``module.Class.function``."""
        return ".".join(filter(None, self.key))


@dataclass
class CallGraph:
    functions: dict[Key, Function] = field(default_factory=dict)
    imports: dict[str, dict[str, str]] = field(default_factory=dict)
    methods: dict[str, list[Key]] = field(default_factory=lambda: defaultdict(list))


def sources(packages: Collection[str]) -> dict[str, str]:
    """The text of each module of our packages, by name."""
    found = {}
    for package in packages:
        for path in (ROOT / package).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            if "migrations" not in path.parts and "node_modules" not in path.parts:
                found[name] = path.read_text(encoding="utf-8")
    return found


def call_graph(modules: Mapping[str, str]) -> CallGraph:
    """The call graph of modules given as texts by name."""
    graph = CallGraph()
    for name, text in modules.items():
        _read(graph, name, ast.parse(text))
    return graph


def _read(graph: CallGraph, module: str, tree: ast.Module) -> None:
    imports = graph.imports[module] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            imports.update(
                {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            )
        elif isinstance(node, ast.Import):
            imports.update({alias.asname or alias.name: alias.name for alias in node.names})
    _functions(graph, module, "", "", tree.body)


def _functions(graph: CallGraph, module: str, owner: str, outer: str, body: list[ast.stmt]) -> None:
    for node in body:
        if isinstance(node, ast.ClassDef):
            _functions(graph, module, node.name, "", node.body)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            key = (module, owner, f"{outer}{node.name}")
            calls = [call for statement in node.body for call in _calls(statement)]
            graph.functions[key] = Function(
                key, isinstance(node, ast.AsyncFunctionDef), calls, node.body
            )
            if owner and not outer:
                graph.methods[node.name].append(key)
            _functions(graph, module, owner, f"{outer}{node.name}.", _nested(node))


def _nested(function: ast.AST) -> list[ast.stmt]:
    """The functions defined directly in another."""
    found: list[ast.stmt] = []
    for child in ast.iter_child_nodes(function):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            found.append(child)
        elif not isinstance(child, ast.ClassDef | ast.Lambda):
            found += _nested(child)
    return found


def _calls(node: ast.AST) -> Iterator[ast.Call]:
    """Calls that run with the function itself: not those of functions and lambdas it defines."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
        return
    if isinstance(node, ast.Call):
        yield node
    for child in ast.iter_child_nodes(node):
        yield from _calls(child)


def most_calls(node: ast.AST, counts: Callable[[ast.Call], bool]) -> int:
    """How many of the calls that count run at most on one path: of two branches, one runs."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
        return 0
    if isinstance(node, ast.If):
        branches = [node.body, node.orelse]
        return most_calls(node.test, counts) + max(
            sum(most_calls(statement, counts) for statement in branch) for branch in branches
        )
    own = isinstance(node, ast.Call) and counts(node)
    return own + sum(most_calls(child, counts) for child in ast.iter_child_nodes(node))


def targets(graph: CallGraph, caller: Key, name: str) -> list[Key]:
    """The function of ours that a name means in its caller, if it is one."""
    module, owner, function = caller
    imports = graph.imports[module]
    *path, last = name.split(".")
    if not path:
        nested = (module, owner, f"{function}.{last}")
        imported = imports.get(last, "").rpartition(".")
        candidates = [nested, (module, "", last), (imported[0], "", imported[2])]
    elif path == ["self"]:
        candidates = [(module, owner, last)]
    elif path[0] in imports and len(path) == 1:
        whole = imports[path[0]]
        candidates = [(whole, "", last), (whole.rpartition(".")[0], whole.rpartition(".")[2], last)]
    else:
        candidates = graph.methods.get(last, [])
        candidates = candidates if len(candidates) == 1 else []
    return [key for key in candidates if key in graph.functions][:1]


def dotted(node: ast.AST) -> str:
    """``a.b.c`` of a name or attribute; what is no name is ``?``."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"
