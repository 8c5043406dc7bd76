"""Labels of the kinds of acts."""

from __future__ import annotations

from nodes.console.acts.model import ActKind
from nodes.console.i18n import N_

KIND_LABELS = {
    ActKind.VIEW: N_("viewed"),
    ActKind.EXPORT: N_("exported"),
    ActKind.USE: N_("used"),
    ActKind.COPY: N_("copied"),
    ActKind.REQUEST: N_("requested"),
    ActKind.APPROVE: N_("approved"),
    ActKind.REFUSE: N_("refused"),
    ActKind.REVOKE: N_("revoked"),
    ActKind.PUBLISH: N_("published"),
    ActKind.CHANGE: N_("changed"),
    ActKind.LOG_IN: N_("logged in"),
    ActKind.LOG_OUT: N_("logged out"),
    ActKind.LOG_IN_REFUSED: N_("log-in refused"),
}
