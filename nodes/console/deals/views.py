"""View models of the pages of property deals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chain.context import Context
from chain.core.zone import local_time
from chain.statements.property import DealTerms, StepKind, TitleStatement
from nodes.console.formatting import yuan
from nodes.console.i18n import N_
from nodes.console.names import member_name
from registry.property import deals
from registry.property.course import CourseStep, StepState, course_of, due_steps
from registry.property.model import Deal, DealOverview, DealStage
from registry.property.rules import NATURAL_PERSONS
from registry.property.tax import CURRENT, TaxLine, TaxSheet, sources_of

STAGES: Mapping[DealStage, str] = {
    DealStage.DRAFT: N_("drawn up, waits for the seller"),
    DealStage.OPENING: N_("being sent to the chain"),
    DealStage.REFUSED: N_("refused by the chain"),
    DealStage.OPEN: N_("under way"),
    DealStage.REGISTERED: N_("registered"),
    DealStage.EXPIRED: N_("expired"),
}
STEPS: Mapping[StepKind, str] = {
    StepKind.SELLER: N_("Seller signs"),
    StepKind.BUYER: N_("Buyer signs"),
    StepKind.AGENT: N_("Estate agent signs"),
    StepKind.TAX: N_("Tax authority confirms the taxes"),
    StepKind.MORTGAGE: N_("Bank signs the mortgage"),
    StepKind.NOTARY: N_("Notary certifies"),
    StepKind.REGISTER: N_("Registration centre registers the title"),
}
PERSONS: Mapping[StepKind, str] = {
    StepKind.SELLER: N_("the seller"),
    StepKind.BUYER: N_("the buyer"),
}
STEP_STATES: Mapping[StepState, str] = {
    StepState.DONE: N_("signed, on the chain"),
    StepState.SENT: N_("signed, being sent to the chain"),
    StepState.NEXT: N_("can be signed now"),
    StepState.LATER: N_("waits for the steps before it"),
    StepState.DROPPED: N_("not signed"),
}
TAXES: Mapping[str, str] = {
    "deed-tax": N_("Deed tax"),
    "value-added-tax": N_("Value-added tax"),
    "urban-maintenance-tax": N_("Urban maintenance and construction tax"),
    "education-surcharge": N_("Education surcharge"),
    "local-education-surcharge": N_("Local education surcharge"),
    "income-tax": N_("Individual income tax"),
}
GROUNDS: Mapping[str, str] = {
    "first-home": N_("only home of the buyer's family"),
    "second-home": N_("second home of the buyer's family"),
    "further-home": N_("third or further home of the buyer's family"),
    "held-long-enough": N_("exempt: held for two years or longer"),
    "held-too-short": N_("held for less than two years"),
    "halved": N_("on the value-added tax, halved"),
    "no-value-added-tax": N_("nothing due, since no value-added tax is"),
    "only-home-held-five-years": N_("exempt: only home, held for five years or longer"),
    "on-price": N_("on the price, since the original price is not shown"),
    "on-gain": N_("on the gain over the original price"),
}
PAYERS: Mapping[str, str] = {"buyer": N_("the buyer"), "seller": N_("the seller")}
STATED: Mapping[StepKind, str] = {
    StepKind.MORTGAGE: "contract",
    StepKind.NOTARY: "certificate",
    StepKind.REGISTER: "certificate",
}
"""The number that a step's organisation states beside its signature."""
_NUMBERS: Mapping[StepKind, str] = {
    StepKind.MORTGAGE: N_("Number of the mortgage contract"),
    StepKind.NOTARY: N_("Number of the notarial certificate"),
    StepKind.REGISTER: N_("Number of the title certificate"),
}


@dataclass(frozen=True, slots=True)
class DealRowView:
    """A deal in a list. ``state`` and ``due`` are marked labels."""

    id: str
    unit: str
    """Register number; the pseudonym's start where the content was not sent."""
    price: int | None
    state: str
    due: list[str]
    ours: bool
    """Whether this organisation can sign now."""
    expires_at: int


@dataclass(frozen=True, slots=True)
class StepView:
    """A step of the timeline. ``label``, ``state`` and ``number_label`` are marked labels."""

    name: str
    label: str
    party: str
    """The member's name; empty for a person."""
    person: str
    state: str
    done: bool
    due: bool
    ours: bool
    by_person: bool
    height: int | None
    signed_at: int | None
    number_label: str
    number: str
    """What the step's organisation stated; empty before it signed."""


@dataclass(frozen=True, slots=True)
class TaxLineView:
    """A line of the tax sheet: fen, and the rate in percent."""

    tax: str
    payer: str
    base: int
    rate: str
    amount: int
    ground: str
    sources: list[str]


@dataclass(frozen=True, slots=True)
class TaxView:
    """The tax sheet; fen."""

    rules: str
    lines: list[TaxLineView]
    buyer: int
    seller: int
    total: int
    confirmed: bool
    """Whether the tax authority has signed it."""


@dataclass(frozen=True, slots=True)
class MoneyView:
    """An amount of the deal in fen, who owes it to whom, and the step it follows."""

    label: str
    amount: int
    payer: str
    state: str
    settled: bool


@dataclass(frozen=True, slots=True)
class TitleView:
    """Who holds the title: before the deal by the title statement, and after its registration."""

    registrar: str
    owner_key: str
    buyer_key: str
    issued_at: int
    expires_at: int
    last_registration: str
    registered_at: int | None
    certificate: str


@dataclass(frozen=True, slots=True)
class DealView:
    """A deal with its course."""

    id: str
    unit: str
    unit_id: str
    stage: DealStage
    state: str
    refusal: str
    open: bool
    agent: bool
    """Whether this organisation is the deal's agent, where seller and buyer sign."""
    known: bool
    """Whether the deal's content has reached this node."""
    price: int
    loan: int
    area: str
    months_held: int
    only_home: bool
    buyer_homes: int
    expires_at: int
    over: bool
    opened_at: int | None
    registered_at: int | None
    expired_at: int | None
    parties: list[tuple[str, str]]
    steps: list[StepView]


def deal_row(context: Context, overview: DealOverview) -> DealRowView:
    """A deal as lists show it."""
    deal, due = overview.deal, due_steps(course_of(overview))
    content = None if deal.disclosed is None else deal.disclosed.content
    return DealRowView(
        id="0x" + deal.deal_id.hex(),
        unit=_unit_name(deal),
        price=None if content is None else int(content["price"]),
        state=STAGES[overview.stage],
        due=[STEPS[step.step] for step in due],
        ours=any(step.party == context.member for step in due),
        expires_at=deal.terms.expires_at,
    )


def deal_view(context: Context, overview: DealOverview) -> DealView:
    """A deal as its page shows it."""
    deal = overview.deal
    terms = deal.terms
    content = {} if deal.disclosed is None else deal.disclosed.content
    return DealView(
        id="0x" + deal.deal_id.hex(),
        unit=_unit_name(deal),
        unit_id="0x" + terms.unit.hex(),
        stage=overview.stage,
        state=STAGES[overview.stage],
        refusal=overview.refusal or "",
        open=overview.stage is DealStage.OPEN,
        agent=terms.agent == context.member,
        known=deal.disclosed is not None,
        price=int(content.get("price", 0)),
        loan=int(content.get("loan", 0)),
        area=f"{int(content.get('area', 0)) / 10_000:,.2f}",
        months_held=int(content.get("monthsHeld", 0)),
        only_home=bool(content.get("onlyHome")),
        buyer_homes=int(content.get("buyerHomes", 0)),
        expires_at=terms.expires_at,
        over=context.now() > terms.expires_at,
        opened_at=deal.opened_at or None,
        registered_at=deal.registered_at or None,
        expired_at=deal.expired_at or None,
        parties=_parties(context, terms),
        steps=[_step_view(context, step) for step in course_of(overview)],
    )


def tax_view(context: Context, overview: DealOverview) -> TaxView | None:
    """The tax sheet: as it was signed, or as the rules give it; None before the content is here."""
    if overview.deal.disclosed is None:
        return None
    signed = next((step for step in overview.steps if step.step is StepKind.TAX), None)
    sheet = deals.taxes(context, overview.deal.deal_id, rules_name=_signed_rules(overview))
    return TaxView(
        rules=sheet.rules,
        lines=[_tax_line(line, sheet) for line in sheet.lines],
        buyer=sheet.buyer,
        seller=sheet.seller,
        total=sheet.total,
        confirmed=signed is not None and signed.record is not None,
    )


def money_views(view: DealView, taxes: TaxView | None) -> list[MoneyView]:
    """What the deal moves. Money itself is paid at the banks; the deal shows what each step makes
    due.
    """
    if not view.known:
        return []
    done = {step.name: step.done for step in view.steps}
    registered, mortgaged = done["register"], done.get("mortgage", False)
    found = [
        MoneyView(
            N_("Own funds of the buyer, to the seller"),
            view.price - view.loan,
            N_("the buyer"),
            N_("due: the title is registered")
            if registered
            else N_("held until the title is registered"),
            registered,
        )
    ]
    if view.loan:
        state = (
            N_("due: the title is registered")
            if registered
            else N_("contract signed, held until the title is registered")
            if mortgaged
            else N_("waits for the mortgage contract")
        )
        found.append(
            MoneyView(N_("Loan, to the seller"), view.loan, N_("the bank"), state, registered)
        )
    if taxes is not None:
        state = (
            N_("confirmed by the tax authority")
            if taxes.confirmed
            else N_("computed, not yet confirmed")
        )
        found += [
            MoneyView(label, amount, payer, state, taxes.confirmed)
            for label, amount, payer in (
                (N_("Taxes of the buyer"), taxes.buyer, N_("the buyer")),
                (N_("Taxes of the seller"), taxes.seller, N_("the seller")),
            )
        ]
    return found


def title_view(context: Context, deal: Deal, steps: list[StepView]) -> TitleView | None:
    """The title before and after the deal; None before the content is here."""
    if deal.disclosed is None:
        return None
    title: TitleStatement = deal.disclosed.title
    registered = next(step for step in steps if step.name == "register")
    return TitleView(
        registrar=member_name(context, title.registrar),
        owner_key=title.owner_key,
        buyer_key=deal.terms.buyer,
        issued_at=title.issued_at,
        expires_at=title.expires_at,
        last_registration="0x" + title.last_registration.hex()
        if any(title.last_registration)
        else "",
        registered_at=deal.registered_at or None,
        certificate=registered.number,
    )


def signed_about(context: Context, deal: Deal, step: StepKind) -> dict[str, str]:
    """The labels and values that the signing panel shows of a deal."""
    content, terms = deal.require_disclosed().content, deal.terms
    about = {
        N_("You sign as"): "卖方 / seller" if step is StepKind.SELLER else "买方 / buyer",
        N_("Unit"): str(content["unit"]),
        N_("Price (yuan)"): yuan(int(content["price"])),
        N_("Loan (yuan)"): yuan(int(content["loan"])),
        N_("Expires"): local_time(terms.expires_at),
    }
    return about | {label: name for label, name in _parties(context, terms)}


def _parties(context: Context, terms: DealTerms) -> list[tuple[str, str]]:
    found = [
        (N_("Estate agent"), terms.agent),
        (N_("Tax authority"), terms.tax_authority),
        (N_("Bank of the loan"), terms.bank),
        (N_("Notary"), terms.notary),
        (N_("Registration centre"), terms.registrar),
    ]
    return [(label, f"{member_name(context, code)} ({code})") for label, code in found if code]


def _step_view(context: Context, step: CourseStep) -> StepView:
    stored = step.stored
    record = {} if stored is None or stored.record is None else stored.record
    name = STATED.get(step.step, "")
    return StepView(
        name=step.step.name.lower(),
        label=STEPS[step.step],
        party=member_name(context, step.party) if step.party else "",
        person=PERSONS.get(step.step, ""),
        state=STEP_STATES[step.state],
        done=step.state is StepState.DONE,
        due=step.state is StepState.NEXT,
        ours=step.party == context.member,
        by_person=step.step in NATURAL_PERSONS,
        height=None if stored is None else stored.height or None,
        signed_at=None
        if stored is None or stored.signature is None
        else stored.statement.signed_at,
        number_label=_NUMBERS.get(step.step, ""),
        number=str(record.get(name, "")) if name else "",
    )


def _tax_line(line: TaxLine, sheet: TaxSheet) -> TaxLineView:
    return TaxLineView(
        tax=TAXES[line.tax],
        payer=PAYERS[line.payer],
        base=line.base,
        rate=f"{line.rate / 100:g} %",
        amount=line.amount,
        ground=GROUNDS[line.ground],
        sources=[
            f"{source.name}（{source.valid_from}）"
            for source in sources_of(line, rules_name=sheet.rules)
        ],
    )


def _signed_rules(overview: DealOverview) -> str:
    """The rules of the sheet that the tax authority signed; the present ones before."""
    for step in overview.steps:
        if step.step is StepKind.TAX and step.record is not None:
            return str(step.record["rules"])
    return CURRENT


def _unit_name(deal: Deal) -> str:
    if deal.disclosed is None:
        return f"0x{deal.terms.unit.hex()[:8]}…"
    return str(deal.disclosed.content["unit"])
