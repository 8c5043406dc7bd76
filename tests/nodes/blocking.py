"""Finds calls that block the event loop: in a coroutine, a read or write of the database, the chain
or a file.

A function blocks when it calls something known to block, or a function of ours that does. A
function that is handed to a thread is not called by the coroutine, so it is not found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tests.support.call_graph import CallGraph, Function, Key, call_graph, dotted, targets

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


def blocking_calls(modules: Mapping[str, str]) -> list[str]:
    """``module.function: what it calls`` of every blocking call in a coroutine; ``modules`` are
    texts by name.
    """
    graph = call_graph(modules)
    blocking = _blocking(graph)
    found = []
    for function in graph.functions.values():
        if function.is_coroutine:
            found += [f"{function.name}: {what}" for what in _found(graph, function, blocking)]
    return sorted(found)


def _blocking(graph: CallGraph) -> set[Key]:
    """Functions, no coroutines, that block."""
    blocking: set[Key] = set()
    plain = [function for function in graph.functions.values() if not function.is_coroutine]
    while True:
        further = {
            function.key
            for function in plain
            if function.key not in blocking and any(_found(graph, function, blocking))
        }
        if not further:
            return blocking
        blocking |= further


def _found(graph: CallGraph, function: Function, blocking: set[Key]) -> Iterator[str]:
    for call in function.calls:
        name = dotted(call.func)
        if _blocks(name) or any(
            target in blocking for target in targets(graph, function.key, name)
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
