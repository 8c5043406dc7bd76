"""What the chain must say of the parties and of the subject's consent before a call is served, and before its answer is given again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chain.context import Context
from chain.errors import BadInput, Forbidden
from chain.view import Word
from chain.words import AssetWord, ConsentWord, GrantWord, HoldWord, KeyWord, MemberWord
from exchange.metering.model import Query
from registry.credit import service as credit
from registry.credit.rules import ConsentPackage, require_size
from registry.purposes import ListedPurposes


def words(query: Any) -> list[Word]:
    """The words that tell a query's consent, to be proved together with the rest."""
    text = query.get("consent") if isinstance(query, dict) else None
    if not isinstance(text, str) or len(text) != 66:
        return []
    try:
        return [Word("CreditLedger", "consents", (bytes.fromhex(text[2:]),))]
    except ValueError:
        return []


def require_parties(wanted: Sequence[Word], values: Mapping[Word, int]) -> None:
    """The buyer is active, both pinned keys are in force, the asset is neither cancelled nor held: ``not_active``, ``key_ended``, ``asset_held``,
    ``asset_cancelled``."""
    for word in wanted:
        value = values[word]
        if word.variable == "members" and not MemberWord.decode(value).live:
            raise Forbidden("not_active", "The buyer is suspended or removed.")
        if word.variable == "keys" and not KeyWord.decode(value).live:
            raise Forbidden("key_ended", "A key that the agreement pins, the buyer's or the provider's, has ended.")
        if word.variable == "holds" and HoldWord.decode(value).held:
            raise Forbidden("asset_held", "The asset is under a dispute hold.")
        if word.variable == "assets" and not AssetWord.decode(value).live:
            raise Forbidden("asset_cancelled", "The asset was cancelled.")


def require_consent(context: Context, bank: str, query: Query, package: Any, *, purposes: ListedPurposes, now: int) -> None:
    """The subject consents, where the asset version demands it for the purpose.

    Raises:
        QiaolianError: what ``registry.credit.service.authorise_consent`` raises.
    """
    if not purposes.needs_consent(query.purpose):
        return
    credit.authorise_consent(context, package, commitment=query.consent, subject=query.subject, bank=bank, purpose=query.purpose, now=now)


def require_not_withdrawn(wanted: Sequence[Word], values: Mapping[Word, int], query: Query, *, purposes: ListedPurposes, stopped: bool) -> None:
    """No right that a served place stands on was withdrawn since, by the chain's words and the owner's own stop (``stopped``).

    A void takes a served place out of the books, so nothing that the buyer sends beside its signed request, and no mere passing of time, is asked
    here: the consent is the one that the signed query names.

    Raises:
        Forbidden: what ``require_parties`` raises, ``grant_revoked``, ``consent_withdrawn``.
    """
    require_parties(wanted, values)
    if stopped or any(GrantWord.decode(values[word]).revoked_at for word in wanted if word.variable == "grants"):
        raise Forbidden("grant_revoked", "The grant was revoked.")
    if not purposes.needs_consent(query.purpose):
        return
    if any(ConsentWord.decode(values[word]).withdrawn_at for word in words(query.to_json())):
        raise Forbidden("consent_withdrawn", "The subject withdrew the consent.")


def require_repeated(query: Query, package: Any, *, purposes: ListedPurposes) -> None:
    """A repetition carries the consent that its place was served with, where the purpose needs one: ``consent_missing``, ``consent_malformed``.

    A place that was served without a consent, before the asset's purposes were listed, is repeated without one.
    """
    if not query.consent or not purposes.needs_consent(query.purpose):
        return
    hint = "Send the request as it was first sent; its place stands as it is."
    if package is None:
        raise Forbidden("consent_missing", "The request is repeated without the consent it was served with.", hint=hint)
    if "0x" + ConsentPackage.from_json(package).consent_id().hex() != query.consent:
        raise BadInput("consent_malformed", "The request is repeated with another consent than it was served with.", hint=hint)


async def package_for(context: Context, query: Query) -> str | None:
    """The consent a buyer's request carries, as JSON; ``consent_unknown``, ``consent_malformed``, ``consent_too_large``."""
    if not query.consent:
        return None
    try:
        commitment = bytes.fromhex(query.consent.removeprefix("0x"))
    except ValueError as error:
        raise BadInput("consent_malformed", "A consent is named by its commitment in 0x hexadecimal.") from error
    text = await credit.held_text(context, commitment)
    require_size(text)
    return text
