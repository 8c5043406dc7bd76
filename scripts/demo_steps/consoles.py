"""The consoles of a network that stays up: a person for each role, and a page with their links."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from nodes import config as configuration
from nodes.cli.console import invitation_link, opened_records
from nodes.initialise import CONFIG_FILE
from nodes.provision import Organisation
from scripts.demo_steps.world import DemoOrganisation

PAGE = "start.html"
_TEMPLATES = Path(__file__).parents[1] / "templates"

PERSONS = {
    "operator": ("administrator", "clerk", "auditor"),
    "supervisor": ("chief_data_officer", "auditor", "administrator"),
    "department": ("chief_data_officer", "clerk", "auditor", "administrator"),
    "bank": ("clerk", "modeller", "auditor", "administrator"),
    "settlement_bank": ("clerk", "administrator"),
    "agency": ("clerk", "administrator"),
}
"""The persons of an organisation, by its first role."""
ROLE_NAMES = {
    "chief_data_officer": "首席数据官 chief data officer",
    "clerk": "经办人 clerk",
    "modeller": "建模员 modeller",
    "auditor": "审计员 auditor",
    "administrator": "管理员 administrator",
}


@dataclass(frozen=True, slots=True)
class ConsoleLink:
    """A person's one-time link to the console of an organisation."""

    organisation: str
    english: str
    role: str
    url: str


def invite(organisation: Organisation, cast: DemoOrganisation) -> list[ConsoleLink]:
    """Create the organisation's persons; their links."""
    config = configuration.load(organisation.plan.directory / CONFIG_FILE)
    links = []
    with opened_records(config) as records:
        for role in PERSONS[cast.roles[0]]:
            url = invitation_link(
                config, records, login=role.replace("_", "-"), name=ROLE_NAMES[role], roles=[role]
            )
            links.append(ConsoleLink(cast.name, cast.english, ROLE_NAMES[role], url))
    return links


def write(page: Path, links: Sequence[ConsoleLink]) -> None:
    """Write the start page."""
    templates = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined
    )
    organisations = [
        (name, english, list(persons))
        for (name, english), persons in itertools.groupby(
            links, key=lambda link: (link.organisation, link.english)
        )
    ]
    text = templates.get_template("start.html").render(organisations=organisations)
    page.write_text(text, encoding="utf-8")
