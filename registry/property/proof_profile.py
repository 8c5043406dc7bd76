"""A property deal, checked from a bundle: who may sell, who signed what, in which order, at what
tax. Pure.

``subject`` is ``{"dealId": 0x…}``. The bundle must hold, and this checks in this order:

1. the terms, whose struct hash is the deal id, and the content they commit to, opened;
2. the title statement, signed by the registration centre for this unit and the seller's key, which
   the chain has as the one the deal was opened with; the registration it was built on, and what was
   registered last for the unit;
3. seller's and buyer's keys, certified by the registration centre for deals; the centre and the tax
   authority are departments, the bank is a bank;
4. each step's statement, signed by its own party, equal to what the chain records under that step;
5. what tax, mortgage, notary and registration state, opened: the tax sheet is computed again from
   the rules it names;
6. the chain's record of the deal: opened, and registered when all steps are there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from chain.bundle.claims import VerifiedClaims, VerifiedStatement
from chain.core.errors import BadInput, Conflict, Forbidden, Inconsistent, NotIncluded
from chain.core.printable import quoted, utc
from chain.ethereum.records import DealRecord, MemberRecord
from chain.statements.members import KeyPurpose, SubjectKeyCertificate
from chain.statements.property import DealStep, DealTerms, StepKind, TitleStatement
from registry.property.model import NO_DEAL
from registry.property.rules import (
    AGREEING,
    DEAL_DOMAIN,
    NATURAL_PERSONS,
    STEP_DOMAIN,
    party,
    require_content,
    require_loan,
    require_record,
    roles_of,
    steps_of,
)


def check(claims: VerifiedClaims, subject: Mapping[str, Any]) -> list[str]:
    """The sentences proved; ``chain.core.errors.Inconsistent`` otherwise."""
    terms = claims.struct(DealTerms)
    deal_id = terms.struct_hash()
    _require(
        dict(subject) == {"dealId": "0x" + deal_id.hex()},
        "subject_differs",
        "The deal is another than the bundle says.",
    )
    content = claims.disclosed(terms.content, DEAL_DOMAIN)
    _by_rules(lambda: require_content(content))
    _by_rules(lambda: require_loan(terms, content))
    record = DealRecord.decode(claims.storage_value("PropertyLedger", "deals", deal_id).value)
    _require(record.opened_at > 0, "deal_unknown", "The chain has no such deal.")
    proved = [
        _title(claims, terms, content),
        _built_on(claims, terms, deal_id, record),
        *_natural_persons(claims, terms),
    ]
    steps = {StepKind(signed.statement.step): signed for signed in _steps(claims, terms)}
    taken = {step for step in steps_of(terms) if record.done(step)}
    _require(
        set(steps) == taken,
        "profile_incomplete",
        "The bundle does not hold exactly the steps the chain has.",
    )
    for step in sorted(steps):
        proved.append(_step(claims, terms, deal_id, content, steps[step]))
    return [*proved, _completion(claims, record, taken == set(steps_of(terms)))]


def _title(claims: VerifiedClaims, terms: DealTerms, content: Mapping[str, Any]) -> str:
    signed = claims.statement(TitleStatement)
    title = signed.statement
    _require(
        signed.member == title.registrar == terms.registrar
        and signed.purpose == KeyPurpose.STATEMENT,
        "wrong_signer",
        "The title statement is not signed by the registration centre.",
    )
    _require(
        (title.unit, title.owner_key) == (terms.unit, terms.seller),
        "title_mismatch",
        "The title statement is about another unit or seller.",
    )
    try:
        where = (
            "; it is in the centre's log, anchored in "
            f"{claims.block(claims.log_inclusion(signed).anchored_at)}"
        )
    except NotIncluded:
        where = ""
        claims.limits.append(
            "The title statement is not shown in the registration centre's "
            "log: only the centre asserts when it was made."
        )
    return (
        f"{title.registrar} stated at {utc(title.issued_at)} that the seller may sell unit "
        f"{quoted(content['unit'])}{where}."
    )


def _built_on(claims: VerifiedClaims, terms: DealTerms, deal_id: bytes, deal: DealRecord) -> str:
    """The chain took this very title, which it takes only if built on the unit's last registration;
    and whether another followed.
    """
    title = claims.statement(TitleStatement).statement
    opened_with = claims.storage_value("PropertyLedger", "titles", deal_id).value.to_bytes(
        32, "big"
    )
    _require(
        opened_with == title.struct_hash(),
        "title_differs",
        "The deal was opened with another title statement.",
    )
    last = claims.storage_value(
        "PropertyLedger", "lastRegistration", terms.registrar, terms.unit
    ).value.to_bytes(32, "big")
    if deal.live:
        _require(
            last == title.last_registration,
            "title_superseded",
            "The unit has been registered since the open deal's title was issued.",
        )
    if deal.registered_at:
        _require(
            last != NO_DEAL,
            "registration_differs",
            "The chain has a registered deal, but no registration of its unit.",
        )
    before = "no earlier registration on the chain"
    if title.last_registration != NO_DEAL:
        earlier = DealRecord.decode(
            claims.storage_value("PropertyLedger", "deals", title.last_registration).value
        )
        _require(
            0 < earlier.registered_at <= deal.opened_at,
            "title_superseded",
            "The title was not built on a registration before the deal.",
        )
        before = f"the unit's registration of block {earlier.registered_at}"
    after = (
        " Another deal of the unit has been registered since."
        if deal.registered_at and last != deal_id
        else ""
    )
    return f"The title was built on {before}, and the deal was opened with it.{after}"


def _natural_persons(claims: VerifiedClaims, terms: DealTerms) -> list[str]:
    held = {signed.statement.key: signed for signed in claims.statements(SubjectKeyCertificate)}
    _require(
        set(held) == {terms.seller, terms.buyer},
        "certificate_mismatch",
        "The people's certificates are not theirs.",
    )
    for signed in held.values():
        certificate = signed.statement
        _require(
            certificate.issuer == terms.registrar and certificate.purpose == "deal",
            "certificate_mismatch",
            "A person's key is not certified for deals by the registration centre.",
        )
    for member, role in roles_of(terms):
        record = MemberRecord.decode(
            claims.storage_value("MemberDirectory", "members", member).value
        )
        _require(
            record.has_role(role),
            "party_role_wrong",
            f"{member} is not admitted as what the deal takes it for.",
        )
    title = claims.statement(TitleStatement).statement
    _require(
        held[terms.seller].statement.subject == title.owner,
        "certificate_mismatch",
        "The seller's key is not certified to the owner the title names.",
    )
    return [f"{terms.registrar}, a department, certified the one-time keys of seller and buyer."]


def _steps(claims: VerifiedClaims, terms: DealTerms) -> list[VerifiedStatement[DealStep]]:
    found = claims.statements(DealStep)
    known = {int(step) for step in steps_of(terms)}
    positions = [signed.statement.step for signed in found]
    _require(
        set(positions) <= known and len(set(positions)) == len(positions),
        "unknown_step",
        "A step is there twice or unknown.",
    )
    return found


def _step(
    claims: VerifiedClaims,
    terms: DealTerms,
    deal_id: bytes,
    content: Mapping[str, Any],
    signed: VerifiedStatement[DealStep],
) -> str:
    statement = signed.statement
    step = StepKind(statement.step)
    name = step.name.lower()
    _require(statement.deal_id == deal_id, "other_deal", f"The step {name} is of another deal.")
    if step in NATURAL_PERSONS:
        right = signed.signer == (terms.seller if step is StepKind.SELLER else terms.buyer)
    else:
        right = signed.member == party(terms, step) and signed.purpose == KeyPurpose.STATEMENT
    _require(right, "wrong_party", f"The step {name} is not signed by its own party.")
    stored = claims.storage_value("PropertyLedger", "steps", deal_id, int(step)).value
    _require(
        stored == int.from_bytes(statement.struct_hash(), "big"),
        "step_differs",
        f"The chain has another step {name}.",
    )
    with contextlib.suppress(NotIncluded):
        # A step of another member, or of a person, need not be in the exporter's log: the chain
        # itself has it.
        claims.log_inclusion(signed)
    if step in AGREEING:
        _require(
            statement.content == terms.content,
            "content_differs",
            f"The step {name} agrees to something else.",
        )
        return f"The {name} signed, by its own clock at {utc(statement.signed_at)}."
    record = claims.disclosed(statement.content, STEP_DOMAIN)
    _by_rules(lambda: require_record(terms, step, content, record))
    return (
        f"{signed.member} signed {name}, by its own clock at "
        f"{utc(statement.signed_at)}{_stated(step, record)}."
    )


def _stated(step: StepKind, record: Mapping[str, Any]) -> str:
    if step is StepKind.TAX:
        return f": taxes of {record['total']} fen, computed again from {quoted(record['rules'])}"
    if step is StepKind.MORTGAGE:
        return f": loan of {record['loan']} fen, contract {quoted(record['contract'])}"
    return f": certificate {quoted(record['certificate'])}"


def _completion(claims: VerifiedClaims, record: DealRecord, complete: bool) -> str:
    _require(
        complete == (record.registered_at > 0),
        "profile_incomplete",
        "The deal's steps and its registration disagree.",
    )
    if record.registered_at:
        return (
            f"The deal opened in {claims.block(record.opened_at)} and was registered in "
            f"{claims.block(record.registered_at)}."
        )
    if record.expired_at:
        return (
            f"The deal opened in {claims.block(record.opened_at)} and expired in "
            f"{claims.block(record.expired_at)}."
        )
    return f"The deal opened in {claims.block(record.opened_at)} and is under way."


def _by_rules(rule: Callable[[], object]) -> None:
    try:
        rule()
    except (BadInput, Conflict, Forbidden) as error:
        raise Inconsistent(error.code, error.sentence) from error


def _require(held: bool, code: str, sentence: str) -> None:
    if not held:
        raise Inconsistent(code, sentence)
