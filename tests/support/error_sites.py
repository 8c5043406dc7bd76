"""Where the program raises errors: each literal code, the class it is raised as and its line.

A code may pass through a function: a parameter that becomes the first argument of an error makes
its function one that raises, and the literals given to it count as raised.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

FunctionDef = ast.FunctionDef | ast.AsyncFunctionDef


Call = tuple[ast.Call, str]
"""A call, and the name of the class around it."""


class RaiseSite(NamedTuple):
    """One literal code that is raised, and as which class of error."""

    code: str
    error_class: str
    where: str


@dataclass(frozen=True)
class _Raiser:
    """A function whose parameter is the code of an error."""

    position: int | None
    parameter: str
    classes: frozenset[str]


class ErrorSites:
    """The raise sites of a set of modules, given by dotted name."""

    def __init__(self, modules: Mapping[str, ast.Module]) -> None:
        self._modules = modules
        self._parents = _error_parents(modules)
        self._imports = {name: _imports(tree) for name, tree in modules.items()}
        self._functions = {name: list(_functions(tree)) for name, tree in modules.items()}
        self._raisers: dict[tuple[str, str], _Raiser] = {}
        while self._find_raisers():
            pass

    @classmethod
    def of(cls, root: Path, packages: tuple[str, ...]) -> ErrorSites:
        """Of the packages under a directory."""
        paths = [path for package in packages for path in sorted((root / package).rglob("*.py"))]
        return cls({_dotted(path.relative_to(root)): _parsed(path) for path in paths})

    @cached_property
    def all(self) -> list[RaiseSite]:
        """Every raise site with a literal code."""
        return list(self._sites())

    def _sites(self) -> Iterator[RaiseSite]:
        for module, tree in self._modules.items():
            for call, enclosing in _calls(tree):
                where = f"{module}:{call.lineno}"
                for argument, classes in self._codes_of(module, call, enclosing):
                    for code in _literals(argument):
                        yield from (RaiseSite(code, name, where) for name in sorted(classes))

    def public_class(self, name: str, registered: Mapping[str, object]) -> str:
        """The nearest class of the registry: the class itself or an ancestor."""
        while name not in registered and name in self._parents:
            name = self._parents[name]
        return name

    def _codes_of(
        self, module: str, call: ast.Call, enclosing: str
    ) -> Iterator[tuple[ast.expr, frozenset[str]]]:
        name = _called(call)
        if name in self._parents and call.args:
            yield call.args[0], frozenset({name})
        if name == "__init__" and enclosing in self._parents and call.args:
            yield call.args[0], frozenset({enclosing})
        raiser = self._raiser(module, call)
        if raiser is None:
            return
        argument = _argument(call, raiser)
        if argument is not None:
            yield argument, raiser.classes

    def _raiser(self, module: str, call: ast.Call) -> _Raiser | None:
        name = _called(call)
        own = self._raisers.get((module, name))
        if own:
            return own
        imports = self._imports[module]
        if isinstance(call.func, ast.Name):
            return self._raisers.get(imports.get(name, ("", "")))
        owner = getattr(call.func, "value", None)
        if isinstance(owner, ast.Name) and owner.id in imports:
            return self._raisers.get((".".join(imports[owner.id]), name))
        return None

    def _find_raisers(self) -> bool:
        """Note functions that hand a parameter on as a code; whether any was new."""
        before = dict(self._raisers)
        for module, functions in self._functions.items():
            for function, calls in functions:
                self._note(module, function, calls)
        return self._raisers != before

    def _note(self, module: str, function: FunctionDef, calls: Sequence[Call]) -> None:
        positional = [item.arg for item in function.args.posonlyargs + function.args.args]
        parameters = {*positional, *(item.arg for item in function.args.kwonlyargs)}
        bound = positional[:1] in (["self"], ["cls"])
        for call, enclosing in calls:
            for argument, classes in self._codes_of(module, call, enclosing):
                if isinstance(argument, ast.Name) and argument.id in parameters:
                    known = self._raisers.get((module, function.name))
                    self._raisers[module, function.name] = _Raiser(
                        positional.index(argument.id) - bound
                        if argument.id in positional
                        else None,
                        argument.id,
                        classes | (known.classes if known else frozenset()),
                    )


def string_constants(tree: ast.AST) -> set[str]:
    """Every literal text of a module."""
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def _error_parents(modules: Mapping[str, ast.Module]) -> dict[str, str]:
    """Every class of errors, with the class it extends."""
    found = {"QiaolianError": "Exception"}
    classes = [
        node
        for tree in modules.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    ]
    before = 0
    while len(found) != before:
        before = len(found)
        for node in classes:
            for base in node.bases:
                name = getattr(base, "id", getattr(base, "attr", ""))
                if name in found:
                    found.setdefault(node.name, name)
    return found


def _functions(tree: ast.Module) -> Iterator[tuple[FunctionDef, list[Call]]]:
    """Every function but constructors, with the calls that name something."""
    for function in ast.walk(tree):
        if isinstance(function, FunctionDef) and function.name != "__init__":
            yield function, [call for call in _calls(function) if _hands_on_a_name(call[0])]


def _hands_on_a_name(call: ast.Call) -> bool:
    given = (*call.args, *(keyword.value for keyword in call.keywords))
    return any(isinstance(value, ast.Name) for value in given)


def _calls(tree: ast.AST) -> Iterator[Call]:
    """Every call with the name of the class around it."""
    waiting = [(tree, "")]
    while waiting:
        parent, enclosing = waiting.pop()
        for node in ast.iter_child_nodes(parent):
            if isinstance(node, ast.Call):
                yield node, enclosing
            waiting.append((node, node.name if isinstance(node, ast.ClassDef) else enclosing))


def _imports(tree: ast.Module) -> dict[str, tuple[str, str]]:
    return {
        alias.asname or alias.name: (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


def _called(call: ast.Call) -> str:
    return str(getattr(call.func, "id", getattr(call.func, "attr", "")))


def _argument(call: ast.Call, raiser: _Raiser) -> ast.expr | None:
    for keyword in call.keywords:
        if keyword.arg == raiser.parameter:
            return keyword.value
    if raiser.position is not None and raiser.position < len(call.args):
        return call.args[raiser.position]
    return None


def _literals(argument: ast.expr) -> list[str]:
    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
        return [argument.value]
    if isinstance(argument, ast.IfExp):
        return _literals(argument.body) + _literals(argument.orelse)
    return []


def _dotted(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))
