"""The parties' parts of a joint forest as files, and how rows are scored by them.

A part says what its own party's splits ask; the label party's has the trees besides, where a split of another party is that party and a number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from federated.boosting.cuts import Cuts
from federated.boosting.trees import Node, Scores
from federated.errors import BadInput
from federated.vertical.binning import Bins
from federated.vertical.points import typed

VERSION = 1
KIND = "forest"

T = TypeVar("T")

Sides = NDArray[np.bool_]
"""(rows, splits): whether a row goes left at each of a party's splits."""


@dataclass(frozen=True)
class Part:
    """One party's part. ``model``: what all parts of one forest have in common; ``salt`` keeps the file's digest from telling anything of it.

    ``splits``: (place in ``bins``, bin's number) of each, in the order of their numbers.
    """

    model: str
    salt: str
    bins: tuple[Bins, ...]
    splits: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, model: str, salt: str, cuts: Cuts, splits: Sequence[int]) -> Part:
        """From the cuts that a training has used."""
        places = {bins.column: place for place, bins in enumerate(cuts.bins)}
        described = [cuts.describe(each) for each in splits]
        return cls(model, salt, tuple(cuts.bins), tuple((places[each["column"]], each["code"]) for each in described))

    def sides(self, columns: Mapping[str, NDArray[Any]], count: int) -> Sides:
        """Where each row goes at each split; ``column_missing``, ``column_differs``.

        A number goes left if its bin is not above the split's, a text if it is the split's; what stands in no bin goes right, as in the training.
        """
        sides = np.zeros((count, len(self.splits)), np.bool_)
        for place, bins in enumerate(self.bins):
            if bins.column not in columns:
                raise BadInput("column_missing", f"The model needs the column {bins.column}, which the job does not name.")
            codes = bins.codes(typed(columns[bins.column], bins))
            for number, (column, code) in enumerate(self.splits):
                if column == place:
                    sides[:, number] = (codes >= 0) & (codes <= code) if bins.numeric else codes == code
        return sides

    def to_json(self) -> dict[str, Any]:
        """For the file; ``left`` is for people."""
        splits = [{"column": self.bins[place].column, "code": code, "left": _left(self.bins[place], code)} for place, code in self.splits]
        columns = [asdict(each) for each in self.bins]
        return {"version": VERSION, "kind": KIND, "model": self.model, "salt": self.salt, "columns": columns, "splits": splits}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Part:
        """Read it back; ``KeyError``, ``TypeError`` or ``ValueError`` if it is none."""
        if (value["version"], value["kind"]) != (VERSION, KIND):
            raise ValueError("of another version or kind")
        bins = tuple(Bins(**{**each, "edges": tuple(map(float, each["edges"])), "values": tuple(each["values"])}) for each in value["columns"])
        places = {each.column: place for place, each in enumerate(bins)}
        splits = tuple((places[each["column"]], each["code"]) for each in value["splits"])
        if not all(type(code) is int and 0 <= code < len(bins[place].names) for place, code in splits):
            raise ValueError("a split asks for a bin that is none")
        return cls(str(value["model"]), str(value["salt"]), bins, splits)


@dataclass(frozen=True)
class LabelPart:
    """The label party's part: its own splits, and all parties' trees. ``features``: the departments that hold the other parts."""

    own: Part
    party: str
    features: tuple[str, ...]
    base: float
    trees: tuple[tuple[Node, ...], ...]
    about: Mapping[str, Any]

    def splits(self, party: str) -> int:
        """How many splits a party answers for."""
        return 1 + max((node.split or 0 for nodes in self.trees for node in nodes if node.party == party), default=-1)

    def scores(self, sides: Mapping[str, Sides], count: int) -> Scores:
        """Each row's log-odds of bad, from every party's sides: what the training gave for the same row, to the last bit."""
        total = np.full(count, self.base)
        for nodes in self.trees:
            at, added = np.zeros(count, np.int64), np.zeros(count)
            for place, node in enumerate(nodes):  # children stand behind their parents
                here = at == place
                if node.party is None:
                    added[here] = node.weight
                else:
                    left = sides[node.party][here, node.split]
                    at[here] = np.where(left, node.left or 0, node.right or 0)
            total = total + added
        return total

    def to_json(self) -> dict[str, Any]:
        """For the file."""
        more = {"party": self.party, "features": list(self.features), "base": self.base, **self.about}
        return {**self.own.to_json(), **more, "trees": [[_node(each) for each in nodes] for nodes in self.trees]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> LabelPart:
        """Read it back; ``KeyError``, ``TypeError`` or ``ValueError`` if it is none."""
        own, party, features = Part.from_json(value), str(value["party"]), tuple(map(str, value["features"]))
        trees = tuple(tuple(Node(**each) for each in nodes) for nodes in value["trees"])
        forest = cls(own, party, features, float(value["base"]), trees, {})
        if not all(_sound(node, place, len(nodes), (party, *features)) for nodes in trees for place, node in enumerate(nodes)):
            raise ValueError("a tree is none")
        if forest.splits(party) > len(own.splits):
            raise ValueError("a tree asks for a split that is none")
        return forest


def read_part(data: bytes) -> Part:
    """Any party's part from ``model.json``; ``model_malformed``."""
    return _read(data, Part.from_json)


def read_forest(data: bytes) -> LabelPart | None:
    """The label party's part from ``model.json``, None if it is a department's; ``model_malformed``."""
    return _read(data, lambda value: LabelPart.from_json(value) if "trees" in value else None)


def _read(data: bytes, parse: Callable[[Any], T]) -> T:
    try:
        return parse(json.loads(data))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInput("model_malformed", f"The model's file is none of this version: {error}.") from error


def file_of(part: Part | LabelPart) -> bytes:
    """``model.json``."""
    return json.dumps(part.to_json(), ensure_ascii=False, indent=1).encode()


def _left(bins: Bins, code: int) -> list[str]:
    return bins.names[: code + 1] if bins.numeric else [bins.names[code]]


def _node(node: Node) -> dict[str, Any]:
    if node.party is None:
        return {"rows": node.rows, "weight": node.weight}
    return {"rows": node.rows, "gain": node.gain, "party": node.party, "split": node.split, "left": node.left, "right": node.right}


def _sound(node: Node, place: int, count: int, parties: Sequence[str]) -> bool:
    if node.party is None:
        return type(node.weight) in (int, float)
    ways = node.split, node.left, node.right
    whole = all(type(each) is int for each in ways)
    return whole and node.party in parties and ways[0] >= 0 and all(place < each < count for each in ways[1:])  # type: ignore[operator]
