"""``report.json`` for programs and ``report.html`` for people, from the same figures."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from chain.core.zone import local_time
from scripts.federated_demo.tables import MORTGAGES, SOURCE

TEMPLATES = Path(__file__).parent.parent / "templates"
_COLOURS = ("#5b6b7a", "#1f5fa8", "#2c7a4b", "#0f8b8d", "#8d6e63", "#7b4fa0", "#b7791f")
SETS = {SOURCE: "loans 贷款: modeldata/credit_data", MORTGAGES: "mortgages 按揭: AER/HMDA"}
_SIDE, _LEFT = 300, 40


def write(out: Path, report: dict[str, Any]) -> None:
    """Write both files into ``out``."""
    (out / "report.json").write_text(
        json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    (out / "report.html").write_text(_page(report), encoding="utf-8")


def _page(report: dict[str, Any]) -> str:
    from jinja2 import Environment, FileSystemLoader, select_autoescape

    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=select_autoescape())
    cards = [
        ("firms known to all 共有企业", f"{report['psi_rows']:,}"),
        ("AUC, bank alone 银行自有", f"{report['auc_bank']:.3f}"),
        ("AUC, joint scorecard 联合", f"{report['auc_joint']:.3f}"),
        ("AUC, joint trees 联合树", f"{report['boost_auc']:.3f}"),
        ("AUC, pooled data 集中", f"{report['auc_pooled']:.3f}"),
        ("bytes read without a yes 未授权读取", report["bytes_read_without_yes"]),
        ("peak memory (MB)", report["peak_memory_mb"]),
    ]
    models = [
        {
            **model,
            "test": model["evaluation"]["test"],
            "colour": colour,
            "curve": _curve(model["evaluation"]["roc"]),
        }
        for source in SETS
        for model, colour in zip(
            (model for model in report["models"] if model["source"] == source),
            _COLOURS,
            strict=False,
        )
    ]
    made_at = local_time(time.time())
    return environment.get_template("federated.html").render(
        r=report, cards=cards, models=models, sets=SETS, made_at=made_at, side=_SIDE, left=_LEFT
    )


def _curve(roc: list[list[float]]) -> str:
    """Points of an SVG polyline: good rows refused to the right, bad rows refused upwards."""
    return " ".join(f"{_LEFT + good * _SIDE:.1f},{_SIDE * (1 - bad) + 10:.1f}" for good, bad in roc)
