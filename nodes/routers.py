"""Every endpoint of the domain packages, and every module that declares tables."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator, Sequence
from types import ModuleType

from fastapi import APIRouter
from sqlalchemy.orm import Session

from chain.context import Context
from chain.ethereum.ledger import Event

DOMAINS = (
    "exchange.metering",
    "registry.members",
    "registry.assets",
    "registry.grants",
    "registry.credit",
    "registry.property",
    "registry.evidence",
    "exchange.agreements",
    "exchange.settlement",
    "exchange.reconciliation",
    "exchange.reports",
)
"""Routes are tried in this order, so what is called most comes first."""


def routers() -> Iterator[APIRouter]:
    """The routers of all domains."""
    for domain in DOMAINS:
        module = _module(domain, "api")
        if module is not None:
            yield module.router


def load_tables() -> None:
    """Import every module that declares tables on ``chain.core.database.Base``."""
    importlib.import_module("chain.outbox.store")
    importlib.import_module("nodes.store")
    importlib.import_module("registry.idempotency")
    for domain in DOMAINS:
        _module(domain, "store")


def _module(domain: str, name: str) -> ModuleType | None:
    """A domain's module of that name; None where the domain has no such part."""
    if (
        importlib.util.find_spec(domain) is None
        or importlib.util.find_spec(f"{domain}.{name}") is None
    ):
        return None
    return importlib.import_module(f"{domain}.{name}")


def apply_events(session: Session, events: Sequence[Event], context: Context) -> None:
    """Hand the chain's events to every package that keeps books of them, inside the caller's
    transaction.
    """
    for package in ("registry", "exchange"):
        module = _module(package, "projection")
        if module is not None:
            module.apply(session, events, context)
