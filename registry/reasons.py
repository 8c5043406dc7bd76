"""Why a right is refused, revoked or held: codes for the chain, and the words people use for them.

A reason is on the chain for everybody to read, so it is a code and never free text, which could
name a person.
"""

from __future__ import annotations

from collections.abc import Mapping

from chain.core.errors import BadInput
from chain.ethereum.eip712 import encode_code

REASONS: Mapping[str, str] = {
    "consent-withdrawn": "主体撤回同意",
    "data-error": "数据有误",
    "dispute": "存在争议",
    "key-lost": "密钥遗失",
    "legal-order": "司法或行政要求",
    "member-left": "成员退出",
    "misuse": "违规使用",
    "purpose-ended": "用途已结束",
    "source-replaced": "数据源已更换",
    "unpaid-penalty": "罚款未缴",
    "wrong-purpose": "用途不符",
}
"""Code to Chinese name. A network may use further codes of the same form."""

_BY_NAME = {name: code for code, name in REASONS.items()}


def reason_code(text: str) -> str:
    """The code of a reason given as a code or by its Chinese name.

    Raises:
        BadInput: ``reason_missing``, ``reason_malformed``.
    """
    given = text.strip()
    code = _BY_NAME.get(given, given)
    if not code:
        raise BadInput("reason_missing", "A reason is needed.", hint=_hint())
    try:
        encode_code(code)
    except BadInput as error:
        raise BadInput(
            "reason_malformed",
            "A reason is a code of up to 31 lower-case letters, digits "
            "and hyphens, or the Chinese name of one.",
            hint=_hint(),
        ) from error
    return code


def _hint() -> str:
    return "Known are " + ", ".join(f"{code} ({name})" for code, name in REASONS.items()) + "."
