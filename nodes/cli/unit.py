"""``qiaolian unit``: the registration centre's register: units, title statements, holds."""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import io
import time
from functools import partial
from pathlib import Path
from typing import Any

from chain.core.errors import BadInput
from chain.core.zone import city_zone
from nodes.cli.command_group import OUT, PAGE, Command, CommandGroup, arg, change, read_pages
from nodes.cli.output import Columns, when
from nodes.cli.session import CommandSession, json_bytes

HELD: Columns = {
    "number": "number",
    "court": lambda row: row["order"].get("court"),
    "order": lambda row: row["order"].get("number"),
    "until": lambda row: when(row["endsAt"]),
    "unit": "unit",
}

NUMBER = arg("unit", metavar="NUMBER", help="the unit's register number")
ORDER = (
    arg("--court", required=True, help="whose order it is"),
    arg("--number", required=True, help="the order's number"),
    arg("--date", required=True, help="the order's date, YYYY-MM-DD"),
)


def _enter(session: CommandSession, arguments: argparse.Namespace) -> None:
    try:
        rows = list(csv.DictReader(io.StringIO(arguments.file.read_text(encoding="utf-8-sig"))))
        units = [{"number": row["number"], "owner": row["owner"]} for row in rows]
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            "file_unreadable", f"{arguments.file} cannot be read as UTF-8 text."
        ) from error
    except KeyError as error:
        raise BadInput(
            "row_malformed", f"{arguments.file.name} has not the columns number and owner."
        ) from error
    answer = session.client.post("/v1/units", {"units": units})
    session.table(answer["units"], {"number": "number", "unit": "unit"}, whole=answer)


def _title(session: CommandSession, arguments: argparse.Namespace) -> None:
    body = {
        "unit": arguments.unit,
        "ownerKey": arguments.owner_key,
        "notAfter": int(time.time()) + arguments.days * 86_400,
    }
    made = session.client.post("/v1/titles", body)
    session.save(arguments.out, json_bytes(made))
    session.show(made)


def _hold(arguments: argparse.Namespace, *, placed: bool) -> dict[str, Any]:
    order = {name: getattr(arguments, name) for name in ("court", "number", "date")}
    end = {"endsAt": _end_of_day(arguments.until)} if placed else {}
    return {"unit": arguments.unit, "order": order, "placed": placed, **end}


def _end_of_day(text: str) -> int:
    """The last second of a day by the city's calendar, in Unix seconds."""
    try:
        day = dt.date.fromisoformat(text)
    except ValueError as error:
        raise BadInput(
            "date_malformed", f"{text} is no date.", hint="Write it as YYYY-MM-DD."
        ) from error
    return int(dt.datetime.combine(day, dt.time(23, 59, 59), city_zone()).timestamp())


GROUP = CommandGroup(
    (
        Command(
            "enter",
            "enter units with their owners' codes",
            _enter,
            (arg("file", type=Path, help="CSV with the columns number and owner"),),
        ),
        Command(
            "title",
            "state that the holder of a certified key may sell a unit",
            _title,
            (
                NUMBER,
                arg(
                    "--owner-key",
                    required=True,
                    metavar="ADDRESS",
                    help="the owner's key, certified here for deals",
                ),
                arg("--days", type=int, default=30, help="for how long (default 30)"),
                OUT,
            ),
        ),
        Command(
            "hold",
            "stop a unit's sale by a court's or registry's order",
            change("/v1/holds", partial(_hold, placed=True)),
            (
                NUMBER,
                *ORDER,
                arg(
                    "--until",
                    required=True,
                    metavar="YYYY-MM-DD",
                    help="the order's last day, within three years",
                ),
            ),
        ),
        Command(
            "holds",
            "this centre's holds in force, the next to end first",
            read_pages("/v1/holds", within="holds", columns=HELD),
            PAGE,
        ),
        Command(
            "lift",
            "end a unit's hold by an order",
            change("/v1/holds", partial(_hold, placed=False)),
            (NUMBER, *ORDER),
        ),
        Command(
            "end-hold",
            "end a hold whose order has ended without a further one, of any centre's unit",
            change(
                "/v1/holds/end",
                lambda arguments: {"registrar": arguments.registrar, "unit": arguments.pseudonym},
            ),
            (
                arg("registrar", metavar="MEMBER"),
                arg("pseudonym", help="the unit's name on the chain, as in a title statement"),
            ),
        ),
    )
)
