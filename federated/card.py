"""Model cards: what a model is, what it was trained on and how good it is, as ``card.json`` and
``card.html``.

The page is self-contained: its plots are inline SVG and it loads nothing. The same card gives the
same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TEMPLATES = Path(__file__).parent / "templates"
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 420, 280, 46, 34, 12
"""Geometry of a plot in SVG units. The plotting area begins at ``LEFT`` and ``TOP`` and ends at the
right edge and above ``BOTTOM``.
"""


@dataclass(frozen=True)
class Baseline:
    """Another model that was evaluated on the test rows of the card's model.

    ``training_rows``: how many it was trained on. ``test``: ``federated.evaluation.metrics``.
    """

    name: str
    training_rows: int
    test: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the form in the card."""
        return {"name": self.name, "training_rows": self.training_rows, "test": dict(self.test)}


@dataclass(frozen=True)
class Card:
    """The content of a model card.

    ``facts``: label to value, in reading order. ``evaluation``: the result of
    ``federated.evaluation.evaluate``. ``columns``: ``{"column", "value"}`` with information values,
    strongest first. ``baselines``: other models on the same test rows. ``reasons``: ``{"column",
    "rows", "first"}``, how many test rows have the column as a reason for a low score.
    ``limits``: sentences on what the model must not be used for.
    """

    title: str
    facts: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    score: str = "score"
    columns: Sequence[Mapping[str, Any]] = ()
    baselines: Sequence[Baseline] = ()
    reasons: Sequence[Mapping[str, Any]] = ()
    limits: Sequence[str] = field(default_factory=tuple)

    def files(self) -> dict[str, bytes]:
        """Return ``card.json`` and ``card.html``."""
        return {
            "card.json": json.dumps(self.to_json(), ensure_ascii=False, indent=1).encode(),
            "card.html": _page(self).encode(),
        }

    def to_json(self) -> dict[str, Any]:
        """Return the card as JSON."""
        return {
            "version": 1,
            "title": self.title,
            "facts": dict(self.facts),
            "score": self.score,
            "columns": [dict(column) for column in self.columns],
            "baselines": [baseline.to_json() for baseline in self.baselines],
            "reasons": [dict(reason) for reason in self.reasons],
            "limits": list(self.limits),
            "evaluation": dict(self.evaluation),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Card:
        """Read ``card.json``."""
        return cls(
            value["title"],
            value["facts"],
            value["evaluation"],
            value["score"],
            value["columns"],
            [Baseline(**baseline) for baseline in value["baselines"]],
            value["reasons"],
            value["limits"],
        )


def _page(card: Card) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    frame = {
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "right": WIDTH - 8,
        "top": TOP,
        "bottom": HEIGHT - BOTTOM,
    }
    return environment.get_template("card.html").render(
        card=card, e=card.evaluation, plots=_plots(card.evaluation, card.score), frame=frame
    )


# --- Plots ----------------------------------------------------------------------------------------


def _plots(evaluation: Mapping[str, Any], score: str) -> list[dict[str, Any]]:
    test, roc = evaluation["test"], evaluation["roc"]
    bad = test["bad"] / test["rows"]
    refused = [good * (1 - bad) + caught * bad for good, caught in roc]
    lift, spread = evaluation["lift"], evaluation["distribution"]
    tallest = max(max(lift), 1.0)
    probabilities = [
        group[name] for group in evaluation["calibration"] for name in ("probability", "bad")
    ]
    reach = max(*probabilities, 1e-6)
    return [
        _plot(
            "ROC",
            f"AUC {test['auc']:.4f}",
            "good rows refused",
            "bad rows refused",
            lines=[_line([(0, 0), (1, 1)], "even"), _line(roc, "bad")],
        ),
        _plot(
            "Kolmogorov and Smirnov",
            f"KS {test['ks']:.4f}",
            "rows refused, the riskiest first",
            "good (blue) and bad (red) among them",
            lines=[
                _line(zip(refused, (good for good, _ in roc), strict=True), "good"),
                _line(zip(refused, (caught for _, caught in roc), strict=True), "bad"),
            ],
        ),
        _plot(
            "Lift",
            f"first decile {lift[0]:.2f} times the mean",
            "deciles, the riskiest first",
            "bad rows, times the mean",
            bars=_bars([lift], tallest, ["bad"]),
            lines=[_line([(0, 1 / tallest), (1, 1 / tallest)], "even")],
            y_ends=("0", f"{tallest:.1f}"),
            x_ends=("1", str(len(lift))),
        ),
        _plot(
            "Calibration",
            f"Brier score {test['brier']:.4f}",
            "predicted chance",
            "share that was bad",
            lines=[
                _line([(0, 0), (1, 1)], "even"),
                _line(
                    [
                        (group["probability"] / reach, group["bad"] / reach)
                        for group in evaluation["calibration"]
                    ],
                    "bad",
                    dots=True,
                ),
            ],
            y_ends=("0", f"{reach:.2f}"),
            x_ends=("0", f"{reach:.2f}"),
        ),
        _plot(
            "Distribution",
            f"stability index {evaluation['stability']:.4f}",
            score,
            "good (blue) and bad (red) rows, test",
            bars=_bars(
                [spread["good"], spread["bad"]],
                max(map(sum, zip(spread["good"], spread["bad"], strict=True))),
                ["good", "bad"],
            ),
            y_ends=("0", str(max(map(sum, zip(spread["good"], spread["bad"], strict=True))))),
            x_ends=(f"{spread['edges'][0]:.5g}", f"{spread['edges'][-1]:.5g}"),
        ),
    ]


def _plot(
    title: str,
    caption: str,
    x: str,
    y: str,
    *,
    lines: Sequence[Mapping[str, Any]] = (),
    bars: Sequence[Mapping[str, Any]] = (),
    x_ends: tuple[str, str] = ("0", "1"),
    y_ends: tuple[str, str] = ("0", "1"),
) -> dict[str, Any]:
    return {
        "title": title,
        "caption": caption,
        "x": x,
        "y": y,
        "lines": lines,
        "bars": bars,
        "x_ends": x_ends,
        "y_ends": y_ends,
    }


def _pixel(x: float, y: float) -> tuple[float, float]:
    """Map the unit square to the plotting area."""
    return LEFT + x * (WIDTH - 8 - LEFT), HEIGHT - BOTTOM - y * (HEIGHT - BOTTOM - TOP)


def _line(points: Iterable[Sequence[float]], kind: str, *, dots: bool = False) -> dict[str, Any]:
    pixels = [_pixel(*point) for point in points]
    return {
        "kind": kind,
        "points": " ".join(f"{x:.1f},{y:.1f}" for x, y in pixels),
        "dots": [(f"{x:.1f}", f"{y:.1f}") for x, y in pixels if dots],
    }


def _bars(
    stacked: Sequence[Sequence[float]], tallest: float, kinds: Sequence[str]
) -> list[dict[str, Any]]:
    """Return stacked bars of equal width, later sequences on top of earlier ones."""
    count, bars = len(stacked[0]), []
    for index, values in enumerate(zip(*stacked, strict=True)):
        below = 0.0
        for value, kind in zip(values, kinds, strict=True):
            (left, top), (right, bottom) = (
                _pixel(index / count, (below + value) / tallest),
                _pixel((index + 1) / count, below / tallest),
            )
            numbers = {"x": left + 1, "y": top, "width": right - left - 2, "height": bottom - top}
            bars.append(
                {"kind": kind, **{name: f"{number:.1f}" for name, number in numbers.items()}}
            )
            below += value
    return bars
