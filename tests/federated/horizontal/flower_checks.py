"""Checks of ``flower_app`` without Flower's processes, run by ``test_flower`` in Flower's own environment: plain asserts, one folder as argument."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from federated.errors import QiaolianError
from federated.horizontal.budget import Budget
from federated.horizontal.flower_app import Node, pack, read_plan, unpack
from federated.horizontal.secagg import Aggregator

NAMES = ("a", "b", "c")
PARAMETERS = {"label": "y", "features": {"x": [0, 1], "home": ["own", "rent"]}, "rounds": 1, "most_rows": 100, "batch": 2}


def settings_of(folder: Path, name: str, **more: Any) -> dict[str, Any]:
    home = folder / name
    (home / "state").mkdir(parents=True)
    (home / "rows.csv").write_text("x,home,y\n0.25,own,1\n,rent,0\n0.75,,1\n0.5,own,\n")
    Budget.create(home / "ledger.json", 0)
    plan = {"name": "check", "members": list(NAMES), "parameters": PARAMETERS | more}
    return {"plan": plan, "party": name, "rows": str(home / "rows.csv"), "state": str(home / "state"), "budget": str(home / "ledger.json")}


def asked(step: Any, number: Any = 0, **records: Any) -> RecordDict:
    return RecordDict({"step": ConfigRecord({"name": step, "number": number}), **records})


def refuses(code: str, node: Node, content: RecordDict) -> None:
    raised = ""
    try:
        node.answer(content)
    except QiaolianError as error:
        raised = error.code
    assert raised == code, (raised, code)


def main(folder: Path) -> None:
    """One sum by hand, with what a lying server may try at each step."""
    settings = {name: settings_of(folder, name) for name in NAMES}
    nodes = {name: Node(each) for name, each in settings.items()}
    plan = read_plan(settings["a"]["plan"])
    machines = {number: Aggregator(plan.terms(number)) for number in plan.sums}

    refuses("message_malformed", nodes["a"], RecordDict({}))
    refuses("message_unexpected", nodes["a"], asked("everything"))
    refuses("message_unexpected", nodes["a"], asked("keys", 99))
    refuses("message_unexpected", nodes["a"], asked("confirm"))
    adverts = {name: unpack(each.answer(asked("keys"))) for name, each in nodes.items()}
    refuses("message_unexpected", nodes["a"], asked("keys"))

    rosters = {number: machines[number].collect_keys({name: adverts[name][number][name] for name in NAMES}) for number in plan.sums}
    request = RecordDict({**pack(rosters), **asked("shares")})
    refuses("message_malformed", nodes["a"], asked("shares"))
    shares = {name: unpack(Node(settings[name]).answer(request)) for name in NAMES}
    sealed = machines[0].route_shares({name: shares[name][0] for name in NAMES})

    wrong = ArrayRecord([np.zeros(99)])
    common = ArrayRecord([plan.initial()])
    refuses("message_malformed", nodes["a"], RecordDict({**pack({0: sealed["a"]}), **asked("masked")}))
    refuses("message_malformed", nodes["a"], RecordDict({**pack({0: sealed["a"]}), **asked("masked"), "common": wrong}))
    vectors = {}
    for name in NAMES:
        reply = Node(settings[name]).answer(RecordDict({**pack({0: sealed[name]}), **asked("masked"), "common": common}))
        vectors[name] = reply.array_records["vector"].to_numpy_ndarrays()[0]
    machines[0].add_masked(vectors)

    everybody, two = (pack({0: dict.fromkeys(names, b"")}) for names in (NAMES, NAMES[:2]))
    confirmed = {name: unpack(Node(settings[name]).answer(RecordDict({**everybody, **asked("confirm")})))[0] for name in NAMES}
    refuses("both_secrets", Node(settings["a"]), RecordDict({**two, **asked("confirm")}))
    routed = machines[0].route_confirmations(confirmed)
    revealed = {}
    for name in NAMES:
        reveal = RecordDict({**pack({0: routed[name]}), **asked("reveal")})
        revealed[name] = unpack(Node(settings[name]).answer(reveal))[0]
        refuses("step_out_of_order", Node(settings[name]), reveal)
    total = machines[0].unmask(revealed)
    assert total[-1] == 9, "three rows with a label at each of three members"

    private = settings_of(folder / "private", "a", fraction=16, privacy={"clip": 1.0, "noise": 3.0})
    refuses("budget_exhausted", Node(private), asked("keys"))
    unreadable = settings_of(folder / "unreadable", "a")
    Path(unreadable["rows"]).write_text("x,home\nmuch,own\n")
    node = Node(unreadable)
    node.answer(asked("keys"))
    refuses("rows_unreadable", node, RecordDict({**asked("masked"), "common": common}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
