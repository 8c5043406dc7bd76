"""``qiaolian deal``: a property deal from the agent's draft to registration; seller and buyer sign
with keys only they hold.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chain.core.errors import BadInput
from chain.statements.property import DealTerms, StepKind
from nodes.cli.command_group import (
    KEY_OPTIONS,
    OUT,
    PAGE,
    Command,
    CommandGroup,
    arg,
    change,
    filled_path,
    read,
    read_pages,
    save,
)
from nodes.cli.output import Columns, lines, when, yuan
from nodes.cli.session import CommandSession, json_bytes, read_json
from registry.property.signing import reviewed, step_for, step_of

LISTED: Columns = {
    "deal": "dealId",
    "state": "state",
    "steps": lambda row: ",".join(item["step"] for item in row["steps"]),
    "unit": lambda row: (row["content"] or {}).get("unit"),
    "price": lambda row: yuan(row["content"]["price"]) if row["content"] else None,
    "agent": lambda row: row["terms"]["agent"],
}
DEAL = arg("deal_id")
STATED = {"mortgage": "contract", "notary": "certificate", "register": "certificate"}
"""What a step's organisation states beside its signature; the others state nothing or what the
rules compute.
"""


def _draw(session: CommandSession, arguments: argparse.Namespace) -> None:
    title = read_json(arguments.title, "title statement")
    content = {
        "unit": arguments.unit,
        "area": arguments.area,
        "price": str(arguments.price),
        "loan": str(arguments.loan),
        "monthsHeld": arguments.months_held,
        "onlyHome": arguments.only_home,
        "buyerHomes": arguments.buyer_homes,
        "originalPrice": None
        if arguments.original_price is None
        else str(arguments.original_price),
    }
    if not isinstance(title, dict) or set(title) != {"title", "signature"}:
        raise BadInput(
            "title_malformed", f"{arguments.title.name} is not what `qiaolian unit title` writes."
        )
    body = {
        "title": title["title"],
        "titleSignature": title["signature"],
        "seller": read_json(arguments.seller, "seller's certificate"),
        "buyer": read_json(arguments.buyer, "buyer's certificate"),
        "bank": arguments.bank,
        "taxAuthority": arguments.tax_authority,
        "notary": arguments.notary,
        "content": content,
        "expiresAt": int(time.time()) + arguments.days * 86_400,
    }
    made = {**session.client.post("/v1/deals", body), "content": content}
    session.save(arguments.out, json_bytes(made))
    session.show(made)
    session.say(
        f"{arguments.out} written: give it to seller and buyer, "
        "who sign it with `qiaolian deal sign`."
    )


def _sign(session: CommandSession, arguments: argparse.Namespace) -> None:
    terms, content = reviewed(read_json(arguments.deal, "deal"))
    key = session.key()
    step = step_for(terms, key.address)
    statement = step_of(terms, step, now=int(time.time()))
    signature = session.sign(
        statement,
        key,
        about={"you are": step.name.lower(), **_about(content), **_organisations(terms)},
    )
    path = f"/v1/deals/0x{terms.struct_hash().hex()}/signatures"
    session.show(
        session.client.post(path, {"statement": statement.to_json(), "signature": signature})
    )


def _about(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the deal as its signer reads it; ``reviewed`` checks it against the deal's id."""
    money = {
        name: yuan(content[name])
        for name in ("price", "loan")
        if str(content.get(name, "")).isdecimal()
    }
    return {**content, **money}


def _sign_step(session: CommandSession, arguments: argparse.Namespace) -> None:
    body = _step(arguments)
    if arguments.step == "tax":
        # The sheet that is shown here is the one that is signed, or none is.
        body["record"] = session.client.get(filled_path("/v1/deals/{deal_id}/taxes", arguments))
        print("You sign:\n" + "\n".join(lines(body["record"], "  ")), file=sys.stderr, flush=True)
    session.show_when_final(
        session.client.post(filled_path("/v1/deals/{deal_id}/steps/{step}", arguments), body)
    )


def _organisations(terms: DealTerms) -> dict[str, str]:
    """The organisations and the period that the deal's id commits to."""
    parts = {
        "agent": terms.agent,
        "tax authority": terms.tax_authority,
        "notary": terms.notary,
        "bank": terms.bank,
        "registration centre": terms.registrar,
        "expires": when(terms.expires_at),
    }
    return {part: text for part, text in parts.items() if text}


def _step(arguments: argparse.Namespace) -> dict[str, Any]:
    wanted = STATED.get(arguments.step)
    given = {
        name: getattr(arguments, name)
        for name in ("contract", "certificate_number")
        if getattr(arguments, name) is not None
    }
    if wanted is None:
        if given:
            raise BadInput(
                "step_states_nothing",
                f"The step {arguments.step} takes neither contract nor certificate number.",
            )
        return {"record": None}
    text = given.pop("contract" if wanted == "contract" else "certificate_number", None)
    if text is None or given:
        raise BadInput(
            "record_malformed", f"The step {arguments.step} states exactly its {wanted}'s number."
        )
    return {"record": {wanted: text}}


GROUP = CommandGroup(
    (
        Command(
            "list",
            "deals this node knows",
            read_pages("/v1/deals", within="deals", columns=LISTED, query=("q", "state")),
            (
                arg("--search", dest="q", metavar="TEXT", help="part of a unit's number, or an id"),
                arg("--state", choices=["draft", "open", "registered", "expired"]),
                *PAGE,
            ),
        ),
        Command("show", "one deal with its steps", read("/v1/deals/{deal_id}"), (DEAL,)),
        Command(
            "draw",
            "as estate agent, draw up a deal for its parties",
            _draw,
            (
                arg(
                    "--title",
                    type=Path,
                    required=True,
                    metavar="FILE",
                    help="the registration centre's title statement",
                ),
                arg(
                    "--seller",
                    type=Path,
                    required=True,
                    metavar="FILE",
                    help="the seller's certificate",
                ),
                arg(
                    "--buyer",
                    type=Path,
                    required=True,
                    metavar="FILE",
                    help="the buyer's certificate",
                ),
                arg("--tax-authority", required=True, metavar="MEMBER"),
                arg("--notary", required=True, metavar="MEMBER"),
                arg("--bank", default="", metavar="MEMBER", help="for a deal with a loan"),
                arg("--unit", required=True, metavar="NUMBER", help="the unit's register number"),
                arg("--area", type=int, required=True, help="in square centimetres"),
                arg("--price", type=int, required=True, metavar="FEN"),
                arg("--loan", type=int, default=0, metavar="FEN"),
                arg("--months-held", type=int, required=True, help="how long the seller owned it"),
                arg("--only-home", action="store_true", help="it is the seller's only home"),
                arg("--buyer-homes", type=int, required=True, help="homes the buyer owns already"),
                arg(
                    "--original-price",
                    type=int,
                    metavar="FEN",
                    help="what the seller paid, if it can be shown",
                ),
                arg(
                    "--days",
                    type=int,
                    default=30,
                    help="until the deal expires (default 30, below 180)",
                ),
                OUT,
            ),
        ),
        Command(
            "sign",
            "as seller or buyer, sign the deal drawn up, at the agent's node",
            _sign,
            (
                arg("deal", type=Path, help="the file the agent's `qiaolian deal draw` wrote"),
                *KEY_OPTIONS,
            ),
            role=None,
        ),
        Command(
            "step",
            "sign this organisation's step",
            _sign_step,
            (
                DEAL,
                arg(
                    "step",
                    choices=[
                        kind.name.lower()
                        for kind in StepKind
                        if kind not in (StepKind.SELLER, StepKind.BUYER)
                    ],
                ),
                arg("--contract", help="the mortgage contract's number"),
                arg(
                    "--certificate-number", help="the notary's or registration's certificate number"
                ),
            ),
        ),
        Command(
            "taxes", "the tax sheet the rules give", read("/v1/deals/{deal_id}/taxes"), (DEAL,)
        ),
        Command(
            "tax-sources",
            "the laws and notices that each line of the tax sheet rests on",
            read("/v1/deals/{deal_id}/taxes/sources"),
            (DEAL,),
        ),
        Command(
            "expire",
            "free the unit of a deal that was not registered in time",
            change("/v1/deals/{deal_id}/expiry"),
            (DEAL,),
        ),
        Command(
            "bundle",
            "write the deal's bundle",
            save("/v1/deals/{deal_id}/bundle"),
            (DEAL, OUT),
            "auditor",
        ),
    )
)
