"""``qiaolian unit``: the registration centre's register: units, title statements, holds."""

from __future__ import annotations

import argparse
import csv
import io
import time
from functools import partial
from pathlib import Path
from typing import Any

from chain.errors import BadInput
from scripts.people.desk import Desk, json_bytes
from scripts.people.verb import OUT, Noun, Verb, arg, change

NUMBER = arg("unit", metavar="NUMBER", help="the unit's register number")
ORDER = (
    arg("--court", required=True, help="whose order it is"),
    arg("--number", required=True, help="the order's number"),
    arg("--date", required=True, help="the order's date, YYYY-MM-DD"),
)


def _enter(desk: Desk, arguments: argparse.Namespace) -> None:
    try:
        rows = list(csv.DictReader(io.StringIO(arguments.file.read_text(encoding="utf-8-sig"))))
        units = [{"number": row["number"], "owner": row["owner"]} for row in rows]
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput("file_unreadable", f"{arguments.file} cannot be read as UTF-8 text.") from error
    except KeyError as error:
        raise BadInput("row_malformed", f"{arguments.file.name} has not the columns number and owner.") from error
    answer = desk.client.post("/v1/units", {"units": units})
    desk.table(answer["units"], {"number": "number", "unit": "unit"}, whole=answer)


def _title(desk: Desk, arguments: argparse.Namespace) -> None:
    body = {"unit": arguments.unit, "ownerKey": arguments.owner_key, "notAfter": int(time.time()) + arguments.days * 86_400}
    made = desk.client.post("/v1/titles", body)
    desk.save(arguments.out, json_bytes(made))
    desk.show(made)


def _hold(arguments: argparse.Namespace, *, placed: bool) -> dict[str, Any]:
    order = {name: getattr(arguments, name) for name in ("court", "number", "date")}
    return {"unit": arguments.unit, "order": order, "placed": placed}


NOUN = Noun(
    (
        Verb("enter", "enter units with their owners' codes", _enter, (arg("file", type=Path, help="CSV with the columns number and owner"),)),
        Verb(
            "title",
            "state that the holder of a certified key may sell a unit",
            _title,
            (
                NUMBER,
                arg("--owner-key", required=True, metavar="ADDRESS", help="the owner's key, certified here for deals"),
                arg("--days", type=int, default=30, help="for how long (default 30)"),
                OUT,
            ),
        ),
        Verb(
            "hold",
            "stop a unit's sale by a court's or registry's order",
            change("/v1/holds", partial(_hold, placed=True)),
            (NUMBER, *ORDER),
        ),
        Verb("lift", "end a unit's hold by an order", change("/v1/holds", partial(_hold, placed=False)), (NUMBER, *ORDER)),
    )
)
