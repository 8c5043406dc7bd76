"""The consents that calls carry: read at the gateway, sent by the buyer's node."""

from __future__ import annotations

from typing import Any

from chain.context import Context
from chain.core.errors import BadInput, QiaolianError
from exchange.metering.authorisation import ShownConsent
from exchange.metering.model import CallQuery
from registry.credit import consents
from registry.credit.rules import require_size


def shown(context: Context, package: Any) -> ShownConsent:
    """The consent package that came with a call, checked by itself; an error where it does not hold
    together.
    """
    if package is None:
        return None
    try:
        return consents.check_consent(context, package)
    except QiaolianError as error:
        return error


async def package_for(context: Context, query: CallQuery) -> str | None:
    """The consent a buyer's request carries, as JSON; ``consent_unknown``, ``consent_malformed``,
    ``consent_too_large``.
    """
    if not query.consent:
        return None
    try:
        commitment = bytes.fromhex(query.consent.removeprefix("0x"))
    except ValueError as error:
        raise BadInput(
            "consent_malformed", "A consent is named by its commitment in 0x hexadecimal."
        ) from error
    text = await consents.stored_package_json(context, commitment)
    require_size(text)
    return text
