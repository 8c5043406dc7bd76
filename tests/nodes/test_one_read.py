"""No decision reads the chain twice, by the source: what it needs is named at once and proved under
one block (ADR 28).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.support.call_graph import (
    CallGraph,
    Function,
    Key,
    call_graph,
    dotted,
    most_calls,
    sources,
    targets,
)

PACKAGES = ("registry", "exchange", "nodes")
READS = ("proved", "aproved", "require_fresh")
IN_THREADS = ("to_thread", "run_in_threadpool")
SEVERAL_DECISIONS = {
    # The totals, and each agreement by itself.
    "exchange.reconciliation.service.report",
    # Closes cooperatively; if that fails, gives notice by what the chain has then.
    "exchange.closing.service.end",
    # Whether the fine can be taken; then which governors' nodes are handed the proposal.
    "exchange.disputes.fines.propose",
    # Whether a step is over; then the call that ends or answers it is a decision of its own.
    "exchange.disputes.worker.DisputeWorker._act",
    # A start's checks, one after the other.
    "nodes.restore_guard.RestoreGuardWorker.round",
    # A round's steps, each by itself.
    "nodes.workers.evidence.EvidenceWorker._work",
    # Whether an earlier answer was refused; then the correction is a publication of its own.
    "registry.credit.disputes.answer",
}
LEDGER_WITHOUT_CALLS = ("decode_logs", "deployment", "encode", "close", "rpc")


def repeated_reads(graph: CallGraph) -> list[str]:
    """The functions that read the chain more than once on a path, directly or through others."""
    reading: set[Key] = set()
    while True:
        found = {
            function.key
            for function in graph.functions.values()
            if function.key not in reading and any(_reads(graph, function, reading))
        }
        if not found:
            break
        reading |= found
    return sorted(
        function.name
        for function in graph.functions.values()
        if _most_reads(graph, function, reading) > 1
    )


def _reads(graph: CallGraph, function: Function, reading: set[Key]) -> Iterator[ast.Call]:
    return (call for call in function.calls if _is_read(graph, function, call, reading))


def _most_reads(graph: CallGraph, function: Function, reading: set[Key]) -> int:
    return sum(
        most_calls(statement, lambda call: _is_read(graph, function, call, reading))
        for statement in function.body
    )


def _is_read(graph: CallGraph, function: Function, call: ast.Call, reading: set[Key]) -> bool:
    name = dotted(call.func)
    if name.rpartition(".")[2] in IN_THREADS and call.args:
        name = dotted(call.args[0])
    *path, last = name.split(".")
    of_view = bool(path) and path[-1].lstrip("_") == "view" and last in READS
    return of_view or any(target in reading for target in targets(graph, function.key, name))


def plain_calls(graph: CallGraph) -> list[str]:
    """Contract reads by a plain call, which proves nothing."""
    found = []
    for function in graph.functions.values():
        for call in function.calls:
            name = dotted(call.func)
            _, of_ledger, read = name.partition("ledger.")
            if of_ledger and not read.startswith(LEDGER_WITHOUT_CALLS):
                found.append(f"{function.name}: {name}")
    return found


def test_no_decision_reads_the_chain_twice() -> None:
    found = repeated_reads(call_graph(sources(PACKAGES)))
    assert set(found) == SEVERAL_DECISIONS


def test_nothing_of_registry_and_exchange_rests_on_a_plain_call() -> None:
    assert plain_calls(call_graph(sources(("registry", "exchange")))) == []


@pytest.mark.parametrize(
    ("body", "repeated"),
    [
        ("    return context.view.proved(wanted)", False),
        ("    read(context)", False),
        ("    context.view.require_fresh()\n    return context.view.proved(wanted)", True),
        ("    read(context)\n    read(context)", True),
        ("    read(context)\n    asyncio.to_thread(read, context)", True),
        ("    through(context)\n    return context.view.aproved(wanted)", True),
        ("    if new:\n        read(context)\n    else:\n        through(context)", False),
        ("    if new:\n        read(context)\n    through(context)", True),
        ("    if read(context):\n        through(context)", True),
    ],
)
def test_a_second_read_is_found_directly_and_through_functions(body: str, repeated: bool) -> None:
    module = (
        "def read(context):\n    return context.view.proved([])\n"
        "def through(context):\n    return read(context)\n"
        f"def decide(context):\n{body}\n"
    )
    assert repeated_reads(call_graph({"m": module})) == (["m.decide"] if repeated else [])


def test_a_plain_call_is_found() -> None:
    module = "def show(context):\n    return context.ledger.grants.grant(1)\n"
    assert plain_calls(call_graph({"m": module})) == ["m.show: context.ledger.grants.grant"]
