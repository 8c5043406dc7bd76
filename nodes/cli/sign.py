"""``qiaolian sign``: sign, on the person's own machine, a request downloaded from a console.

The statement in the file is shown and hashed here. A grant's request also holds the grant as the
node describes it; it is checked against the id that is signed.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from chain.core.errors import BadInput
from chain.ethereum.deployment import Deployment
from chain.keys.files import write_private
from chain.statements.grants import GrantDecision, GrantRevocation
from chain.statements.login import SubjectLogin, origin_hash
from chain.statements.property import DealStep
from chain.statements.signing_files import SignatureFile, SignRequest
from nodes.cli import output
from nodes.cli.passphrases import open_key
from nodes.cli.session import KEY_ARGUMENTS, agreed
from registry.grants.signing import reviewed, reviewed_asset
from registry.property.signing import reviewed as reviewed_deal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("request", type=Path, metavar="REQUEST", help="the downloaded request")
    for flags, settings in KEY_ARGUMENTS:
        parser.add_argument(*flags, **settings)
    parser.add_argument(
        "--deployment",
        type=Path,
        metavar="FILE",
        help="the network's deployment.json: a request for another network is refused",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="where the signature goes (default: REQUEST with .signature.json)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Show the statement, ask, and write the signature."""
    request = _read(arguments.request)
    if arguments.deployment is not None:
        _require_network(request, Deployment.load(arguments.deployment))
    _review(request)
    out: Path = arguments.out or arguments.request.with_suffix(".signature.json")
    if out.exists():
        raise BadInput("signature_exists", f"{out} exists.", hint="Give another --out FILE.")
    key = open_key(arguments.key, arguments.passphrase_file)
    statement = request.statement
    shown = {
        "statement": {type(statement).__name__: statement.to_json()},
        "under": {
            "chain": request.domain.chain_id,
            "contract": request.domain.contract,
            "key": key.address,
        },
        "the node says (not signed)": request.about,
    }
    print("You sign:\n" + "\n".join(output.lines(shown, "  ")), file=sys.stderr, flush=True)
    if not arguments.yes and not agreed("Sign this?"):
        raise BadInput("not_signed", "Nothing was signed.")
    digest = statement.digest(request.domain)
    write_private(out, SignatureFile(digest, key.sign_digest(digest)).to_bytes())
    print(f"{out}: choose this file on the page that offered the request.")
    return 0


def _read(path: Path) -> SignRequest:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput("sign_request_malformed", f"{path} cannot be read.") from error
    return SignRequest.from_bytes(data)


def _require_network(request: SignRequest, deployment: Deployment) -> None:
    """Refuse a statement of another chain or contract."""
    if deployment.domain(request.statement.contract) != request.domain:
        raise BadInput(
            "sign_request_differs",
            "The request is for another network than the deployment file.",
            hint="Do not sign; ask who runs the node.",
        )


def _review(request: SignRequest) -> None:
    """Compare what the node describes with what is signed, where this program knows how.

    Raises:
        BadInput: ``grant_differs``, ``grant_malformed``, ``grant_asset_not_shown``,
            ``sign_request_differs``, and as ``_review_deal`` and ``_review_login``.
    """
    statement = request.statement
    if isinstance(statement, DealStep):
        _review_deal(request, statement)
    if isinstance(statement, SubjectLogin):
        _review_login(request, statement)
    if not isinstance(statement, GrantDecision | GrantRevocation):
        return
    grant_id, terms = reviewed(request.described)
    if grant_id != statement.grant_id:
        raise BadInput(
            "sign_request_differs",
            "The request describes another grant than the one it asks to sign.",
            hint="Do not sign; ask who runs the node.",
        )
    asset = reviewed_asset(request.described, terms)
    if isinstance(statement, GrantDecision) and statement.approved and asset is None:
        raise BadInput(
            "grant_asset_not_shown",
            "The request does not show the asset version that this grant is about; "
            "it cannot be reviewed.",
        )


def _review_deal(request: SignRequest, statement: DealStep) -> None:
    """Compare a deal's description with the id that is signed: ``deal_differs``,
    ``deal_malformed``, ``sign_request_differs``.
    """
    terms, content = reviewed_deal(request.described)
    if terms.struct_hash() != statement.deal_id or statement.content != terms.content:
        raise BadInput(
            "sign_request_differs",
            "The request describes another deal than the one it asks to sign.",
            hint="Do not sign; ask the agent.",
        )
    request.about.update({name: str(value) for name, value in content.items()})


def _review_login(request: SignRequest, statement: SubjectLogin) -> None:
    """Show the site that is logged in at, which the signature is for; ``sign_request_differs``,
    ``login_request_expired``.
    """
    origin = request.described.get("origin")
    if not isinstance(origin, str) or origin_hash(origin) != statement.origin:
        raise BadInput(
            "sign_request_differs",
            "The request names another site than the one it logs in at.",
            hint="Do not sign; open the console's own address and begin again.",
        )
    if statement.expires_at < time.time():
        raise BadInput(
            "login_request_expired",
            "The request for a log-in has expired.",
            hint="Load the log-in page again and sign the new request.",
        )
    request.about["you log in at"] = origin
