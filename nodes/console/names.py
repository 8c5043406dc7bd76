"""What people call members, assets, purposes and reasons; the code where there is no name."""

from __future__ import annotations

from chain.context import Context
from nodes.console.i18n import CHINESE
from registry.assets import catalogue
from registry.members import service as members
from registry.purposes import KNOWN_PURPOSES
from registry.reasons import REASONS


def asset_name(context: Context, asset_id: bytes) -> str:
    """An asset's name; the start of its id before this node knows the asset."""
    return catalogue.name(context, asset_id) or f"0x{asset_id.hex()[:8]}…"


def member_name(context: Context, member: str) -> str:
    """A member's name; its code before this node knows the member."""
    return members.name(context, member) or member


def purpose_name(code: str, language: str) -> str:
    """A purpose in the page's language."""
    known = KNOWN_PURPOSES.get(code)
    return known.title_zh if known is not None and language == CHINESE else code


def reason_name(code: str, language: str) -> str:
    """A reason's code in the page's language."""
    return REASONS.get(code, code) if language == CHINESE else code


def reason_choices(language: str) -> list[tuple[str, str]]:
    """Codes of reasons and their names, for a form."""
    return [(code, reason_name(code, language)) for code in REASONS]
