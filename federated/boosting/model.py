"""The parties' parts of a joint forest as files, and scoring with them.

Each part holds its own party's splits. The label party's part also holds the trees, where a split
of another party is that party and a number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from federated.boosting.split_candidates import SplitCandidates
from federated.boosting.trees import Scores, TreeNode
from federated.errors import BadInput
from federated.vertical.binning import Bins
from federated.vertical.points import with_dtype_of

VERSION = 1
KIND = "forest"

T = TypeVar("T")

SplitSides = NDArray[np.bool_]
"""(rows, splits): whether a row goes left at each of a party's splits."""


@dataclass(frozen=True)
class ForestPart:
    """One party's part of a forest. ``model``: the identifier that all parts share; ``salt`` hides
    the content of the file from parties that see its digest.

    ``splits``: (index in ``bins``, number of the bin) in the order of their numbers.
    """

    model: str
    salt: str
    bins: tuple[Bins, ...]
    splits: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, model: str, salt: str, cuts: SplitCandidates, splits: Sequence[int]) -> ForestPart:
        """Build it from the cuts that a training used."""
        indexes = {bins.column: index for index, bins in enumerate(cuts.bins)}
        described = [cuts.describe(split) for split in splits]
        return cls(
            model,
            salt,
            tuple(cuts.bins),
            tuple((indexes[split["column"]], split["code"]) for split in described),
        )

    def sides(self, columns: Mapping[str, NDArray[Any]], count: int) -> SplitSides:
        """Return the side of each row at each split; ``column_missing``, ``column_differs``.

        A number goes left if its bin is not above the split's, a text if it equals the split's;
        rows without a bin go right, as in training.
        """
        sides = np.zeros((count, len(self.splits)), np.bool_)
        for index, bins in enumerate(self.bins):
            if bins.column not in columns:
                raise BadInput(
                    "column_missing",
                    f"The model needs the column {bins.column}, which the job does not name.",
                )
            codes = bins.codes(with_dtype_of(columns[bins.column], bins))
            for number, (column, code) in enumerate(self.splits):
                if column == index:
                    sides[:, number] = (
                        (codes >= 0) & (codes <= code) if bins.numeric else codes == code
                    )
        return sides

    def to_json(self) -> dict[str, Any]:
        """Return the form in the file; ``left`` is for people."""
        splits = [
            {"column": self.bins[index].column, "code": code, "left": _left(self.bins[index], code)}
            for index, code in self.splits
        ]
        columns = [asdict(column) for column in self.bins]
        return {
            "version": VERSION,
            "kind": KIND,
            "model": self.model,
            "salt": self.salt,
            "columns": columns,
            "splits": splits,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ForestPart:
        """Read it back; ``KeyError``, ``TypeError`` or ``ValueError`` if it is malformed."""
        if (value["version"], value["kind"]) != (VERSION, KIND):
            raise ValueError("of another version or kind")
        bins = tuple(
            Bins(
                **{
                    **column,
                    "edges": tuple(map(float, column["edges"])),
                    "values": tuple(column["values"]),
                }
            )
            for column in value["columns"]
        )
        indexes = {column.column: index for index, column in enumerate(bins)}
        splits = tuple((indexes[split["column"]], split["code"]) for split in value["splits"])
        if not all(
            type(code) is int and 0 <= code < len(bins[index].names) for index, code in splits
        ):
            raise ValueError("a split refers to an unknown bin")
        return cls(str(value["model"]), str(value["salt"]), bins, splits)


@dataclass(frozen=True)
class LabelForestPart:
    """The label party's part: its own splits, and the trees. ``features``: the departments that
    hold the other parts.
    """

    own: ForestPart
    party: str
    features: tuple[str, ...]
    base: float
    trees: tuple[tuple[TreeNode, ...], ...]
    about: Mapping[str, Any]

    def splits(self, party: str) -> int:
        """Return how many splits a party answers for."""
        return 1 + max(
            (node.split or 0 for nodes in self.trees for node in nodes if node.party == party),
            default=-1,
        )

    def scores(self, sides: Mapping[str, SplitSides], count: int) -> Scores:
        """Return each row's log-odds of bad from every party's sides: for a training row, the
        training's own value to the last bit.
        """
        total = np.full(count, self.base)
        for nodes in self.trees:
            at, added = np.zeros(count, np.int64), np.zeros(count)
            for index, node in enumerate(nodes):  # children follow their parents
                here = at == index
                if node.party is None:
                    added[here] = node.weight
                else:
                    left = sides[node.party][here, node.split]
                    at[here] = np.where(left, node.left or 0, node.right or 0)
            total = total + added
        return total

    def to_json(self) -> dict[str, Any]:
        """Return the form in the file."""
        more = {
            "party": self.party,
            "features": list(self.features),
            "base": self.base,
            **self.about,
        }
        return {
            **self.own.to_json(),
            **more,
            "trees": [[_node(node) for node in nodes] for nodes in self.trees],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> LabelForestPart:
        """Read it back; ``KeyError``, ``TypeError`` or ``ValueError`` if it is malformed."""
        own, party, features = (
            ForestPart.from_json(value),
            str(value["party"]),
            tuple(map(str, value["features"])),
        )
        trees = tuple(tuple(TreeNode(**node) for node in nodes) for nodes in value["trees"])
        forest = cls(own, party, features, float(value["base"]), trees, {})
        if not all(
            _is_valid(node, index, len(nodes), (party, *features))
            for nodes in trees
            for index, node in enumerate(nodes)
        ):
            raise ValueError("a tree is malformed")
        if forest.splits(party) > len(own.splits):
            raise ValueError("a tree refers to an unknown split")
        return forest


def read_part(data: bytes) -> ForestPart:
    """Read any party's part from ``model.json``; ``model_malformed``."""
    return _read(data, ForestPart.from_json)


def read_forest(data: bytes) -> LabelForestPart | None:
    """Read the label party's part from ``model.json``, or None if it is a department's;
    ``model_malformed``.
    """
    return _read(data, lambda value: LabelForestPart.from_json(value) if "trees" in value else None)


def _read(data: bytes, parse: Callable[[Any], T]) -> T:
    try:
        return parse(json.loads(data))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInput("model_malformed", f"The model's file is malformed: {error}.") from error


def model_bytes(part: ForestPart | LabelForestPart) -> bytes:
    """Return ``model.json``."""
    return json.dumps(part.to_json(), ensure_ascii=False, indent=1).encode()


def _left(bins: Bins, code: int) -> list[str]:
    return bins.names[: code + 1] if bins.numeric else [bins.names[code]]


def _node(node: TreeNode) -> dict[str, Any]:
    if node.party is None:
        return {"rows": node.rows, "weight": node.weight}
    return {
        "rows": node.rows,
        "gain": node.gain,
        "party": node.party,
        "split": node.split,
        "left": node.left,
        "right": node.right,
    }


def _is_valid(node: TreeNode, index: int, count: int, parties: Sequence[str]) -> bool:
    if node.party is None:
        return type(node.weight) in (int, float)
    split, left, right = node.split, node.left, node.right
    if type(split) is not int or type(left) is not int or type(right) is not int:
        return False
    return (
        node.party in parties and split >= 0 and all(index < way < count for way in (left, right))
    )
