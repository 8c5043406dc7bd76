"""Finds calls that block the event loop: in a coroutine, a read or write of the database, the chain
or a file.

The analysis is of the source alone. A function blocks when it calls something known to block, or a
function of ours that does. A call is followed by name through imports, ``self`` and methods whose
name is defined once. A function that is handed to a thread is not called by the coroutine, so it is
not found.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

Key = tuple[str, str, str]
"""Module, class (empty for none), function."""

_OF_OBJECT = {
    "database": {"write", "read", "fetch"},
    "view": {
        "proved",
        "proof",
        "header",
        "headers",
        "logs",
        "wait_for_height",
    },
}
_LEDGER_WITHOUT_IO = {"decode_logs", "deployment", "encode", "close"}
_OF_PATHS = {"read_text", "write_text", "read_bytes", "write_bytes", "unlink", "mkdir"}
_NAMED = {"time.sleep", "os.fsync", "open", "os.open", "shutil.disk_usage", "subprocess.run"}


@dataclass
class _Function:
    key: Key
    is_coroutine: bool
    calls: list[ast.Call]


@dataclass
class _Sources:
    functions: dict[Key, _Function] = field(default_factory=dict)
    imports: dict[str, dict[str, str]] = field(default_factory=dict)
    methods: dict[str, list[Key]] = field(default_factory=lambda: defaultdict(list))


def blocking_calls(modules: Mapping[str, str]) -> list[str]:
    """``module.function: what it calls`` of every blocking call in a coroutine; ``modules`` are
    texts by name.
    """
    sources = _Sources()
    for name, text in modules.items():
        _read(sources, name, ast.parse(text))
    blocking = _blocking(sources)
    found = []
    for function in sources.functions.values():
        if function.is_coroutine:
            found += [
                f"{'.'.join(filter(None, function.key))}: {what}"
                for what in _found(sources, function, blocking)
            ]
    return sorted(found)


def _read(sources: _Sources, module: str, tree: ast.Module) -> None:
    imports = sources.imports[module] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            imports.update(
                {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            )
        elif isinstance(node, ast.Import):
            imports.update({alias.asname or alias.name: alias.name for alias in node.names})
    _functions(sources, module, "", "", tree.body)


def _functions(
    sources: _Sources, module: str, owner: str, outer: str, body: list[ast.stmt]
) -> None:
    for node in body:
        if isinstance(node, ast.ClassDef):
            _functions(sources, module, node.name, "", node.body)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            key = (module, owner, f"{outer}{node.name}")
            calls = [call for statement in node.body for call in _calls(statement)]
            sources.functions[key] = _Function(key, isinstance(node, ast.AsyncFunctionDef), calls)
            if owner and not outer:
                sources.methods[node.name].append(key)
            _functions(sources, module, owner, f"{outer}{node.name}.", _nested(node))


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


def _blocking(sources: _Sources) -> set[Key]:
    """Functions, no coroutines, that block."""
    blocking: set[Key] = set()
    plain = [function for function in sources.functions.values() if not function.is_coroutine]
    while True:
        further = {
            function.key
            for function in plain
            if function.key not in blocking and any(_found(sources, function, blocking))
        }
        if not further:
            return blocking
        blocking |= further


def _found(sources: _Sources, function: _Function, blocking: set[Key]) -> Iterator[str]:
    for call in function.calls:
        name = _dotted(call.func)
        if _blocks(name) or any(
            target in blocking for target in _targets(sources, function.key, name)
        ):
            yield name


def _blocks(name: str) -> bool:
    *path, last = name.split(".")
    owner = path[-1].lstrip("_") if path else ""
    if name in _NAMED or last in _OF_OBJECT.get(owner, ()):
        return True
    return bool(path) and (
        last in _OF_PATHS or (owner == "ledger" and last not in _LEDGER_WITHOUT_IO)
    )


def _targets(sources: _Sources, caller: Key, name: str) -> list[Key]:
    module, owner, function = caller
    imports = sources.imports[module]
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
        candidates = sources.methods.get(last, [])
        candidates = candidates if len(candidates) == 1 else []
    return [key for key in candidates if key in sources.functions][:1]


def _dotted(node: ast.AST) -> str:
    """``a.b.c`` of a name or attribute; what is no name is ``?``."""
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"
