"""What people read about webhooks."""

from __future__ import annotations

from nodes.console.i18n import N_
from nodes.webhooks.model import EventKind

KIND_LABELS: dict[str, str] = {
    EventKind.GRANT_REQUESTED: N_("A grant is requested"),
    EventKind.GRANT_APPROVED: N_("A grant is approved"),
    EventKind.GRANT_REFUSED: N_("A grant is refused"),
    EventKind.GRANT_REVOKED: N_("A grant is revoked"),
    EventKind.AGREEMENT_OPENED: N_("An agreement is opened"),
    EventKind.AGREEMENT_NOTICE: N_("Notice is given for an agreement"),
    EventKind.AGREEMENT_CLOSED: N_("An agreement is closed"),
    EventKind.AGREEMENT_CAP_NEAR: N_("80 percent of an agreement's cap is spent"),
    EventKind.CLAIM_SETTLED: N_("A claim is settled"),
    EventKind.ASSET_INCIDENT: N_("A source departs from what was published"),
    EventKind.TEST: N_("Test"),
}
DELIVERY_LABELS = {
    "pending": N_("pending"),
    "delivered": N_("delivered"),
    "failed": N_("not delivered"),
}
FAILURE_LABELS = {
    "webhook_address_refused": N_("The address is inside a network that is not allowed"),
    "webhook_answer": N_("The system answered with an error"),
    "webhook_certificate": N_("The system's certificate is not trusted"),
    "webhook_disabled": N_("The webhook was disabled"),
    "webhook_redirect": N_("The system answered with a redirect, which is not followed"),
    "webhook_timeout": N_("The system did not answer within 10 seconds"),
    "webhook_unreachable": N_("No connection could be made"),
}
DISABLED_LABELS = {
    "by_hand": N_("disabled by hand"),
    "failing": N_("disabled: nothing was delivered for three days"),
}
