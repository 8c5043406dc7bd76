"""``report.json`` for programs and ``report.html`` for people, from the same figures."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from chain.core.zone import local_time

TEMPLATES = Path(__file__).parent.parent / "templates"
_COLOURS = {
    "department": "#1f5fa8",
    "bank": "#2c7a4b",
    "supervisor": "#b7791f",
    "operator": "#6b4fa0",
    "settlement bank": "#2c7a4b",
    "agency": "#5b6b7a",
}


def write(
    out: Path,
    report: dict[str, Any],
    *,
    members: list[dict[str, str]],
    agreements: list[dict[str, Any]],
) -> None:
    """Write both files into ``out``.

    ``members`` carry ``name``, ``english``, ``role`` and ``validator`` ("yes" or "");
    ``agreements`` carry ``name``, ``served``, ``refused`` and the chain's ``opened``, ``paid`` and
    ``refunded`` in fen.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.json").write_text(
        json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    (out / "report.html").write_text(_page(report, members, agreements), encoding="utf-8")


def _page(
    report: dict[str, Any], members: list[dict[str, str]], agreements: list[dict[str, Any]]
) -> str:
    from jinja2 import Environment, FileSystemLoader, select_autoescape

    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=select_autoescape())
    trade = report["trade"]
    view = {**report, "calls_text": f"{trade['calls']} metered calls"}
    cards = [
        ("metered calls 计量调用", trade["calls"]),
        ("refused, unbilled 拒绝", trade["refused"]),
        ("free calls 无偿共享", trade["free_calls"]),
        ("paid 已付 (yuan)", _yuan(trade["paid_fen"])),
        ("refunded 已退 (yuan)", _yuan(trade["refunded_fen"])),
        ("disputes ended 争议", trade["disputes"]),
        ("home deals registered 登记", report["property"]["registered"]),
        ("records lost 丢失", len(report["lost_records"])),
        ("revocation bites 撤销生效 (s)", report["revocation_seconds"]),
        ("peak memory (MB)", report["peak_memory_mb"]),
    ]
    return environment.get_template("report.html").render(
        r=view,
        cards=cards,
        made_at=local_time(time.time()),
        network=_network(members),
        trade_rows=_trade_rows(agreements),
        money_rows=_money_rows(agreements),
    )


def _network(members: list[dict[str, str]]) -> dict[str, Any]:
    rows = [members[start : start + 4] for start in range(0, len(members), 4)]
    nodes = [
        {
            "x": 40 + column * 236,
            "y": 20 + row * 80,
            "name": member["name"],
            "role": _title(member),
            "colour": _COLOURS.get(member["role"], "#5b6b7a"),
        }
        for row, line in enumerate(rows)
        for column, member in enumerate(line)
    ]
    chain_y = 30 + len(rows) * 80
    validators = [
        {"x": 60 + index * 225, "name": member["english"]}
        for index, member in enumerate([item for item in members if item["validator"]])
    ]
    return {"nodes": nodes, "validators": validators, "chain_y": chain_y, "height": chain_y + 110}


def _title(member: dict[str, str]) -> str:
    """The English name, and the role unless the name says it."""
    role = member["role"]
    return (
        member["english"] if member["english"].lower() == role else f"{member['english']} · {role}"
    )


def _trade_rows(agreements: list[dict[str, Any]]) -> list[dict[str, Any]]:
    most = (
        max([agreement["served"] + agreement["refused"] for agreement in agreements], default=1)
        or 1
    )
    return [
        {
            **agreement,
            "served_width": agreement["served"] * 300 // most,
            "refused_width": agreement["refused"] * 300 // most,
        }
        for agreement in agreements
    ]


def _money_rows(agreements: list[dict[str, Any]]) -> list[dict[str, Any]]:
    paying = [agreement for agreement in agreements if agreement["opened"]]
    most = max([item["opened"] for item in paying], default=1)
    return [
        {
            "name": item["name"],
            "paid": _yuan(item["paid"]),
            "refunded": _yuan(item["refunded"]),
            "paid_width": item["paid"] * 260 // most,
            "refunded_width": item["refunded"] * 260 // most,
        }
        for item in paying
    ]


def _yuan(fen: int) -> str:
    return f"{fen // 100:,}.{fen % 100:02d}"
