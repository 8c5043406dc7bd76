"""Federated training inside Flower: a ``ServerApp`` and a ``ClientApp`` over ``secagg``.

Runs in Flower's environment (``requirements/flower.in``), with this project on the path. Flower
carries and authenticates messages and starts processes; ``training`` and ``secagg`` decide what is
sent. Keys and shares for all rounds are exchanged first; then each round takes three exchanges:
vectors, confirmations, shares. A node that does not answer in time is missing from that round's
sum, and may be back in the next.

The server carries all messages between members. A member does not trust it with these:

- Before the first answer the owner's gate must approve the digest of the plan; nothing is charged
  or opened without that.
- The keys it shares with are signed under its peers' registered keys (``signatures``), which the
  owner configures.
- Each step of a sum is answered once, however many messages arrive at once.
- Its confirmation covers the parameters it received, so that a sum over members with different ones
  is never revealed.

Settings are JSON. The server's: ``plan`` (name, members, parameters), ``nodes`` (member to Flower's
node id), ``out`` (a folder), ``patience`` (seconds an exchange may take). A node's, named in its
``node_config`` and written by its owner: ``plan`` (the same), ``party``, ``gate`` (the folder of
the data officer's approvals), ``key`` (the file of the key its node is registered under), ``keys``
(each peer's registered public key), ``rows`` (a CSV file), ``state`` (a folder of its own),
``budget`` (its ledger, if the plan is private).
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import json
import math
import secrets
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from numpy.typing import NDArray

from federated.errors import BadInput, Forbidden, PeerFault, QiaolianError
from federated.gate import FolderGate
from federated.horizontal.budget import Budget
from federated.horizontal.files import locked, write_atomically
from federated.horizontal.models import Vector, digest_of
from federated.horizontal.secagg import advert_digest
from federated.horizontal.secagg_aggregator import Aggregator
from federated.horizontal.secagg_member import Member
from federated.horizontal.signatures import is_signed, private_key, sign
from federated.horizontal.training import TrainingPlan
from federated.numbers import DEFAULT_MISSING, digit_pattern, parse_number
from federated.randomness import Randomness
from registry.encodings import detected

_POLL = 0.1
_SIGNATURES = "signatures"
Tables = Mapping[int, Mapping[str, bytes]]

client = ClientApp()
server = ServerApp()


def read_plan(value: Mapping[str, Any]) -> TrainingPlan:
    """Read a plan from the settings."""
    return TrainingPlan.read(value["name"], value["members"], value["parameters"])


# --- A member -------------------------------------------------------------------------------------


@client.query()  # type: ignore[untyped-decorator]
def answer(message: Message, context: Context) -> Message:
    """Answer one step; a refusal is answered with its code."""
    try:
        settings = json.loads(
            Path(str(context.node_config["settings"])).read_text(encoding="utf-8"),
        )
        content = FlowerMember(settings).answer(message.content)
    except QiaolianError as error:
        content = RecordDict(
            {"refused": ConfigRecord({"code": error.code, "sentence": error.sentence})},
        )
    return Message(content, reply_to=message)


class FlowerMember:
    """A member for the length of one message: Flower starts a process for each message.

    State between messages is in the member's own folder, written before the answer is sent: Flower
    stores its own state only afterwards, and a step answered twice could reveal two secrets.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings, self._plan = settings, read_plan(settings["plan"])
        self._folder = (
            Path(settings["state"]) / hashlib.sha256(self._plan.name.encode()).hexdigest()
        )

    def answer(self, content: RecordDict) -> RecordDict:
        """Run the step that the server asks for; ``message_unexpected``, ``message_malformed``."""
        try:
            step, number = (
                content.config_records["step"]["name"],
                content.config_records["step"]["number"],
            )
            tables = unpack(content)
        except (KeyError, ValueError, AttributeError) as error:
            raise PeerFault("message_malformed", "The server's message lacks a part.") from error
        steps: dict[Any, Callable[[], RecordDict]] = {
            "keys": self._keys,
            "shares": lambda: self._shares(tables, signatures_of(content)),
            "masked": lambda: self._masked(number, tables, content),
            "confirm": lambda: pack(
                {
                    number: self._step(
                        number,
                        lambda member: member.confirm(sorted(tables.get(number, {}))),
                    )
                }
            ),
            "reveal": lambda: pack(
                {number: self._step(number, lambda member: member.reveal(tables.get(number, {})))},
            ),
        }
        if not isinstance(step, str) or step not in steps or number not in self._plan.sums:
            raise PeerFault(
                "message_unexpected",
                "The server asks for a step that is not in the plan.",
            )
        return steps[step]()

    def _keys(self) -> RecordDict:
        with locked(self._folder.with_suffix(".lock")):
            if self._folder.exists():
                raise PeerFault(
                    "message_unexpected",
                    "The server asks for keys of this plan a second time.",
                )
            key = private_key(Path(self._settings.get("key", "")))
            self._permit()
            if self._plan.private:  # charge the whole training before anything depends on data
                Budget(Path(self._settings["budget"])).charge(self._plan.name, self._plan.cost)
            self._folder.mkdir(mode=0o700)
            return self._advertise(key)

    def _permit(self) -> None:
        """Require the owner's gate to approve this plan; ``gate_missing`` and the gate's codes."""
        if not self._settings.get("gate"):
            raise Forbidden(
                "gate_missing",
                "This party's settings name no gate, so the plan cannot have been approved.",
                hint="Name its folder: gate.",
            )
        asyncio.run(
            FolderGate(Path(self._settings["gate"])).permit(
                self._plan,
                self._settings["party"],
                now=int(time.time()),
            )
        )

    def _advertise(self, key: EllipticCurvePrivateKey) -> RecordDict:
        """Return keys for all sums, and this party's signature over them."""
        name, adverts = self._settings["party"], dict[int, dict[str, bytes]]()
        for number in self._plan.sums:
            member = Member(self._plan.terms(number), name, secrets.token_bytes(32))
            adverts[number] = {name: member.advertise()}
            write_atomically(self._folder / str(number), member.dump())
        signature = sign(key, list(self._digests(name, adverts).values()))
        return RecordDict({**pack(adverts), _SIGNATURES: ConfigRecord({name: signature})})

    def _shares(self, tables: Tables, signatures: Mapping[str, bytes]) -> RecordDict:
        if (
            set(tables) != set(self._plan.sums)
            or len({frozenset(table) for table in tables.values()}) != 1
        ):
            raise PeerFault(
                "message_malformed",
                "The server's lists of keys are not one for each sum "
                "of the plan, with the same members.",
            )
        peers = set(tables[0]) - {self._settings["party"]}
        attested = {peer: self._attested(peer, tables, signatures.get(peer, b"")) for peer in peers}
        shared = {}
        for number, roster in tables.items():
            digests_of_sum = {peer: digests[number] for peer, digests in attested.items()}
            shared[number] = self._step(
                number,
                partial(Member.share, roster=roster, attested=digests_of_sum),
            )
        return pack(shared)

    def _attested(self, peer: str, tables: Tables, signature: bytes) -> dict[int, bytes]:
        """Return the digests of a peer's keys that its registered key signed.

        Raises:
            PeerFault: ``keys_differ``; BadInput: ``peer_key_missing``.
        """
        digests, public = self._digests(peer, tables), self._settings.get("keys", {}).get(peer)
        if public is None:
            raise BadInput(
                "peer_key_missing",
                f"This party's settings have no registered key of {peer}.",
                hint="Get it from its owner: keys.",
            )
        if not is_signed(public, list(digests.values()), signature):
            raise PeerFault(
                "keys_differ",
                f"The keys that the server sent as {peer}'s are not "
                f"signed with {peer}'s registered key.",
                peer=peer,
            )
        return digests

    def _digests(self, name: str, adverts: Tables) -> dict[int, bytes]:
        return {
            number: advert_digest(self._plan.terms(number), name, adverts[number][name])
            for number in self._plan.sums
        }

    def _masked(self, number: int, tables: Tables, content: RecordDict) -> RecordDict:
        common = array_of(content, "common", np.dtype(np.float64), self._plan.model.size)

        def act(member: Member) -> NDArray[Any]:
            rows, labels = self._plan.prepare(read_rows(Path(self._settings["rows"]), self._plan))
            vector = self._plan.contribution(
                number,
                common,
                rows,
                labels,
                Randomness(secrets.token_bytes(32)),
            )
            return member.mask(vector, tables.get(number, {}), digest_of(common))

        return RecordDict({"vector": ArrayRecord([self._step(number, act)])})

    def _step(self, number: int, act: Callable[[Member], Any]) -> Any:
        """Run one step of one sum under a lock.

        The new state is on disk before the answer is sent or another message for this sum is read.
        It is stored even if the step is refused, so that it cannot be tried again. Without keys,
        which require the gate's approval, there is no step.
        """
        path = self._folder / str(number)
        if not path.exists():
            raise PeerFault("message_unexpected", "The server asks for a step before the keys.")
        with locked(path.with_suffix(".lock")):
            member = Member.load(self._plan.terms(number), path.read_bytes())
            try:
                return act(member)
            finally:
                write_atomically(path, member.dump())


def read_rows(path: Path, plan: TrainingPlan) -> dict[str, NDArray[Any]]:
    """Read the plan's columns of a CSV file.

    Numbers are float64 (empty: NaN), texts are objects (empty: None).

    Raises:
        BadInput: ``rows_unreadable``, ``column_unknown``, ``number_malformed``.
    """
    features, label = plan.parameters["features"], plan.parameters["label"]
    texts = {name for name, form in features.items() if isinstance(form[0], str)}
    if plan.parameters["positive"] is not None:
        texts.add(label)
    try:
        encoding = detected(path) or "utf-8"
        with path.open(
            encoding="utf-8-sig" if encoding == "utf-8" else encoding,
            newline="",
        ) as file:
            rows = list(csv.DictReader(file))
        return {
            name: np.array([row[name] or None for row in rows], object)
            if name in texts
            else np.array(
                [_number(row[name], name, line, path) for line, row in enumerate(rows, start=2)],
                np.float64,
            )
            for name in (*features, label)
        }
    except KeyError as error:
        hint = "Compare the plan with the file's first line."
        raise BadInput(
            "column_unknown",
            f"The rows in {path.name} have no column {error.args[0]}.",
            hint=hint,
        ) from error
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise BadInput(
            "rows_unreadable",
            f"The rows in {path.name} cannot be read: {error}.",
        ) from error


def _number(cell: str | None, name: str, line: int, path: Path) -> float:
    """Return a cell of a numeric column; NaN for an empty one."""
    number = math.nan if cell in (None, *DEFAULT_MISSING) else parse_number(cell)
    if number is None:
        seen = f"{digit_pattern(cell or '')!r} (9 is any digit, a any letter)"
        hint = "Write plain numbers without units, and nothing where there is no value."
        raise BadInput(
            "number_malformed",
            f"Line {line} of {path.name} has {seen} in the column {name}, which is numeric.",
            hint=hint,
        )
    return number


# --- The server -----------------------------------------------------------------------------------


@server.main()  # type: ignore[untyped-decorator]
def train(grid: Grid, context: Context) -> None:
    """Run the whole training.

    Writes ``result.json`` (metrics, or the code of what failed) and ``parameters.json`` into
    ``out``.
    """
    settings = json.loads(Path(str(context.run_config["settings"])).read_text(encoding="utf-8"))
    out = Path(settings["out"])
    session = _Server(
        grid,
        read_plan(settings["plan"]),
        settings["nodes"],
        float(settings["patience"]),
    )
    try:
        common, metrics = session.run()
        _write(out / "parameters.json", common.tolist())
        _write(out / "result.json", metrics)
    except QiaolianError as error:
        _write(
            out / "result.json",
            {"code": error.code, "sentence": error.sentence, "refused": session.refused},
        )
        raise


class _Server:
    """The aggregator: sends each step to all nodes, waits, and passes on the answers."""

    def __init__(
        self, grid: Grid, plan: TrainingPlan, nodes: Mapping[str, int], patience: float
    ) -> None:
        self._grid, self._plan, self._nodes, self._patience = grid, plan, nodes, patience
        self.refused: dict[str, str] = {}

    def run(self) -> tuple[Vector, dict[str, Any]]:
        """Run all sums; return the last parameters, and metrics."""
        aggregators = {number: Aggregator(self._plan.terms(number)) for number in self._plan.sums}
        self._wait_for_nodes()
        self._prepare(aggregators)
        common, metrics, survivors = self._plan.initial(), dict[str, Any](), list[int]()
        for number, aggregator in aggregators.items():
            total, present = self._sum(number, aggregator, common)
            survivors.append(len(present))
            if number == self._plan.rounds:
                metrics = self._plan.evaluation(total)
            else:
                common = self._plan.step(common, total, present)
        return common, metrics | {
            "rounds": self._plan.rounds,
            "survivors": survivors,
            "refused": self.refused,
            "micro_rho": self._plan.cost,
        }

    def _wait_for_nodes(self) -> None:
        deadline = time.monotonic() + self._patience
        while time.monotonic() < deadline and not set(self._nodes.values()) <= set(
            self._grid.get_node_ids(),
        ):
            time.sleep(_POLL)

    def _prepare(self, aggregators: Mapping[int, Aggregator]) -> None:
        """Exchange keys and shares of all sums."""
        numbers = list(aggregators)
        answers = self._ask("keys", 0, dict.fromkeys(self._plan.members, RecordDict()))
        adverts = {name: unpack(content) for name, content in answers.items()}
        signatures = {
            name: signatures_of(content).get(name, b"") for name, content in answers.items()
        }
        rosters = {
            number: aggregators[number].collect_keys(
                {name: _own(name, advert, number) for name, advert in adverts.items()},
            )
            for number in numbers
        }
        request = RecordDict({**pack(rosters), _SIGNATURES: ConfigRecord(dict(signatures))})
        replies = self._ask("shares", 0, dict.fromkeys(adverts, request))
        shares = {name: unpack(content) for name, content in replies.items()}
        self._sealed = {
            number: aggregators[number].route_shares(
                {name: share.get(number, {}) for name, share in shares.items()},
            )
            for number in numbers
        }

    def _sum(
        self,
        number: int,
        aggregator: Aggregator,
        common: Vector,
    ) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """One sum, over whoever answers."""
        requests = {name: pack({number: table}) for name, table in self._sealed[number].items()}
        for request in requests.values():
            request["common"] = ArrayRecord([common])
        terms = self._plan.terms(number)
        replies = self._ask("masked", number, requests)
        vectors = {
            name: array_of(content, "vector", terms.dtype, terms.length)
            for name, content in replies.items()
        }
        survivors = aggregator.add_masked(vectors)
        survivor_list = pack({number: dict.fromkeys(survivors, b"")})
        confirmed = self._table("confirm", number, dict.fromkeys(survivors, survivor_list))
        routed = aggregator.route_confirmations(confirmed)
        revealed = self._table(
            "reveal",
            number,
            {name: pack({number: table}) for name, table in routed.items()},
        )
        return aggregator.unmask(revealed), survivors

    def _table(
        self,
        step: str,
        number: int,
        requests: Mapping[str, RecordDict],
    ) -> dict[str, Mapping[str, bytes]]:
        return {
            name: unpack(content).get(number, {})
            for name, content in self._ask(step, number, requests).items()
        }

    def _ask(
        self,
        step: str,
        number: int,
        requests: Mapping[str, RecordDict],
    ) -> dict[str, RecordDict]:
        """Send one request to each of these members.

        Returns the answers that arrive in time, without refusals.
        """
        order = ConfigRecord({"name": step, "number": number})
        names = {self._nodes[name]: name for name in requests}
        messages = [
            Message(
                RecordDict({**content, "step": order}),
                dst_node_id=self._nodes[name],
                message_type="query",
                ttl=self._patience,
            )
            for name, content in requests.items()
        ]
        pending, answers = set(self._grid.push_messages(messages)), dict[str, RecordDict]()
        deadline = time.monotonic() + self._patience
        while pending and time.monotonic() < deadline:
            for reply in self._grid.pull_messages(pending):
                pending.discard(reply.metadata.reply_to_message_id)
                name = names.get(reply.metadata.src_node_id)
                if name is None or reply.has_error():
                    continue
                if "refused" in reply.content:
                    self.refused[name] = str(
                        reply.content.config_records["refused"].get("code", ""),
                    )[:64]
                else:
                    answers[name] = reply.content
            time.sleep(_POLL)
        return {name: answers[name] for name in requests if name in answers}


def pack(tables: Tables) -> RecordDict:
    """Return records from tables: sum to member to bytes."""
    return RecordDict({str(number): ConfigRecord(dict(table)) for number, table in tables.items()})


def unpack(content: RecordDict) -> dict[int, dict[str, bytes]]:
    """Return tables from records; anything else is left out, so that it counts as missing."""
    tables = {}
    for key, record in content.config_records.items():
        if key.isdecimal() and len(key) < 10:
            tables[int(key)] = _byte_strings(record)
    return tables


def signatures_of(content: RecordDict) -> dict[str, bytes]:
    """Return member to signature; anything else is left out."""
    if _SIGNATURES not in content.config_records:
        return {}
    return _byte_strings(content.config_records[_SIGNATURES])


def _byte_strings(record: Mapping[str, Any]) -> dict[str, bytes]:
    return {name: value for name, value in record.items() if isinstance(value, bytes)}


def array_of(content: RecordDict, name: str, dtype: np.dtype[Any], length: int) -> NDArray[Any]:
    """Return the one array of a record, of this type and length; ``message_malformed``."""
    try:
        (array,) = content.array_records[name].to_numpy_ndarrays()
    except (KeyError, ValueError, TypeError, EOFError) as error:
        raise PeerFault("message_malformed", f"A message lacks the array {name}.") from error
    if (
        array.dtype != dtype
        or array.shape != (length,)
        or (dtype.kind == "f" and not np.isfinite(array).all())
    ):
        raise PeerFault(
            "message_malformed",
            f"The array {name} is not {dtype} [{length}] of finite numbers.",
        )
    return np.asarray(array)


def _own(name: str, tables: Tables, number: int) -> bytes:
    """Return the keys that a member advertised for itself."""
    return tables.get(number, {}).get(name, b"")


def _write(path: Path, value: Any) -> None:
    write_atomically(path, json.dumps(value, ensure_ascii=False, indent=1).encode())
