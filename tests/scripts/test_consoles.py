"""The start page of a network that stays up."""

from __future__ import annotations

import re
from pathlib import Path

from nodes import config as configuration
from nodes.cli.console import opened_records
from nodes.console.accounts import service as accounts
from nodes.initialise import CONFIG_FILE
from nodes.provision import OrganisationPlan, create_organisations
from scripts.demo_steps import consoles
from scripts.demo_steps.world import ORGANISATIONS


def test_the_start_page_has_a_one_time_link_for_each_person(tmp_path: Path) -> None:
    cast = [item for item in ORGANISATIONS if item.key in ("tax", "bank")]
    plans = [OrganisationPlan(item.code, item.name, item.roles, console=True) for item in cast]
    organisations = create_organisations(
        tmp_path, plans, rpc=["http://127.0.0.1:9"], deployment=tmp_path / "deployment.json"
    )
    links = [
        link
        for item, organisation in zip(cast, organisations, strict=True)
        for link in consoles.invite(organisation, item)
    ]
    page = tmp_path / consoles.PAGE
    firm = consoles.FirmLink(
        "0x" + "12" * 20, "firm.json", [("税务局", "http://127.0.0.1:1/my/login")]
    )
    consoles.write(page, links, firm)
    found = re.findall(r'href="(http://127\.0\.0\.1:\d+)/invitations/([\w-]+)"', page.read_text())
    assert len(links) == 8
    assert len(found) == 8 * consoles.LINKS
    assert len({url for url, _ in found}) == 2
    config = configuration.load(organisations[1].plan.directory / CONFIG_FILE)
    with opened_records(config) as records:
        assert (
            accounts.invited(records, links[-1].urls[0].rpartition("/")[2]).login == "administrator"
        )


def test_every_organisation_of_the_demo_has_persons() -> None:
    assert {item.roles[0] for item in ORGANISATIONS} == set(consoles.PERSONS)
