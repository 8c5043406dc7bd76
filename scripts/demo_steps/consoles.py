"""The consoles of a network that stays up: a person for each role, and a page with their links."""

from __future__ import annotations

import itertools
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from chain.keys.files import create_person_key, write_private
from nodes import config as configuration
from nodes.cli.console import invitation_link, link_of, opened_records
from nodes.cli.session import json_bytes
from nodes.cli.subject import request_file
from nodes.console.accounts import service as accounts
from nodes.initialise import CONFIG_FILE
from nodes.provision import Organisation
from scripts.demo_steps.trade import ISSUER, consent
from scripts.demo_steps.world import ORGANISATIONS, DemoOrganisation, World

PAGE, FOR_PROGRAMS = "start.html", "start.json"
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


LINKS = 5
"""One-time links for each person: a browser is one person at a console, so people change over."""


@dataclass(frozen=True, slots=True)
class PersonLinks:
    """A person's one-time links to the console of an organisation; each logs in."""

    organisation: str
    english: str
    role: str
    kind: str
    """The role as the configuration names it."""
    urls: tuple[str, ...]
    key: str
    """The file of the chief data officer's own key, which signs decisions; empty for others."""


def visit(organisation: Organisation, role: str) -> str:
    """A one-time link for one more person of this role."""
    config = configuration.load(organisation.plan.directory / CONFIG_FILE)
    with opened_records(config) as records:
        login = f"{role.replace('_', '-')}-visitor"
        return invitation_link(config, records, login=login, name=ROLE_NAMES[role], roles=[role])


def invite(organisation: Organisation, cast: DemoOrganisation) -> list[PersonLinks]:
    """Create the organisation's persons; their links."""
    config = configuration.load(organisation.plan.directory / CONFIG_FILE)
    links = []
    with opened_records(config) as records:
        for role in PERSONS[cast.roles[0]]:
            login = role.replace("_", "-")
            first = invitation_link(
                config, records, login=login, name=ROLE_NAMES[role], roles=[role]
            )
            account = next(one.id for one in accounts.listing(records) if one.login == login)
            more = [
                link_of(config, accounts.another_link(records, account)) for _ in range(1, LINKS)
            ]
            key = organisation.plan.officer_key if role == "chief_data_officer" else None
            links.append(
                PersonLinks(
                    cast.name,
                    cast.english,
                    ROLE_NAMES[role],
                    role,
                    (first, *more),
                    "" if key is None else str(key),
                )
            )
    return links


@dataclass(frozen=True, slots=True)
class FirmLink:
    """A trader's key file, and the consoles where it logs in."""

    address: str
    key_file: str
    consoles: list[tuple[str, str]]
    """Name and address."""


def firm(world: World) -> FirmLink:
    """Give the first trader a key file of its own, certified for consents, and a consent under it:
    the tax bureau shows who looked at its records, the bank its consent.
    """
    path = world.directory / f"firm-{secrets.token_hex(4)}.json"
    trader = consent(world, 1, key=create_person_key(path))
    request = request_file(path)
    write_private(request, json_bytes(trader.subject.request(purpose="consent")))
    places = [(cast.name, world.organisations[cast.key]) for cast in ORGANISATIONS]
    return FirmLink(
        address=trader.subject.key.address,
        key_file=str(path),
        consoles=[
            (name, f"{_address(organisation)}/my/login")
            for name, organisation in places
            if organisation.member in (world.code(ISSUER), world.code("bank"))
        ],
    )


def _address(organisation: Organisation) -> str:
    settings = configuration.load(organisation.plan.directory / CONFIG_FILE).console
    assert settings is not None
    scheme = "http" if settings.plain_http else "https"
    return f"{scheme}://{settings.host}:{settings.port}"


def write_for_programs(file: Path, links: Sequence[PersonLinks]) -> None:
    """Write the same links by organisation and role, for ``python -m scripts.screenshots``; its
    links are the last ones of each person.
    """
    content = {f"{person.english}/{person.kind}": list(person.urls) for person in links}
    file.write_text(json.dumps(content, indent=1), encoding="utf-8")


def write(page: Path, links: Sequence[PersonLinks], firm_link: FirmLink) -> None:
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
    text = templates.get_template("start.html").render(organisations=organisations, firm=firm_link)
    page.write_text(text, encoding="utf-8")
