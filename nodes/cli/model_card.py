"""A model card as PDF, for the file of the committee that decides on a model. It is set from
``card.json``, which the label party's attempt holds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from federated.card import Card
from federated.errors import BadInput
from nodes.console.pdf import Block, Document, Facts, Heading, Paragraph, Table, pdf_bytes

_METRICS = ("auc", "gini", "ks", "brier", "log_loss")
_HEADERS = ("AUC", "Gini", "KS", "Brier", "log loss")
_MAX_BYTES = 4 << 20


def read_card(path: Path) -> Card:
    """Read ``card.json``; ``card_missing``, ``card_malformed``."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(
            "card_missing",
            f"The model card {path} cannot be read.",
            hint="It is card.json in the output folder of the label party's attempt.",
        ) from error
    try:
        if len(data) > _MAX_BYTES:
            raise ValueError("too long")
        card = Card.from_json(json.loads(data))
        document(card, organisation="", made_at=0)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadInput(
            "card_malformed",
            f"{path.name} is not a model card.",
            hint="Name card.json of a training with this version.",
        ) from error
    return card


def card_pdf(card: Card, *, organisation: str, made_at: int) -> bytes:
    """Return the PDF file; ``pdf_font_missing``. ``made_at``: Unix seconds."""
    return pdf_bytes(document(card, organisation=organisation, made_at=made_at))


def document(card: Card, *, organisation: str, made_at: int) -> Document:
    """Return what the file shows."""
    return Document(
        title=card.title,
        organisation=organisation,
        language="en",
        made_at=made_at,
        blocks=list(_blocks(card)),
    )


def _blocks(card: Card) -> Iterator[Block]:
    yield Heading("What it is 模型")
    yield Facts([(str(label), str(value)) for label, value in card.facts.items()])
    yield Heading("How good it is 评价")
    rows = [_row(name, card.evaluation[name]) for name in ("train", "test")]
    headers = ["rows", "count", "bad", *_HEADERS]
    yield Table(headers, rows, (3, 2, 2, 2, 2, 2, 2, 2), frozenset(range(1, 8)))
    yield Paragraph(
        f"Population stability index of the scores, training to test: "
        f"{card.evaluation['stability']:.4f}",
        quiet=True,
    )
    if card.baselines:
        yield Heading("Beside other models, on the same test rows 对照")
        yield Table(
            ["model", "training rows", "AUC", "KS", "Brier"],
            list(_beside(card)),
            (6, 2, 2, 2, 2),
            frozenset(range(1, 5)),
        )
    yield Heading("Deciles of the test rows, the riskiest first 提升")
    yield Table(
        ["decile", "times the mean bad rate", "bad rows caught so far"],
        [
            [str(place), f"{lift:.2f}", f"{gain:.1%}"]
            for place, (lift, gain) in enumerate(
                zip(card.evaluation["lift"], card.evaluation["gains"], strict=True), start=1
            )
        ],
        (1, 2, 2),
        frozenset({1, 2}),
    )
    yield Heading("Calibration on the test rows 校准")
    yield Table(
        ["rows", "predicted chance of bad", "share that was bad"],
        [
            [f"{group['rows']:,}", f"{group['probability']:.4f}", f"{group['bad']:.4f}"]
            for group in card.evaluation["calibration"]
        ],
        (1, 2, 2),
        frozenset({0, 1, 2}),
    )
    if card.columns:
        yield Heading("What each column says 信息值")
        columns = [[str(line["column"]), f"{line['value']:.4f}"] for line in card.columns]
        yield Table(["column", "information value"], columns, (4, 2), frozenset({1}))
    if card.reasons:
        yield Heading("Why test rows score below the cut-off 低分原因")
        reasons = [
            [str(line["column"]), f"{line['rows']:,}", f"{line['first']:,}"]
            for line in card.reasons
        ]
        headers = ["column", "rows with this reason", "as the first reason"]
        yield Table(headers, reasons, (4, 2, 2), frozenset({1, 2}))
    yield Heading("What it is not 限制")
    yield from map(Paragraph, card.limits)


def _beside(card: Card) -> Iterator[Sequence[str]]:
    trained, figures = card.evaluation["train"]["rows"], ("auc", "ks", "brier")
    everything = [("this model", trained, card.evaluation["test"])]
    everything += [(line.name, line.training_rows, line.test) for line in card.baselines]
    for name, rows, test in everything:
        yield [name, f"{rows:,}", *(f"{test[figure]:.4f}" for figure in figures)]


def _row(name: str, metrics: Mapping[str, Any]) -> list[str]:
    counts = [f"{metrics['rows']:,}", f"{metrics['bad']:,}"]
    return [name, *counts, *(f"{metrics[figure]:.4f}" for figure in _METRICS)]
