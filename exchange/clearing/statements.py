"""Account statements of members, each from its node's own copy of the chain's events, and the rules
by which the operator divides a share for several rights.

The operator and the supervisor can make every member's statement, any other node its own only.
"""

from __future__ import annotations

import asyncio
import datetime
from collections import Counter
from collections.abc import Mapping, Sequence

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import BadInput, Conflict, Forbidden, QiaolianError, Unavailable
from chain.core.zone import day_bounds, local_day
from chain.ethereum.proved_records import account_records
from chain.statements.members import Role
from exchange.agreements import service as agreements
from exchange.approvals import service as approvals
from exchange.approvals.model import Matter
from exchange.banking import payouts
from exchange.clearing import rules, store
from exchange.clearing.model import (
    AccountSums,
    MemberStatement,
    Movement,
    MovementKind,
    Right,
    SplitRule,
    StatementLine,
)
from exchange.clearing.service import KEEPERS
from registry import fanout, uscc
from registry.assets import catalogue
from registry.evidence.log import append
from registry.members import service as members

MAX_DAYS = 366
MAX_LINES = 20_000
RULE_SET = "SplitRule"
FETCH_SECONDS = 10.0
MAX_RULES = 500


def statement(
    context: Context, *, since: str = "", until: str = "", member: str = ""
) -> MemberStatement:
    """A member's statement, by default this one's of the present month.

    Raises:
        Forbidden: ``statement_of_others``; BadInput: ``day_malformed``, ``period_malformed``,
            ``wrong_check_character``.
    """
    wanted = uscc.require_valid(member or context.member)
    if wanted != context.member and not context.roles & KEEPERS:
        raise Forbidden(
            "statement_of_others",
            "A member's statement is for the member itself.",
        )
    first, last = _period(context, since, until)
    with context.database.read() as session:
        opening = store.sums_of(session, wanted, before=first).balance
        found = store.member_entries(session, wanted, first, last)
        split = store.split_rules(session)
        lines = _lines(context, session, wanted, found, split)
    earned: Counter[Right] = Counter()
    for line in lines:
        earned.update(line.parts)
    return MemberStatement(
        member=wanted,
        since=first,
        until=last,
        opening=opening,
        lines=lines,
        payouts=payouts.of_member(context, wanted, day_bounds(first)[0], day_bounds(last)[1]),
        earned=dict(earned),
        closing=opening + sum(line.amount for line in lines),
        agrees=_agrees(context, wanted),
    )


def _period(context: Context, since: str, until: str) -> tuple[str, str]:
    """The first and the last day; ``day_malformed``, ``period_malformed``."""
    today = local_day(context.now())
    last = rules.require_day(until) if until else max(today, since)
    first = rules.require_day(since) if since else last[:8] + "01"
    day_bounds(first), day_bounds(last)
    days = (datetime.date.fromisoformat(last) - datetime.date.fromisoformat(first)).days + 1
    if not 1 <= days <= MAX_DAYS:
        raise BadInput(
            "period_malformed",
            f"A statement is of 1 to {MAX_DAYS} days.",
            hint="Ask for each year by itself.",
        )
    return first, last


def _lines(
    context: Context,
    session: Session,
    member: str,
    found: Sequence[Movement],
    split: Sequence[SplitRule],
) -> list[StatementLine]:
    if len(found) > MAX_LINES:
        raise BadInput(
            "period_malformed",
            f"The period has more than {MAX_LINES:,} entries.",
            hint="Ask for a shorter one.",
        )
    operators = frozenset(members.active(context, Role.OPERATOR))
    holders: dict[bytes, Mapping[Right, str]] = {}
    lines = []
    for movement in found:
        identifier = movement.agreement_id
        if identifier is not None and identifier not in holders:
            holders[identifier] = _holders(context, session, identifier)
        parts: Mapping[Right, int] = {}
        if movement.kind is MovementKind.PAID and movement.member == member:
            assert identifier is not None
            parts = rules.parts_of(
                movement.amount,
                member,
                holders[identifier],
                platform=member in operators,
                rule=rules.rule_on(split, movement.day),
            )
        other = movement.payer if movement.member == member else movement.member
        lines.append(StatementLine(movement, rules.effect(movement, member), other, parts))
    return lines


def _holders(context: Context, session: Session, agreement_id: bytes) -> Mapping[Right, str]:
    """Who holds the rights in an agreement's asset, as far as this node knows the asset."""
    parties = agreements.parties(session, agreement_id)
    if parties is None:
        return {}
    try:
        record = catalogue.find(context, parties.asset_id).record
    except QiaolianError:
        return {}
    return {
        Right.HOLDING: record.holder,
        Right.PROCESSING: record.processor,
        Right.OPERATING: record.operator,
    }


def _agrees(context: Context, member: str) -> bool | None:
    """Whether the member's sums are those of its account in the contract, both as of one block."""
    try:
        proved = context.view.proved(account_records(member))
    except QiaolianError:
        return None
    if (context.projected_height or 0) < proved.height:
        return None
    with context.database.read() as session:
        book = store.sums_of(session, member, before="9999-12-31")
        for entry in store.entries_after(session, proved.height):
            book -= sum((sums for of, sums in rules.sides(entry) if of == member), AccountSums())
    return not rules.differences({member: book}, {member: proved.account(member)})


# --- The operator's rules -------------------------------------------------------------------------


def split_rules(context: Context) -> list[SplitRule]:
    """Every rule, the latest first; at a member other than the operator as it was fetched last."""
    with context.database.read() as session:
        return store.split_rules(session)


def set_split_rule(context: Context, rule: SplitRule, *, person: str) -> bool:
    """Set a rule from a day on that has not begun, as one of two persons; whether it is set.

    Raises:
        Forbidden: ``not_operator``, ``person_unnamed``, ``second_person_needed``; BadInput:
            ``day_malformed``, ``split_not_whole``; Conflict: ``split_rule_begun``.
    """
    if not context.roles & Role.OPERATOR:
        raise Forbidden("not_operator", "The operator sets how shares are divided.")
    wanted = rules.require_split(rule)
    day_bounds(wanted.effective_from)
    if wanted.effective_from <= local_day(context.now()):
        raise Conflict(
            "split_rule_begun",
            "A rule begins on a day to come: what was stated before stays as it was.",
            hint="Give tomorrow or a later day.",
        )
    digest = rules.split_digest(wanted)

    def change(session: Session) -> bool:
        approval = approvals.approve(
            context, session, Matter.SPLIT_RULE, wanted.effective_from, digest, person
        )
        if approval.complete:
            store.put_split_rule(session, wanted)
            append(session, kind=RULE_SET, digest=digest, at=context.now())
        return approval.complete

    return context.database.write(change)


async def fetch_split_rules(context: Context) -> dict[str, QiaolianError]:
    """Fetch the operator's rules; the failures by operator."""
    if context.roles & Role.OPERATOR:
        return {}
    operators = await asyncio.to_thread(members.active, context, Role.OPERATOR)

    async def fetch(operator: str) -> None:
        answer = await context.peers.get(operator, "/v1/peer/split-rules")
        found = _read_rules(answer)
        await context.database.awrite(lambda session: store.replace_split_rules(session, found))

    outcomes = await fanout.for_each(operators[:1], fetch, seconds=FETCH_SECONDS)
    return {
        operator: outcome
        for operator, outcome in outcomes.items()
        if isinstance(outcome, QiaolianError)
    }


def _read_rules(answer: object) -> list[SplitRule]:
    """The rules of an operator's answer; ``peer_answer_unreadable``."""
    try:
        rows = answer["rules"]  # type: ignore[index]
        if not isinstance(rows, list) or len(rows) > MAX_RULES:
            raise ValueError("rules")
        return [
            rules.require_split(
                SplitRule(
                    str(row["effectiveFrom"]),
                    int(row["holding"]),
                    int(row["processing"]),
                    int(row["operating"]),
                )
            )
            for row in rows
        ]
    except (KeyError, TypeError, ValueError, BadInput) as error:
        raise Unavailable(
            "peer_answer_unreadable", "The operator's node shows no list of rules."
        ) from error
