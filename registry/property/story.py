"""A property deal, checked from a bundle: who may sell, who signed what, in which order, at what tax. Pure.

``subject`` is ``{"dealId": 0x…}``. The bundle must hold, and this checks in this order:

1. the terms, whose struct hash is the deal id, and the content they commit to, opened;
2. the title statement, signed by the registration centre for this unit and the seller's key, which the chain has as the one the deal was opened
   with; the registration it was built on, and what was registered last for the unit;
3. seller's and buyer's keys, certified by the registration centre for deals; the centre and the tax authority are departments, the bank is a bank;
4. each step's statement, signed by its own party, equal to what the chain keeps under that step;
5. what tax, mortgage, notary and registration state, opened: the tax sheet is computed again from the rules it names;
6. the chain's word for the deal: opened, and registered when all steps are there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from chain.bundle import Facts, Signed
from chain.errors import BadInput, Conflict, Forbidden, Inconsistent, NotIncluded
from chain.printable import quoted, utc
from chain.statements import DealStep, DealTerms, KeyPurpose, Step, SubjectKeyCertificate, TitleStatement
from chain.words import DealWord, MemberWord
from registry.property.model import NO_DEAL
from registry.property.rules import (
    AGREEING,
    DEAL_DOMAIN,
    PEOPLE,
    STEP_DOMAIN,
    party,
    require_content,
    require_loan,
    require_record,
    roles_of,
    steps_of,
)


def check(facts: Facts, subject: Mapping[str, Any]) -> list[str]:
    """The sentences proved; ``chain.errors.Inconsistent`` otherwise."""
    terms = facts.struct(DealTerms)
    deal_id = terms.struct_hash()
    _require(dict(subject) == {"dealId": "0x" + deal_id.hex()}, "subject_differs", "The deal is another than the bundle says.")
    content = facts.opened(terms.content, DEAL_DOMAIN)
    _by_rules(lambda: require_content(content))
    _by_rules(lambda: require_loan(terms, content))
    word = DealWord.decode(facts.word("PropertyLedger", "deals", deal_id).value)
    _require(word.opened_at > 0, "deal_unknown", "The chain has no such deal.")
    proved = [_title(facts, terms, content), _built_on(facts, terms, deal_id, word), *_people(facts, terms)]
    steps = {Step(each.statement.step): each for each in _steps(facts, terms)}
    taken = {step for step in steps_of(terms) if word.done(step)}
    _require(set(steps) == taken, "story_incomplete", "The bundle does not hold exactly the steps the chain has.")
    for step in sorted(steps):
        proved.append(_step(facts, terms, deal_id, content, steps[step]))
    return [*proved, _ending(facts, word, taken == set(steps_of(terms)))]


def _title(facts: Facts, terms: DealTerms, content: Mapping[str, Any]) -> str:
    signed = facts.one(TitleStatement)
    title = signed.statement
    _require(
        signed.member == title.registrar == terms.registrar and signed.purpose == KeyPurpose.STATEMENT,
        "wrong_signer",
        "The title statement is not signed by the registration centre.",
    )
    _require(
        (title.unit, title.owner_key) == (terms.unit, terms.seller),
        "title_mismatch",
        "The title statement is about another unit or seller.",
    )
    try:
        where = f"; it stands in the centre's log, anchored in {facts.block(facts.logged(signed).anchored_at)}"
    except NotIncluded:
        where = ""
        facts.limits.append("The title statement is not shown in the registration centre's log: when it was made is the centre's word.")
    return f"{title.registrar} stated at {utc(title.issued_at)} that the seller may sell unit {quoted(content['unit'])}{where}."


def _built_on(facts: Facts, terms: DealTerms, deal_id: bytes, deal: DealWord) -> str:
    """The chain took this very title, which it takes only if built on the unit's last registration; and whether another followed."""
    title = facts.one(TitleStatement).statement
    opened_with = facts.word("PropertyLedger", "titles", deal_id).value.to_bytes(32, "big")
    _require(opened_with == title.struct_hash(), "title_differs", "The deal was opened with another title statement.")
    last = facts.word("PropertyLedger", "lastRegistration", terms.registrar, terms.unit).value.to_bytes(32, "big")
    if deal.live:
        _require(last == title.last_registration, "title_superseded", "The unit has been registered since the open deal's title was issued.")
    if deal.registered_at:
        _require(last != NO_DEAL, "registration_differs", "The chain has a registered deal, but no registration of its unit.")
    before = "no earlier registration on the chain"
    if title.last_registration != NO_DEAL:
        earlier = DealWord.decode(facts.word("PropertyLedger", "deals", title.last_registration).value)
        _require(0 < earlier.registered_at <= deal.opened_at, "title_superseded", "The title was not built on a registration before the deal.")
        before = f"the unit's registration of block {earlier.registered_at}"
    after = " Another deal of the unit has been registered since." if deal.registered_at and last != deal_id else ""
    return f"The title was built on {before}, and the deal was opened with it.{after}"


def _people(facts: Facts, terms: DealTerms) -> list[str]:
    held = {each.statement.key: each for each in facts.all(SubjectKeyCertificate)}
    _require(set(held) == {terms.seller, terms.buyer}, "certificate_mismatch", "The people's certificates are not theirs.")
    for each in held.values():
        certificate = each.statement
        _require(
            certificate.issuer == terms.registrar and certificate.purpose == "deal",
            "certificate_mismatch",
            "A person's key is not certified for deals by the registration centre.",
        )
    for member, role in roles_of(terms):
        word = MemberWord.decode(facts.word("MemberDirectory", "members", member).value)
        _require(word.has_role(role), "party_role_wrong", f"{member} is not admitted as what the deal takes it for.")
    title = facts.one(TitleStatement).statement
    _require(
        held[terms.seller].statement.subject == title.owner,
        "certificate_mismatch",
        "The seller's key is not certified to the owner the title names.",
    )
    return [f"{terms.registrar}, a department, certified the one-time keys of seller and buyer."]


def _steps(facts: Facts, terms: DealTerms) -> list[Signed[DealStep]]:
    found = facts.all(DealStep)
    known = {int(step) for step in steps_of(terms)}
    places = [each.statement.step for each in found]
    _require(set(places) <= known and len(set(places)) == len(places), "unknown_step", "A step is there twice or unknown.")
    return found


def _step(facts: Facts, terms: DealTerms, deal_id: bytes, content: Mapping[str, Any], signed: Signed[DealStep]) -> str:
    statement = signed.statement
    step = Step(statement.step)
    name = step.name.lower()
    _require(statement.deal_id == deal_id, "other_deal", f"The step {name} is of another deal.")
    if step in PEOPLE:
        right = signed.signer == (terms.seller if step is Step.SELLER else terms.buyer)
    else:
        right = signed.member == party(terms, step) and signed.purpose == KeyPurpose.STATEMENT
    _require(right, "wrong_party", f"The step {name} is not signed by its own party.")
    kept = facts.word("PropertyLedger", "steps", deal_id, int(step)).value
    _require(kept == int.from_bytes(statement.struct_hash(), "big"), "step_differs", f"The chain has another step {name}.")
    with contextlib.suppress(NotIncluded):
        # A step of another member, or of a person, need not be in the exporter's log: the chain itself has it.
        facts.logged(signed)
    if step in AGREEING:
        _require(statement.content == terms.content, "content_differs", f"The step {name} agrees to something else.")
        return f"The {name} signed, by its own clock at {utc(statement.signed_at)}."
    record = facts.opened(statement.content, STEP_DOMAIN)
    _by_rules(lambda: require_record(terms, step, content, record))
    return f"{signed.member} signed {name}, by its own clock at {utc(statement.signed_at)}{_stated(step, record)}."


def _stated(step: Step, record: Mapping[str, Any]) -> str:
    if step is Step.TAX:
        return f": taxes of {record['total']} fen, computed again from {quoted(record['rules'])}"
    if step is Step.MORTGAGE:
        return f": loan of {record['loan']} fen, contract {quoted(record['contract'])}"
    return f": certificate {quoted(record['certificate'])}"


def _ending(facts: Facts, word: DealWord, complete: bool) -> str:
    _require(complete == (word.registered_at > 0), "story_incomplete", "The deal's steps and its registration disagree.")
    if word.registered_at:
        return f"The deal opened in {facts.block(word.opened_at)} and was registered in {facts.block(word.registered_at)}."
    if word.expired_at:
        return f"The deal opened in {facts.block(word.opened_at)} and expired in {facts.block(word.expired_at)}."
    return f"The deal opened in {facts.block(word.opened_at)} and is under way."


def _by_rules(rule: Callable[[], object]) -> None:
    try:
        rule()
    except (BadInput, Conflict, Forbidden) as error:
        raise Inconsistent(error.code, error.sentence) from error


def _require(held: bool, code: str, sentence: str) -> None:
    if not held:
        raise Inconsistent(code, sentence)
