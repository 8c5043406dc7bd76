"""A town of five organisations that the command line works for, and what several tests do there."""

from __future__ import annotations

import contextlib
import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nodes.cli.main import main
from nodes.provision import Organisation

PEOPLE = "id,age,area,note\nA1,31,华侨城,x\nB2,42,north,y\nC3,53,south,z\n"


@dataclass
class CommandResult:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def run_command(*arguments: str) -> CommandResult:
    """Run one command in this process; nobody sits at a terminal."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(arguments))
    return CommandResult(code, out.getvalue(), err.getvalue())


@dataclass
class Town:
    """Five organisations; the bank's node is laid out and not yet admitted."""

    directory: Path
    organisations: dict[str, Organisation]
    deployment: Path

    def __getitem__(self, name: str) -> str:
        return self.organisations[name].member

    def node(self, name: str) -> tuple[str, str]:
        return ("--node", str(self.organisations[name].plan.directory))

    def stranger(self, name: str) -> tuple[str, ...]:
        """How somebody without an account reaches a node."""
        at = self.organisations[name]
        return ("--url", at.url, "--certificate", str(at.certificate))

    def at(self, name: str, *arguments: str) -> Any:
        """A command at an organisation's own node; what it answered to programs."""
        return output_of(*arguments, *self.node(name), "--json")

    def path(self, name: str) -> Path:
        return self.directory / name


def output_of(*arguments: str) -> Any:
    answer = run_command(*arguments)
    assert answer.code == 0, (arguments, answer.err)
    return answer.json if "--json" in arguments else answer.out


def retried(*arguments: str, seconds: float = 60.0) -> Any:
    """A command repeated until another node has followed the chain so far."""
    deadline = time.monotonic() + seconds
    while (answer := run_command(*arguments)).code != 0 and time.monotonic() < deadline:
        time.sleep(0.3)
    assert answer.code == 0, (arguments, answer.err)
    return answer.json if "--json" in arguments else answer.out


def eventually(look: Callable[[], Any], *, seconds: float = 60.0) -> Any:
    """What ``look`` gives once it is true."""
    deadline = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert found
    return found


def admin_key(town: Town, name: str) -> str:
    return str(town.organisations[name].plan.admin_key)


def officer_key(town: Town, name: str) -> str:
    return str(town.organisations[name].plan.officer_key)


def publish_people(town: Town, *options: str) -> str:
    """The department's records of people as an asset, for statistics without consent; its id."""
    masking = ("--mask", "age=range:10", "--mask", "area=keep", "--mask", "note=drop")
    titles = ("--title-zh", "人员信息", "--title-en", "People", "--description", "Test records")
    made = town.at(
        "department",
        *("asset", "publish", "--name", "people", "--source", "people", "--grade", "3"),
        *(*titles, *masking, "--purpose", "statistics=no-consent", *options),
    )
    assert made["outcome"]["state"] == "done"
    return str(made["assetId"])


def grant_people(town: Town, asset_id: str, purpose: str) -> str:
    """A grant that the bank asked for and the department's officer approved; its id."""
    terms = ("--scene", "small-loan", "--purpose", purpose, "--uses", "1000")
    asked = town.at("bank", "grant", "request", "--asset", asset_id, *terms)
    key = officer_key(town, "department")
    approval = ("grant", "approve", asked["grantId"], "--key", key, "--yes")
    assert town.at("department", *approval)["outcome"]["state"] == "done"
    return str(asked["grantId"])
