"""Webhooks: check that a delivery comes from the own node, and read it."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

HEADER: Final = "Qiaolian-Signature"
TOLERANCE_SECONDS: Final = 300
"""How old a delivery may be. Each attempt is signed again."""


class DeliveryRefused(Exception):
    """The delivery was not signed with this secret, or it is too old, or it is no event."""


class Event(BaseModel):
    """What happened. ``id`` stays the same when a delivery is repeated: handle each id once."""

    model_config = ConfigDict(frozen=True)
    id: str
    kind: str
    member: str
    object: str
    subject: str
    at: int
    data: Mapping[str, Any]


def verify(
    body: bytes,
    signature: str,
    *,
    secret: str,
    tolerance: float = TOLERANCE_SECONDS,
    now: float | None = None,
) -> Event:
    """The event of a delivery whose signature is right.

    Args:
        body: the bytes of the request's body as they came, before anything decodes them.
        signature: the value of the header ``Qiaolian-Signature``.
        secret: the webhook's; while it is being rotated, either counts.
        tolerance: seconds by which the signed time may differ from this machine's clock.

    Raises:
        DeliveryRefused: answer with status 400, and do nothing.
    """
    at, given = _parsed(signature)
    if abs((time.time() if now is None else now) - at) > tolerance:
        raise DeliveryRefused("The delivery's time is too far from this machine's clock.")
    expected = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    if not any(hmac.compare_digest(expected.encode(), one.encode()) for one in given):
        raise DeliveryRefused("The delivery was not signed with this secret.")
    try:
        return Event.model_validate_json(body)
    except ValidationError as error:
        raise DeliveryRefused("The body is no event.") from error


def _parsed(signature: str) -> tuple[int, list[str]]:
    """The signed time, and the signatures."""
    pairs = [part.partition("=") for part in signature.split(",")]
    times = [value for name, _, value in pairs if name == "t"]
    if len(times) != 1 or not times[0].isascii() or not times[0].isdigit() or len(times[0]) > 12:
        raise DeliveryRefused("The header names no time.")
    return int(times[0]), [value for name, _, value in pairs if name == "v1"]
