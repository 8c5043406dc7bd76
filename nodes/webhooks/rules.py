"""Rules of webhooks: addresses, signatures, retries. Pure: no I/O and no clock.

1. An address is ``https://`` with a host; ``http://`` only at a literal loopback address.
2. A host's every address is either public or in a network that the configuration allows.
3. The signature is HMAC-SHA-256 under the webhook's secret over ``<seconds>.<body>``, as Stripe's
   (docs.stripe.com/webhooks, "Verify manually"), so that an old delivery cannot be passed off as a
   new one.
4. A failed attempt is repeated after 5 s, then after twice as long each time, at most an hour.
5. A delivery is given up after three days, and a webhook to which nothing was delivered for three
   days is disabled.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from chain.core.errors import BadInput
from nodes.webhooks.model import SUBSCRIBED

MAX_URL = 500
MAX_DESCRIPTION = 200
MAX_WEBHOOKS = 20
FIRST_DELAY, MAX_DELAY = 5, 3_600
GIVE_UP_SECONDS = 3 * 86_400
KEEP_SECONDS = 30 * 86_400
"""Deliveries are listed, and can be replayed, for so long."""
FORMER_SECRET_SECONDS = 86_400
CAP_NEAR_PERCENT = 80

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def require_url(url: str) -> None:
    """Refuse what is no address of a webhook; ``webhook_url_refused``."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise _refused_url("It is no URL.") from error
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise _refused_url("It is too long, or has characters that no URL has.")
    if not host or port == 0 or parts.username is not None or parts.password is not None:
        raise _refused_url("It needs a host, and neither name nor password.")
    if parts.fragment:
        raise _refused_url("It has a fragment.")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise _refused_url("It is not https.")


def is_allowed(address: str, allowed: Sequence[Network]) -> bool:
    """Whether a delivery may go to this address: a public one, or one of an allowed network."""
    found: Address = ipaddress.ip_address(address.partition("%")[0])
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    found = mapped or found
    if any(found.version == network.version and found in network for network in allowed):
        return True
    return found.is_global and not found.is_multicast and not _is_translated(found)


def require_kinds(kinds: Sequence[str]) -> tuple[str, ...]:
    """The kinds in a fixed order; all of them where none is given. ``event_kind_unknown``."""
    for kind in kinds:
        if kind not in SUBSCRIBED:
            raise BadInput(
                "event_kind_unknown",
                "There is no such kind of event.",
                hint=f"Known: {', '.join(SUBSCRIBED)}.",
            )
    return tuple(kind.value for kind in SUBSCRIBED if not kinds or kind in kinds)


def signature(secrets: Sequence[str], *, at: int, body: bytes) -> str:
    """The value of ``Qiaolian-Signature``: the time, and a signature under each secret."""
    signed = f"{at}.".encode() + body
    made = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets]
    return ",".join([f"t={at}", *(f"v1={value}" for value in made)])


def retry_delay(attempts: int) -> int:
    """Seconds until the next attempt after so many failed ones, at least one."""
    return min(MAX_DELAY, FIRST_DELAY << min(attempts - 1, 20))


def is_given_up(*, since: int, now: int) -> bool:
    """Whether a delivery, or a webhook, that fails since then is given up."""
    return now - since >= GIVE_UP_SECONDS


def is_cap_near(*, spent: int, cap: int) -> bool:
    """Whether so much of an agreement's cap is spent that its people should know."""
    return cap > 0 and spent * 100 >= cap * CAP_NEAR_PERCENT


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_translated(address: Address) -> bool:
    """Whether an IPv6 address maps to an IPv4 one behind a translator (6to4, Teredo, NAT64)."""
    if isinstance(address, ipaddress.IPv4Address):
        return False
    nat64 = ipaddress.IPv6Network("64:ff9b::/96")
    return address.sixtofour is not None or address.teredo is not None or address in nat64


def _refused_url(sentence: str) -> BadInput:
    return BadInput(
        "webhook_url_refused",
        f"A webhook's address cannot be used. {sentence}",
        hint="Give https://HOST/PATH of a system of your own.",
    )
