"""What readiness shows to whom."""

from __future__ import annotations

from nodes.health import Dependency, Readiness, for_strangers


def test_strangers_see_that_claims_are_at_risk_and_neither_how_much_nor_until_when() -> None:
    detail = "1060 fen under 1 agreement are acknowledged and not claimed; they can be lost after 2026-03-02."
    claims = Dependency(name="claims", up=False, code="claims_at_risk", detail=detail, hint="start it")
    outbox = Dependency(name="outbox", up=False, code="outbox_lagging", detail="waited 130 s", hint="look")
    shown = for_strangers(Readiness(ready=False, dependencies=[outbox, claims]))
    assert shown.dependencies[0] == outbox
    assert (shown.dependencies[1].up, shown.dependencies[1].code) == (False, "claims_at_risk")
    assert not any(character.isdigit() for character in shown.dependencies[1].detail + shown.dependencies[1].hint)
