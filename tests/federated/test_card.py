"""The model card: one self-contained file, deterministic for a model, with everything escaped."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from pypdf import PdfReader

from federated.card import BOTTOM, HEIGHT, LEFT, TOP, WIDTH, Baseline, Card
from federated.evaluation import ScoredRows, evaluate
from nodes.cli.main import main


def scored(seed: int, rows: int) -> ScoredRows:
    numbers = np.random.default_rng(seed)
    probability = numbers.random(rows)
    return ScoredRows(
        probability,
        600 - 40 * np.log(probability / (1 - probability)),
        numbers.random(rows) < probability,
    )


@pytest.fixture(scope="module")
def card() -> Card:
    facts = {"made of": "4 columns of the bank", "purpose": "信易贷"}
    metrics = evaluate(scored(1, 900), scored(2, 300))
    return Card(
        "Scorecard loans",
        facts,
        metrics,
        "points",
        [{"column": "Income", "value": 0.31}],
        [Baseline("bank alone", 700, metrics["train"])],
        [{"column": "tax: Records", "rows": 1_042, "first": 37}],
        ["Not a decision."],
    )


class Reader(HTMLParser):
    """Whatever in a page would load something or run."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link", "img", "iframe", "object", "image", "use") or any(
            name in ("src", "href", "onload") for name, _ in attrs
        ):
            self.loads.append(tag)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def page(card: Card) -> str:
    return card.files()["card.html"].decode()


def test_the_page_loads_nothing(card: Card) -> None:
    reader = Reader()
    reader.feed(page(card))
    assert reader.loads == []
    assert "url(" not in page(card)
    assert "http" not in page(card)


def test_the_page_says_the_figures_of_the_data(card: Card) -> None:
    reader = Reader()
    reader.feed(page(card))
    text = " ".join(reader.text)
    for name in ("train", "test"):
        for figure in ("auc", "ks", "brier"):
            assert f"{card.evaluation[name][figure]:.4f}" in text
    for text_part in ("Scorecard loans", "信易贷", "Income", "0.3100", "Not a decision."):
        assert text_part in text
    for text_part in ("bank alone", "700", "tax: Records", "1,042", "37"):
        assert text_part in text
    metrics = json.loads(card.files()["card.json"])
    assert metrics["evaluation"] == card.evaluation
    assert metrics["facts"] == card.facts


def test_a_card_is_read_back(card: Card) -> None:
    assert Card.from_json(json.loads(card.files()["card.json"])) == card


def test_the_same_card_gives_the_same_bytes(card: Card) -> None:
    assert card.files() == replace(card).files()


def test_every_plot_is_drawn_within_its_frame(card: Card) -> None:
    drawn = [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page(card), re.S)]
    assert len(drawn) == 5
    for plot in drawn:
        points = [
            tuple(map(float, pair.split(",")))
            for line in plot.iter("polyline")
            for pair in line.attrib["points"].split()
        ]
        points += [(float(bar.attrib["x"]), float(bar.attrib["y"])) for bar in plot.iter("rect")]
        assert len(points) > 1
        assert all(
            LEFT <= x <= WIDTH and TOP - 0.1 <= y <= HEIGHT - BOTTOM + 0.1 for x, y in points
        )


def test_the_bars_of_the_distribution_hold_every_test_row(card: Card) -> None:
    plot = ElementTree.fromstring(re.findall(r"<svg.*?</svg>", page(card), re.S)[-1])
    spread = card.evaluation["distribution"]
    tallest = max(map(sum, zip(spread["good"], spread["bad"], strict=True)))
    heights = sum(float(bar.attrib["height"]) for bar in plot.iter("rect"))
    assert abs(heights * tallest / (HEIGHT - BOTTOM - TOP) - 300) < 1


def test_names_are_text_and_never_markup(card: Card) -> None:
    wild = replace(
        card,
        title="<script>alert(1)</script>",
        facts={"<b>": "<img src=x>"},
        columns=[{"column": "</table><iframe>", "value": 0.1}],
        baselines=[replace(card.baselines[0], name="<script>")],
        reasons=[{"column": "<img src=x>", "rows": 1, "first": 1}],
    )
    reader = Reader()
    reader.feed(page(wild))
    assert reader.loads == []


def test_the_pdf_says_the_figures_of_the_card(
    card: Card, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "card.json", tmp_path / "card.pdf"
    source.write_bytes(card.files()["card.json"])
    command = ["federated", "card", str(source), "--organisation", "蓬江银行", "--out", str(out)]
    assert main(command) == 0
    text = " ".join(page.extract_text() for page in PdfReader(out).pages)
    figures = (f"{card.evaluation['test']['auc']:.4f}", f"{card.evaluation['stability']:.4f}")
    for text_part in ("Scorecard loans", "信易贷", "bank alone", "tax: Records", *figures):
        assert text_part in text
    assert main(command) == 2
    assert "folder_in_use" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"{}", b"[", b"[]", b'{"title": 1}', b"\xff"])
def test_a_file_that_is_no_card_is_refused(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "card.json", tmp_path / "card.pdf"
    command = ["federated", "card", str(source), "--out", str(out)]
    assert main(command) == 2
    assert "card_missing" in capsys.readouterr().err
    source.write_bytes(content)
    assert main(command) == 2
    assert "card_malformed" in capsys.readouterr().err
    assert not out.exists()
