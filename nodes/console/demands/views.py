"""View models of the pages of demands. Times in Unix seconds."""

from __future__ import annotations

from dataclasses import dataclass

from chain.context import Context
from nodes.console.names import asset_name, member_name, purpose_name
from registry.demands.model import Demand, OwnDemand, ReceivedDemand


@dataclass(frozen=True, slots=True)
class AnswerView:
    """A department's asset in answer to a demand."""

    department: str
    asset_id: str
    asset: str
    note: str
    answered_at: int


@dataclass(frozen=True, slots=True)
class DemandView:
    """A demand; ``bank`` is empty for one of this organisation."""

    id: str
    bank: str
    bank_code: str
    title: str
    text: str
    purpose: str
    columns: list[str]
    posted_at: int
    withdrawn_at: int | None
    answers: list[AnswerView]


def own_view(context: Context, found: OwnDemand, language: str) -> DemandView:
    """A demand of this bank."""
    answers = [
        AnswerView(
            department=member_name(context, answer.department),
            asset_id="0x" + answer.asset_id.hex(),
            asset=asset_name(context, answer.asset_id),
            note=answer.note,
            answered_at=answer.answered_at,
        )
        for answer in found.answers
    ]
    return _view(found.demand, "", "", found.withdrawn_at, answers, language)


def received_view(context: Context, found: ReceivedDemand, language: str) -> DemandView:
    """A demand of another member, with this department's answer."""
    asset, answers = found.answered_with, list[AnswerView]()
    if asset is not None:
        answers.append(AnswerView("", "0x" + asset.hex(), asset_name(context, asset), "", 0))
    bank = member_name(context, found.bank)
    return _view(found.demand, bank, found.bank, None, answers, language)


def _view(
    demand: Demand,
    bank: str,
    code: str,
    withdrawn_at: int | None,
    answers: list[AnswerView],
    language: str,
) -> DemandView:
    return DemandView(
        id=demand.demand_id,
        bank=bank,
        bank_code=code,
        title=demand.title,
        text=demand.text,
        purpose=purpose_name(demand.purpose, language),
        columns=list(demand.columns),
        posted_at=demand.posted_at,
        withdrawn_at=withdrawn_at,
        answers=answers,
    )
