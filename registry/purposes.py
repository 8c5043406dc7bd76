"""The purposes data may be used for (用途), and what each demands. Pure.

The network knows a fixed list of purposes. Each asset version lists those it may be used for, each
with whether the subject's consent is needed; the list is part of the version's hashed metadata. A
purpose that the version does not list is refused when a grant is requested or approved, when an
agreement is proposed or countersigned, and at every call. The scene of a grant (场景) is a free
code beside the purpose and decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chain.core.errors import BadInput, Forbidden


@dataclass(frozen=True)
class Purpose:
    """A purpose of the network's list."""

    code: str
    title_zh: str
    always_needs_consent: bool = False
    """Whether no owner may waive the subject's consent."""


KNOWN_PURPOSES: Mapping[str, Purpose] = {
    purpose.code: purpose
    for purpose in (
        Purpose("credit-assessment", "信用评估", always_needs_consent=True),
        Purpose("anti-fraud", "反欺诈"),
        Purpose("statistics", "统计分析"),
        Purpose("public-service", "公共服务"),
        Purpose("property-registration", "不动产登记"),
    )
}
"""The network's public list."""


@dataclass(frozen=True)
class ListedPurposes:
    """The purposes of one asset version: by code, whether the subject's consent is needed."""

    consent: Mapping[str, bool]

    def require(self, purpose: str) -> None:
        """Refuse a purpose the version does not list: ``purpose_not_listed``."""
        if purpose not in self.consent:
            listed = ", ".join(sorted(self.consent))
            raise Forbidden(
                "purpose_not_listed",
                "The asset version may not be used for this purpose.",
                hint=f"It lists: {listed}.",
            )

    def needs_consent(self, purpose: str) -> bool:
        """Whether a use for this purpose needs the subject's consent.

        One that is not listed does.
        """
        return self.consent.get(purpose, True)

    def to_json(self) -> dict[str, dict[str, bool]]:
        """The form in an asset's metadata."""
        return {code: {"consent": needed} for code, needed in sorted(self.consent.items())}


def require_known(purpose: str) -> None:
    """Refuse a purpose that is not on the network's list: ``purpose_unknown``."""
    if purpose not in KNOWN_PURPOSES:
        raise BadInput(
            "purpose_unknown",
            "The purpose is not on the network's list.",
            hint=", ".join(KNOWN_PURPOSES),
        )


def require_purposes(wanted: Mapping[str, bool]) -> ListedPurposes:
    """The purposes an owner lists for a version it publishes.

    Raises:
        BadInput: ``purposes_missing``, ``purpose_unknown``, ``consent_always_needed``.
    """
    if not wanted:
        raise BadInput(
            "purposes_missing",
            "The asset lists no purpose it may be used for.",
            hint=f"List at least one of: {', '.join(KNOWN_PURPOSES)}.",
        )
    for code, needed in wanted.items():
        require_known(code)
        if KNOWN_PURPOSES[code].always_needs_consent and not needed:
            raise BadInput(
                "consent_always_needed",
                f"The purpose {code} always needs the subject's consent.",
                hint="Leave the consent as it is.",
            )
    return ListedPurposes(dict(wanted))


def listed_in(metadata: Mapping[str, Any]) -> ListedPurposes:
    """The purposes of a version by its metadata.

    A version published before versions listed their purposes allows every known purpose, each with
    the subject's consent.

    Raises:
        BadInput: ``metadata_malformed``.
    """
    if "purposes" not in metadata:
        return ListedPurposes(dict.fromkeys(KNOWN_PURPOSES, True))
    try:
        consent = {str(code): demands["consent"] for code, demands in metadata["purposes"].items()}
    except (AttributeError, KeyError, TypeError) as error:
        raise BadInput(
            "metadata_malformed",
            "The asset's metadata does not list its purposes in the form expected.",
        ) from error
    if not all(type(needed) is bool for needed in consent.values()):
        raise BadInput(
            "metadata_malformed",
            "The asset's metadata does not list its purposes in the form expected.",
        )
    return ListedPurposes(
        {
            code: needed or (code in KNOWN_PURPOSES and KNOWN_PURPOSES[code].always_needs_consent)
            for code, needed in consent.items()
        }
    )
