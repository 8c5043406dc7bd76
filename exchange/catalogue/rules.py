"""Search terms, price bands and the course of an asset. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from exchange.agreements.model import AgreementStage
from exchange.catalogue.model import (
    UNKNOWN_PRICE,
    Course,
    OwnAgreement,
    OwnGrant,
    PriceBand,
    Step,
    Turn,
)
from registry.grants.model import GrantState

_WORDS = re.compile(r"[a-z0-9_]+|[^\W_a-z0-9]+")
_HAN = re.compile("[\u3400-\u9fff\uf900-\ufaff\U00020000-\U000323af]")
MAX_TERMS = 12
"""Terms of one search; further ones are passed over."""
MAX_INDEXED = 400
"""Terms of one asset."""


def index_terms(texts: Iterable[str]) -> list[str]:
    """What an asset is found by: words, and of Chinese text each character and each pair, since it
    has no blanks between words.
    """
    found: dict[str, None] = {}
    for text in texts:
        for word in _words(text):
            if _HAN.search(word):
                found.update(dict.fromkeys([*word, *_pairs(word)]))
            else:
                found[word] = None
    return list(found)[:MAX_INDEXED]


def search_terms(text: str) -> list[str]:
    """The terms of a search, all of which an asset must have; one of letters is the beginning of a
    word.
    """
    found: dict[str, None] = {}
    for word in _words(text):
        terms = (_pairs(word) or [word]) if _HAN.search(word) else [word]
        found.update(dict.fromkeys(terms))
    return list(found)[:MAX_TERMS]


def is_prefix(term: str) -> bool:
    """Whether a term is the beginning of a word."""
    return not _HAN.search(term)


def _words(text: str) -> list[str]:
    return _WORDS.findall(unicodedata.normalize("NFKC", text).lower())


def _pairs(word: str) -> list[str]:
    return [word[place : place + 2] for place in range(len(word) - 1)]


def price_band(price: int) -> PriceBand:
    """The band of a price in fen."""
    if price == UNKNOWN_PRICE:
        return PriceBand.UNKNOWN
    if price == 0:
        return PriceBand.FREE
    if price < 100:
        return PriceBand.BELOW_YUAN
    return PriceBand.BELOW_TEN if price < 1_000 else PriceBand.TEN_AND_MORE


BAND_FEN = {
    PriceBand.UNKNOWN: (UNKNOWN_PRICE, 0),
    PriceBand.FREE: (0, 1),
    PriceBand.BELOW_YUAN: (1, 100),
    PriceBand.BELOW_TEN: (100, 1_000),
    PriceBand.TEN_AND_MORE: (1_000, 2**63 - 1),
}
"""The first price of each band, and the first above it."""


def course(
    grant: OwnGrant | None, agreement: OwnAgreement | None, *, offered: bool | None, now: int
) -> Course:
    """An organisation's access to an asset, and whose turn it is.

    Args:
        grant: the organisation's latest grant on the asset.
        agreement: its latest agreement on the asset.
        offered: whether the provider offers the asset to it; None where that is not known.
    """
    ended = _ended(grant, agreement, now)
    stopped = grant is not None and ended in ("refused", "revoked", "expired")
    if agreement is not None and not stopped and _runs(agreement, now):
        return _with_agreement(grant, agreement)
    if grant is None or ended in ("refused", "revoked", "expired"):
        return Course(frozenset(), Step.REQUEST, Turn.OWN, grant, agreement, ended)
    if grant.state in (GrantState.SENT, GrantState.REQUESTED):
        turn = Turn.CHAIN if grant.state is GrantState.SENT else Turn.PROVIDER
        done = frozenset({Step.REQUEST})
        return Course(done, Step.DECISION, turn, grant, agreement, ended)
    done = frozenset({Step.REQUEST, Step.DECISION})
    if offered is False:
        return Course(done, Step.OFFER, Turn.PROVIDER, grant, agreement, ended)
    return Course(done | {Step.OFFER}, Step.AGREEMENT, Turn.OWN, grant, agreement, ended)


def _runs(agreement: OwnAgreement, now: int) -> bool:
    pending = (AgreementStage.PROPOSED, AgreementStage.SIGNED)
    return agreement.state in pending or (
        agreement.state is AgreementStage.OPEN and agreement.ends_at >= now
    )


def _with_agreement(grant: OwnGrant | None, agreement: OwnAgreement) -> Course:
    before = frozenset({Step.REQUEST, Step.DECISION, Step.OFFER})
    if agreement.state is not AgreementStage.OPEN:
        proposed = agreement.state is AgreementStage.PROPOSED
        turn = Turn.PROVIDER if proposed else Turn.CHAIN
        return Course(before, Step.AGREEMENT, turn, grant, agreement, "")
    done = before | {Step.AGREEMENT}
    if agreement.calls:
        return Course(done | {Step.CALL}, None, Turn.NOBODY, grant, agreement, "")
    return Course(done, Step.CALL, Turn.OWN, grant, agreement, "")


def _ended(grant: OwnGrant | None, agreement: OwnAgreement | None, now: int) -> str:
    """How the latest attempt ended; empty where none did."""
    if grant is not None:
        if grant.state in (GrantState.REFUSED, GrantState.REVOKED):
            return grant.state.value
        if grant.terms.not_after < now:
            return "expired"
    if agreement is not None and agreement.state in (
        AgreementStage.FAILED,
        AgreementStage.EXPIRED,
        AgreementStage.WITHDRAWN,
        AgreementStage.CLOSED,
        AgreementStage.NOTICE,
    ):
        return agreement.state.value
    return ""
