"""Checks of ``flower_app`` without Flower's processes, run by ``test_flower`` in Flower's own
environment: plain asserts, one folder as argument.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from federated.errors import QiaolianError
from federated.gate import FolderGate
from federated.horizontal.budget import Budget
from federated.horizontal.flower_app import FlowerMember, pack, read_plan, signatures_of, unpack
from federated.horizontal.secagg_aggregator import Aggregator
from federated.horizontal.secagg_member import Member

NAMES = ("a", "b", "c")
NODES = {name: ec.generate_private_key(ec.SECP384R1()) for name in NAMES}
PARAMETERS = {
    "label": "y",
    "features": {"x": [0, 1], "home": ["own", "rent"]},
    "rounds": 1,
    "max_rows": 100,
    "batch": 2,
}


def settings_of(folder: Path, name: str, **more: Any) -> dict[str, Any]:
    home = folder / name
    (home / "state").mkdir(parents=True)
    (home / "rows.csv").write_text("x,home,y\n0.25,own,1\n,rent,0\n0.75,,1\n0.5,own,\n")
    Budget.create(home / "ledger.json", 0)
    form = (
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    (home / "node").write_bytes(NODES[name].private_bytes(*form))
    plan = {"name": "check", "members": list(NAMES), "parameters": PARAMETERS | more}
    FolderGate(home / "approvals").approve(read_plan(plan), uses=1, not_after=2**40, by="Li")
    paths = {
        "rows": "rows.csv",
        "state": "state",
        "budget": "ledger.json",
        "gate": "approvals",
        "key": "node",
    }
    return {
        "plan": plan,
        "party": name,
        "keys": public_keys(),
        **{setting: str(home / path) for setting, path in paths.items()},
    }


def public_keys() -> dict[str, str]:
    form = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    return {name: key.public_key().public_bytes(*form).decode() for name, key in NODES.items()}


def step_request(step: Any, number: Any = 0, **records: Any) -> RecordDict:
    return RecordDict({"step": ConfigRecord({"name": step, "number": number}), **records})


def refuses(code: str, node: FlowerMember, content: RecordDict) -> None:
    raised = ""
    try:
        node.answer(content)
    except QiaolianError as error:
        raised = error.code
    assert raised == code, (raised, code)


def keys_request(
    rosters: Mapping[int, Mapping[str, bytes]],
    signatures: Mapping[str, bytes],
) -> RecordDict:
    return RecordDict(
        {**pack(rosters), **step_request("shares"), "signatures": ConfigRecord(dict(signatures))},
    )


class SecureSum:
    """Three members of one plan, who have advertised their keys."""

    def __init__(self, folder: Path) -> None:
        self.settings = {name: settings_of(folder, name) for name in NAMES}
        self.plan = read_plan(self.settings["a"]["plan"])
        answers = {name: self.node(name).answer(step_request("keys")) for name in NAMES}
        adverts = {name: unpack(answer) for name, answer in answers.items()}
        self.signatures = {name: signatures_of(answer)[name] for name, answer in answers.items()}
        self.rosters = {
            number: {name: adverts[name][number][name] for name in NAMES}
            for number in self.plan.sums
        }

    def node(self, name: str) -> FlowerMember:
        return FlowerMember(self.settings[name])

    def sealed(self) -> dict[str, dict[str, bytes]]:
        aggregator = Aggregator(self.plan.terms(0))
        aggregator.collect_keys(self.rosters[0])
        request = keys_request(self.rosters, self.signatures)
        return aggregator.route_shares(
            {name: unpack(self.node(name).answer(request))[0] for name in NAMES},
        )


def check_that_nothing_is_read_or_charged_without_a_yes(folder: Path) -> None:
    for name, gate in (("none", None), ("empty", "nowhere"), ("other", "approvals")):
        settings = settings_of(folder / name, "a", fraction=16, privacy={"clip": 1.0, "noise": 3.0})
        if name == "other":  # what was approved is another plan of the same name
            settings["plan"]["parameters"] = settings["plan"]["parameters"] | {"rounds": 2}
        settings["gate"] = None if gate is None else str(folder / name / "a" / gate)
        Path(settings["budget"]).unlink()
        Budget.create(Path(settings["budget"]), 10**9)
        Path(settings["rows"]).unlink()  # whoever opens it fails with another code
        node = FlowerMember(settings)
        refuses("gate_missing" if gate is None else "gate_refused", node, step_request("keys"))
        refuses(
            "message_unexpected",
            node,
            RecordDict({**step_request("masked"), "common": ArrayRecord([node._plan.initial()])}),
        )
        assert Budget(Path(settings["budget"])).balance().spent == 0


def check_that_forged_keys_are_refused(folder: Path) -> None:
    """The server gives ``a`` keys of its own for ``b`` and ``c``: it could open the shares of ``a``
    and read its vector.
    """
    honest = SecureSum(folder)
    forged = {number: dict(roster) for number, roster in honest.rosters.items()}
    for number, roster in forged.items():
        for name in "bc":
            roster[name] = Member(
                honest.plan.terms(number),
                name,
                bytes([number + 1]) * 31 + name.encode(),
            ).advertise()
    node = honest.node("a")
    refuses("keys_differ", node, keys_request(forged, honest.signatures))
    refuses("keys_differ", node, keys_request(honest.rosters, {}))
    refuses(
        "keys_differ",
        node,
        keys_request(honest.rosters, honest.signatures | {"b": honest.signatures["c"]}),
    )
    refuses(
        "keys_differ",
        node,
        keys_request(
            {**honest.rosters, 1: {**honest.rosters[1], "c": forged[1]["c"]}},
            honest.signatures,
        ),
    )
    refuses(
        "message_malformed",
        node,
        keys_request(
            {**honest.rosters, 1: {name: honest.rosters[1][name] for name in "ab"}},
            honest.signatures,
        ),
    )
    del honest.settings["a"]["keys"]["c"]
    refuses("peer_key_missing", honest.node("a"), keys_request(honest.rosters, honest.signatures))


def check_that_two_messages_at_once_are_not_both_answered(folder: Path) -> None:
    """The same masks over two vectors would reveal their difference: of a true change and of what a
    chosen model gives.
    """
    honest = SecureSum(folder)
    sealed, length = honest.sealed(), honest.plan.terms(0).length
    both, answered = threading.Barrier(2), list[Any]()

    def ask(vector: Any) -> None:
        def act(member: Member) -> Any:
            with suppress(threading.BrokenBarrierError):
                both.wait(
                    2,
                )  # until the other has loaded the same state, or long enough to see that it cannot
            answered.append(member.mask(vector, sealed["a"]))

        with suppress(QiaolianError, OSError):
            honest.node("a")._step(0, act)

    threads = [threading.Thread(target=ask, args=(np.full(length, value),)) for value in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answered) == 1, f"{len(answered)} messages were answered for one step"


def check_that_members_with_different_models_reveal_nothing(folder: Path) -> None:
    honest = SecureSum(folder)
    aggregator, sealed = Aggregator(honest.plan.terms(0)), honest.sealed()
    aggregator.collect_keys(honest.rosters[0])
    aggregator.senders, vectors = NAMES, {}
    for name in NAMES:
        common = honest.plan.initial() + (5.0 if name == "a" else 0.0)
        reply = honest.node(name).answer(
            RecordDict(
                {
                    **pack({0: sealed[name]}),
                    **step_request("masked"),
                    "common": ArrayRecord([common]),
                }
            )
        )
        vectors[name] = reply.array_records["vector"].to_numpy_ndarrays()[0]
    survivor_list = pack({0: dict.fromkeys(aggregator.add_masked(vectors), b"")})
    confirmed = {
        name: unpack(
            honest.node(name).answer(RecordDict({**survivor_list, **step_request("confirm")})),
        )[0]
        for name in NAMES
    }
    routed = aggregator.route_confirmations(confirmed)
    for name in NAMES:
        refuses(
            "survivors_differ",
            honest.node(name),
            RecordDict({**pack({0: routed[name]}), **step_request("reveal")}),
        )


def check_a_sum(folder: Path) -> None:
    """One sum by hand, with what a lying server may try at each step."""
    settings = {name: settings_of(folder, name) for name in NAMES}
    nodes = {name: FlowerMember(setting) for name, setting in settings.items()}
    plan = read_plan(settings["a"]["plan"])
    aggregators = {number: Aggregator(plan.terms(number)) for number in plan.sums}

    refuses("message_malformed", nodes["a"], RecordDict({}))
    refuses("message_unexpected", nodes["a"], step_request("everything"))
    refuses("message_unexpected", nodes["a"], step_request("keys", 99))
    refuses("message_unexpected", nodes["a"], step_request("confirm"))
    answers = {name: node.answer(step_request("keys")) for name, node in nodes.items()}
    adverts = {name: unpack(answer) for name, answer in answers.items()}
    signatures = {name: signatures_of(answer)[name] for name, answer in answers.items()}
    refuses("message_unexpected", nodes["a"], step_request("keys"))

    rosters = {
        number: aggregators[number].collect_keys(
            {name: adverts[name][number][name] for name in NAMES},
        )
        for number in plan.sums
    }
    request = keys_request(rosters, signatures)
    refuses("message_malformed", nodes["a"], step_request("shares"))
    shares = {name: unpack(FlowerMember(settings[name]).answer(request)) for name in NAMES}
    sealed = aggregators[0].route_shares({name: shares[name][0] for name in NAMES})

    wrong = ArrayRecord([np.zeros(99)])
    common = ArrayRecord([plan.initial()])
    refuses(
        "message_malformed",
        nodes["a"],
        RecordDict({**pack({0: sealed["a"]}), **step_request("masked")}),
    )
    refuses(
        "message_malformed",
        nodes["a"],
        RecordDict({**pack({0: sealed["a"]}), **step_request("masked"), "common": wrong}),
    )
    vectors = {}
    for name in NAMES:
        reply = FlowerMember(settings[name]).answer(
            RecordDict({**pack({0: sealed[name]}), **step_request("masked"), "common": common}),
        )
        vectors[name] = reply.array_records["vector"].to_numpy_ndarrays()[0]
    aggregators[0].add_masked(vectors)

    everybody, two = (pack({0: dict.fromkeys(names, b"")}) for names in (NAMES, NAMES[:2]))
    confirmed = {
        name: unpack(
            FlowerMember(settings[name]).answer(
                RecordDict({**everybody, **step_request("confirm")})
            ),
        )[0]
        for name in NAMES
    }
    refuses(
        "both_secrets", FlowerMember(settings["a"]), RecordDict({**two, **step_request("confirm")})
    )
    routed = aggregators[0].route_confirmations(confirmed)
    revealed = {}
    for name in NAMES:
        reveal = RecordDict({**pack({0: routed[name]}), **step_request("reveal")})
        revealed[name] = unpack(FlowerMember(settings[name]).answer(reveal))[0]
        refuses("step_out_of_order", FlowerMember(settings[name]), reveal)
    total = aggregators[0].unmask(revealed)
    assert total[-1] == 9, "three rows with a label at each of three members"

    private = settings_of(folder / "private", "a", fraction=16, privacy={"clip": 1.0, "noise": 3.0})
    refuses("budget_exhausted", FlowerMember(private), step_request("keys"))
    unreadable = settings_of(folder / "unreadable", "a")
    Path(unreadable["rows"]).write_text("x,home\nmuch,own\n")
    node = FlowerMember(unreadable)
    node.answer(step_request("keys"))
    refuses("number_malformed", node, RecordDict({**step_request("masked"), "common": common}))


def main(folder: Path) -> None:
    """All checks."""
    check_a_sum(folder / "sum")
    check_that_nothing_is_read_or_charged_without_a_yes(folder / "gate")
    check_that_forged_keys_are_refused(folder / "keys")
    check_that_two_messages_at_once_are_not_both_answered(folder / "once")
    check_that_members_with_different_models_reveal_nothing(folder / "models")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
