"""The session of one command: the node and token, the output, and the key file that signs.

A token comes from a file, the environment or the node's own token file, never from the command
line, where other users of the machine could read it. A private key comes from the person's
encrypted file, is opened on this machine and signs only what was shown and agreed to.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

from chain.core.errors import BadInput, Conflict, QiaolianError, Unauthorised, Unavailable
from chain.core.printable import printable
from chain.ethereum.deployment import Deployment
from chain.ethereum.eip712 import Statement
from chain.keys.files import Secp256k1Signer, write_private
from chain.keys.passphrase import read_passphrase
from nodes.access import ROLES
from nodes.cli import output
from nodes.cli.output import Columns
from nodes.cli.passphrases import PASSPHRASE_VARIABLE, open_key

if TYPE_CHECKING:
    from nodes.client import NodeClient

T = TypeVar("T")

NODE_VARIABLE, TOKEN_VARIABLE = "QIAOLIAN_NODE", "QIAOLIAN_TOKEN"
WAIT_SECONDS = 60.0
TIMEOUT_SECONDS = 120.0
POLL_SECONDS = 0.2
PROGRESS_SECONDS = 2.0
"""Between two looks at how far something long is."""


def add_connection(parser: argparse.ArgumentParser, *, role: str | None, node: bool) -> None:
    """Add the options that every command has."""
    parser.add_argument("--json", action="store_true", help="answer for programs")
    parser.set_defaults(default_role=role)
    group = parser.add_argument_group("connection" if node else "network")
    group.add_argument(
        "--node",
        type=Path,
        metavar="DIR",
        help=f"the own node's directory or node.toml (else {NODE_VARIABLE})",
    )
    group.add_argument(
        "--deployment",
        type=Path,
        metavar="FILE",
        help="the network's deployment.json, for signing (default: the node's)",
    )
    if not node:
        return
    group.add_argument("--url", help="the node's address, with --certificate, instead of --node")
    group.add_argument(
        "--certificate",
        type=Path,
        metavar="FILE",
        help="the node's certificate (keys/tls.crt.pem in its directory)",
    )
    if role is not None:
        group.add_argument(
            "--role",
            choices=ROLES,
            help=f"whose token of the node's handout.json is used (default {role})",
        )
        group.add_argument(
            "--token-file",
            type=Path,
            metavar="FILE",
            help=f"a file with the access token (else {TOKEN_VARIABLE}, else handout.json)",
        )
    group.add_argument(
        "--timeout",
        type=float,
        default=TIMEOUT_SECONDS,
        metavar="SECONDS",
        help=f"longest wait for an answer (default {TIMEOUT_SECONDS:.0f})",
    )
    group.add_argument("--no-wait", action="store_true", help="do not wait until the chain has it")
    group.add_argument(
        "--wait-seconds",
        type=float,
        default=WAIT_SECONDS,
        metavar="N",
        help=f"how long to wait (default {WAIT_SECONDS:.0f})",
    )


KEY_ARGUMENTS: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (
        ("--key",),
        {
            "type": Path,
            "required": True,
            "metavar": "FILE",
            "help": "your key file; it is opened on this machine only",
        },
    ),
    (
        ("--passphrase-file",),
        {
            "type": Path,
            "metavar": "FILE",
            "help": (
                f"a file with its passphrase (else {PASSPHRASE_VARIABLE}, else "
                "FILE.passphrase, else it is asked)"
            ),
        },
    ),
    (("--yes",), {"action": "store_true", "help": "sign without asking"}),
)


class CommandSession:
    """The session of one command, from its parsed arguments; closes its connection at the end."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self.json: bool = arguments.json
        self.waits: bool = not getattr(arguments, "no_wait", True)
        self._seconds: float = getattr(arguments, "wait_seconds", WAIT_SECONDS)

    def __enter__(self) -> CommandSession:
        return self

    def __exit__(self, *_: object) -> None:
        if "client" in self.__dict__:
            self.client.close()

    # --- The node and the network -----------------------------------------------------------------

    @cached_property
    def client(self) -> NodeClient:
        """The node's client under the command's role.

        Raises:
            BadInput: ``node_missing``, ``url_malformed``, ``certificate_missing``,
                ``certificate_malformed``, ``token_missing``, and what reading the configuration
                raises.
        """
        return self._connect(self._arguments.timeout)

    def _connect(self, timeout: float | None) -> NodeClient:
        # Help and commands that only read files do without it.
        from nodes.client import NodeClient

        url, certificate = self._address()
        if not certificate.is_file():
            raise BadInput(
                "certificate_missing",
                f"There is no certificate at {certificate}.",
                hint="Get it from whoever runs the node.",
            )
        try:
            return NodeClient(
                url,
                certificate=certificate,
                token=self._token(),
                timeout=timeout,
                command=self._command,
            )
        except (OSError, ValueError) as error:
            raise BadInput(
                "certificate_malformed",
                f"{certificate} holds no certificate.",
                hint="Get it from whoever runs the node.",
            ) from error

    @property
    def _command(self) -> str:
        """This command and the machine's user, as the node records the act."""
        words = (self._arguments.command, getattr(self._arguments, "group_command", None))
        return f"qiaolian {' '.join(word for word in words if word)} by {getpass.getuser()}"

    @cached_property
    def deployment(self) -> Deployment:
        """The network's contracts, from the person's own copy or the own node's: what is signed is
        signed for these.
        """
        if self._arguments.deployment is not None:
            return Deployment.load(self._arguments.deployment)
        if self._directory is None:
            raise BadInput(
                "deployment_missing",
                "A signature names the network's contracts.",
                hint="Give --deployment deployment.json.",
            )
        return Deployment.load(self.config.path(self.config.chain.deployment))

    @cached_property
    def config(self) -> Any:
        """The own node's configuration (``nodes.config.NodeConfig``)."""
        # Only who sits at the node's machine needs what reads it; the same goes for the names of
        # its files below.
        from nodes.config import load
        from nodes.initialise import CONFIG_FILE

        directory = self._directory
        if directory is None:
            raise BadInput(
                "node_missing",
                "This needs the own node's directory.",
                hint=f"Give --node DIR, or set {NODE_VARIABLE}.",
            )
        return load(directory / CONFIG_FILE if directory.is_dir() else directory)

    def _address(self) -> tuple[str, Path]:
        if self._arguments.url is not None:
            if self._arguments.certificate is None:
                raise BadInput(
                    "certificate_missing",
                    "A node is known by its certificate.",
                    hint="Give --certificate FILE with --url.",
                )
            if not _is_address(self._arguments.url):
                raise BadInput("url_malformed", "A node's address is https://HOST:PORT.")
            return self._arguments.url.rstrip("/"), self._arguments.certificate
        if self._directory is None:
            raise BadInput(
                "node_missing",
                "Which node?",
                hint=f"Give --node DIR (or set {NODE_VARIABLE}), or --url with --certificate.",
            )
        from nodes.initialise import CERTIFICATE_FILE

        listen = self.config.listen
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.host, listen.host)  # noqa: S104
        return f"https://{f'[{host}]' if ':' in host else host}:{listen.port}", self.config.path(
            self.config.keys.dir
        ) / CERTIFICATE_FILE

    @property
    def _directory(self) -> Path | None:
        if self._arguments.node is not None:
            return Path(self._arguments.node)
        if getattr(self._arguments, "url", None) is not None or not os.environ.get(NODE_VARIABLE):
            return None
        return Path(os.environ[NODE_VARIABLE])

    def _token(self) -> str | None:
        role = self._arguments.default_role
        if role is None:
            return None
        if self._arguments.token_file is not None:
            return read_passphrase(
                self._arguments.token_file, code="token_file_unreadable", what="access token"
            )
        if os.environ.get(TOKEN_VARIABLE):
            return os.environ[TOKEN_VARIABLE]
        wanted = self._arguments.role or role
        if self._directory is not None and self._arguments.url is None:
            from nodes.initialise import HANDOUT_FILE

            handout = self.config.home / HANDOUT_FILE
            if handout.is_file():
                return str(read_json(handout, "handout")[wanted])
        if getattr(self._arguments, "stranger", False):
            return None
        raise Unauthorised(
            "token_missing",
            f"This needs the access token of the role {wanted}.",
            hint=f"Give --token-file FILE, or set {TOKEN_VARIABLE}.",
        )

    # --- Saying -----------------------------------------------------------------------------------

    def say(self, sentence: str) -> None:
        """Print a sentence, unless ``--json`` was given."""
        if not self.json:
            print(printable(sentence))

    def show(self, value: Any) -> None:
        """Print an answer as lines, or as JSON."""
        print(output.as_json(value) if self.json else "\n".join(output.lines(value)))

    def table(self, rows: list[Any], columns: Columns, *, whole: Any = None) -> None:
        """Print rows as a table, or the whole answer as JSON."""
        print(
            output.as_json(rows if whole is None else whole)
            if self.json
            else "\n".join(output.table(rows, columns))
        )

    def save(self, path: Path, data: bytes) -> None:
        """Write a file (0600) atomically; an older file of that name is replaced."""
        write_private(path, data)

    # --- Asking -----------------------------------------------------------------------------------

    def post_once(self, path: str, body: Any) -> Any:
        """Post what must not happen twice, under the given idempotency key or a fresh one, which a
        failure names.
        """
        key = self._arguments.idempotency_key or secrets.token_hex(16)
        try:
            return self.client.post(path, body, idempotency_key=key)
        except Unavailable as error:
            error.hint = (
                f"{error.hint} Then repeat with --idempotency-key {key}: it is carried out once."
            )
            raise

    def post_with_progress(self, path: str, body: Any, how_far: Callable[[], str]) -> Any:
        """Post what may take long, and say how far it is. As long as the node reports that, its
        answer is waited for.

        Raises:
            QiaolianError: what the node refused; ``node_unreachable`` once it neither answers nor
                reports how far it is.
        """
        client, answer = self._connect(None), Future[Any]()

        def ask() -> None:
            with closing(client):
                try:
                    answer.set_result(client.post(path, body))
                except Exception as error:  # raised again where the answer is waited for
                    answer.set_exception(error)

        threading.Thread(target=ask, daemon=True).start()
        while True:
            try:
                return answer.result(PROGRESS_SECONDS)
            except TimeoutError:
                print(printable(f"  … {how_far()}"), file=sys.stderr, flush=True)

    def member_name(self, member: str) -> str:
        """An organisation as people know it, ``NAME (CODE)``, by the directory the node follows;
        its code alone where nobody has a name for it.
        """
        try:
            return f"{self.client.get(f'/v1/members/{quote(member)}')['name']} ({member})"
        except (QiaolianError, KeyError, TypeError):
            return f"{member} (no name known here)"

    # --- Waiting ----------------------------------------------------------------------------------

    def show_when_final(self, answer: Any) -> Any:
        """Show an answer once the chain has what it promised, with how that ended."""
        if self.waits:
            ended = [self.operation_outcome(name) for name in operations_of(answer)]
            if ended:
                answer = {**answer, "outcome": ended[0] if len(ended) == 1 else ended}
        self.show(answer)
        return answer

    def operation_outcome(self, operation: str) -> dict[str, Any]:
        """Outcome of a promised contract call.

        Raises:
            Conflict: the chain's refusal, by its code; Unavailable: ``operation_pending`` after the
                time to wait.
        """
        deadline = time.monotonic() + self._seconds
        path = f"/v1/operations/{quote(operation, safe='/')}"
        while True:
            left = deadline - time.monotonic()
            found: dict[str, Any] = self.client.get(f"{path}?wait={min(10.0, max(0.0, left)):.0f}")
            if found["state"] == "done":
                return {
                    name: found[name] for name in ("operation", "state", "height", "transaction")
                }
            if found["state"] == "reverted":
                raise Conflict(
                    found["code"] or "reverted",
                    f"The chain refused {operation}.",
                    hint="Nothing was changed by it.",
                )
            if left <= 0:
                hint = f"Look again with: qiaolian operation wait {operation}"
                raise Unavailable(
                    "operation_pending",
                    f"{operation} is still {found['state']}; it is stored and will be sent.",
                    hint=hint,
                )
            time.sleep(POLL_SECONDS)

    def wait_until(self, look: Callable[[], T], ready: Callable[[T], bool], what: str) -> T:
        """What ``look`` gives once it is ready; at once without waiting. ``not_yet`` after the time
        to wait.
        """
        deadline = time.monotonic() + self._seconds
        while True:
            found = look()
            if not self.waits or ready(found):
                return found
            if time.monotonic() > deadline:
                raise Unavailable(
                    "not_yet",
                    f"Waited {self._seconds:.0f} s for {what}.",
                    hint="It may still come; look again later.",
                )
            time.sleep(POLL_SECONDS)

    # --- Signing ----------------------------------------------------------------------------------

    def sign(self, statement: Statement, key: Secp256k1Signer, *, about: Mapping[str, Any]) -> str:
        """Return a statement's signature (0x hex), after the person confirmed it."""
        self.confirm_statement(statement, key, about=about)
        return "0x" + key.sign(statement, self.deployment.domain(statement.contract)).hex()

    def confirm_statement(
        self, statement: Statement, key: Secp256k1Signer, *, about: Mapping[str, Any]
    ) -> None:
        """Show a statement's fields and what it is about, and ask.

        Raises:
            BadInput: ``not_signed``, ``confirmation_missing``.
        """
        domain = self.deployment.domain(statement.contract)
        shown = {"about": dict(about), "statement": {type(statement).__name__: statement.to_json()}}
        network = {
            "chain": domain.chain_id,
            "contract": f"{statement.contract} {domain.contract}",
            "key": key.address,
        }
        print(
            "You sign:\n" + "\n".join(output.lines({**shown, "under": network}, "  ")),
            file=sys.stderr,
            flush=True,
        )
        if not self._arguments.yes:
            self._require_agreed()

    def key(self) -> Secp256k1Signer:
        """The person's key, opened."""
        return open_key(self._arguments.key, self._arguments.passphrase_file)

    def confirm(self, about: Mapping[str, Any], question: str) -> None:
        """Show what is about to be done, and ask, unless ``--yes`` was given; ``not_confirmed``,
        ``confirmation_missing``.
        """
        print("\n".join(output.lines(dict(about), "  ")), file=sys.stderr, flush=True)
        if not self._arguments.yes and not agreed(question):
            raise BadInput("not_confirmed", "Nothing was changed.")

    def _require_agreed(self) -> None:
        if not agreed("Sign this?"):
            raise BadInput("not_signed", "Nothing was signed.")


def agreed(question: str) -> bool:
    """Ask the person at the terminal; ``confirmation_missing`` where nobody is there."""
    if not sys.stdin.isatty():
        raise BadInput(
            "confirmation_missing",
            "Nobody is there to be asked.",
            hint="Give --yes to continue without being asked.",
        )
    print(f"{question} Type yes: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() == "yes"


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            parts.scheme == "https"
            and bool(parts.hostname)
            and parts.path in ("", "/")
            and parts.port != 0
        )
    except ValueError:
        return False


def operations_of(answer: Any) -> list[str]:
    """The operations an answer promises."""
    if not isinstance(answer, Mapping):
        return []
    found = answer.get("operations") or answer.get("operation") or []
    return [found] if isinstance(found, str) else list(found)


def read_json(path: Path, what: str) -> Any:
    """A JSON file; ``file_unreadable``, ``file_malformed``."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BadInput(
            "file_unreadable", f"The {what} cannot be read: {error.strerror}.", hint=str(path)
        ) from error
    except (ValueError, RecursionError) as error:
        raise BadInput("file_malformed", f"The {what} is not JSON.", hint=str(path)) from error


def json_bytes(value: Any) -> bytes:
    """A file's content."""
    return output.as_json(value).encode() + b"\n"
