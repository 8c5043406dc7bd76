"""Labels of roles and states."""

from __future__ import annotations

from nodes.console.accounts.model import AccountState, PersonRole
from nodes.console.i18n import N_

ROLE_LABELS = {
    PersonRole.CHIEF_DATA_OFFICER: N_("chief data officer"),
    PersonRole.CLERK: N_("clerk"),
    PersonRole.MODELLER: N_("modeller"),
    PersonRole.AUDITOR: N_("auditor"),
    PersonRole.ADMINISTRATOR: N_("administrator"),
}
STATE_LABELS = {
    AccountState.INVITED: N_("invited"),
    AccountState.ACTIVE: N_("active"),
    AccountState.DISABLED: N_("disabled"),
    AccountState.FORGOTTEN: N_("forgotten"),
}
