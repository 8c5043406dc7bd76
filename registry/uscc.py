"""统一社会信用代码: the 18-character code that names an organisation (GB 32100-2015).

17 characters of a 31-letter alphabet (no I, O, S, V, Z) and a check character that makes the sum
weighted by 3^i mod 31 a multiple of 31. The MemberDirectory contract checks the same rule.
"""

from __future__ import annotations

from chain.core.errors import BadInput

ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_VALUES = {character: value for value, character in enumerate(ALPHABET)}
_WEIGHTS = tuple(pow(3, position, 31) for position in range(17))


def with_check_character(first17: str) -> str:
    """The whole code whose first 17 characters are given."""
    return first17 + _check_character(first17)


def require_valid(code: str) -> str:
    """``code`` if it is one.

    Raises:
        BadInput: ``wrong_check_character`` for a wrong length, letter or check character.
    """
    if not isinstance(code, str) or len(code) != 18 or _check_character(code[:17]) != code[17]:
        raise BadInput(
            "wrong_check_character",
            "This is not a valid 18-character unified social credit code.",
            hint="Compare it with the organisation's licence; the "
            "letters I, O, S, V and Z do not occur.",
        )
    return code


def _check_character(first17: str) -> str:
    if len(first17) != 17 or any(character not in _VALUES for character in first17):
        raise BadInput(
            "wrong_check_character", "A unified social credit code has a letter it cannot have."
        )
    total = sum(
        _VALUES[character] * weight for character, weight in zip(first17, _WEIGHTS, strict=True)
    )
    return ALPHABET[-total % 31]
