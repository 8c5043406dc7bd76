"""``qiaolian node``: create a node, add peers, run its API and outbox, migrate its database, back
up, restore, and recover after an old backup.
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path
from typing import Any

from chain.core.errors import BadInput
from chain.core.memory import use_one_arena
from chain.core.printable import printable
from chain.core.zone import local_time
from chain.keys.files import passphrase_file
from chain.keys.passphrase import chosen_passphrase, read_passphrase, warn
from nodes import config as configuration
from nodes.cli import node_tokens
from nodes.initialise import (
    ADMISSION_FILE,
    CONFIG_FILE,
    HANDOUT_FILE,
    Admission,
    NodePlan,
    add_peer,
    initialise,
    peer_entry,
)
from nodes.logs import configure

log = logging.getLogger("qiaolian.node")


def add_arguments(parser: argparse.ArgumentParser) -> Any:
    """The actions and their options; the subparsers, for further actions."""
    actions = parser.add_subparsers(dest="action", required=True)
    for name, text in (
        ("run", "serve the node's API until SIGTERM"),
        ("outbox", "send what the node owes the chain, until SIGTERM; holds the transaction key"),
        ("migrate", "bring the node's database up to date"),
        (
            "recover",
            (
                "after an old backup: take back from the others what the "
                "database lacks; the node must be stopped"
            ),
        ),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("--config", type=Path, required=True, help="the node's TOML file")
        action.add_argument(
            "--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"]
        )
    _add_init(
        actions.add_parser("init", help="make a node's keys, configuration and admission file")
    )
    peer = actions.add_parser(
        "peer", help="add another member's node to the configuration; for the next start"
    )
    peer.add_argument("--config", type=Path, required=True, help="the node's TOML file")
    peer.add_argument(
        "--admission", type=Path, required=True, help="the other member's admission file"
    )
    peer.add_argument(
        "--url", required=True, help="where the other node listens, https://HOST:PORT"
    )
    _add_backup(actions)
    certificate = actions.add_parser(
        "certificate", help="the node's TLS certificate: how long it is valid, and its renewal"
    )
    certificate.add_argument(
        "step",
        choices=["show", "renew"],
        help="show: whose it is and its end; renew: a new one for the same key",
    )
    certificate.add_argument("--config", type=Path, required=True, help="the node's TOML file")
    node_tokens.add_arguments(actions)
    return actions


def run(arguments: argparse.Namespace) -> int:
    """Carry out one action."""
    if arguments.action == "init":
        return _init(arguments)
    if arguments.action == "peer":
        admission = Admission.load(arguments.admission)
        add_peer(arguments.config, admission, arguments.url)
        whose = printable(f"The node of {admission.name} ({admission.member})")
        print(f"{whose} is a peer from the next start on. Compare its keys by another way:")
        for name, value in peer_entry(admission, arguments.url).items():
            print(printable(f"  {name:<4} {value}"))
        return 0
    if arguments.action == "tokens":
        return node_tokens.run(arguments)
    if arguments.action == "certificate":
        return _certificate(arguments)
    if arguments.action in _BACKUP_ACTIONS:
        return _BACKUP_ACTIONS[arguments.action](arguments)
    configure(arguments.log_level)
    config = configuration.load(arguments.config)
    try:
        return _run_process(arguments.action, config)
    except Exception as error:
        from nodes.problems import start_failure

        failure = start_failure(error)
        fields = {"code": failure.code, "hint": failure.hint}
        unexpected = error if failure is not error or arguments.log_level == "DEBUG" else None
        log.error(
            "qiaolian node %s: %s",
            arguments.action,
            failure.sentence,
            extra=fields,
            exc_info=unexpected,
        )
        raise failure from error


def _run_process(action: str, config: configuration.NodeConfig) -> int:
    """One of the actions that open the node's database."""
    if action == "migrate":
        from nodes.migrate import upgrade

        print(f"The database is at schema {upgrade(config.database_url, lock_dir=config.data)}.")
        return 0
    # Each is imported only where it is run, so that the others start quickly and hold no more than
    # they need.
    if action == "recover":
        from nodes import recovery

        return recovery.run(config)
    use_one_arena()
    if action == "outbox":
        from nodes import outbox

        return outbox.run(config)
    from nodes import server

    return server.run(config)


def _add_backup(actions: Any) -> None:
    key = actions.add_parser(
        "backup-key", help="make the key that opens backups; keep it away from the node"
    )
    key.add_argument("--out", type=Path, required=True, metavar="FILE", help="the new key file")
    backup = actions.add_parser(
        "backup", help="write the whole node into one encrypted file; the node may be running"
    )
    backup.add_argument("--config", type=Path, required=True, help="the node's TOML file")
    backup.add_argument("--out", type=Path, required=True, metavar="FILE", help="the backup file")
    backup.add_argument(
        "--to",
        action="append",
        required=True,
        metavar="age1…",
        help="the public key of whoever may open it; may be repeated",
    )
    restore = actions.add_parser("restore", help="lay a backed-up node out in a new directory")
    restore.add_argument(
        "--backup", type=Path, required=True, metavar="FILE", help="the backup file"
    )
    restore.add_argument(
        "--key", type=Path, required=True, metavar="FILE", help="the backup key's file"
    )
    target = restore.add_mutually_exclusive_group(required=True)
    target.add_argument("--dir", type=Path, help="the new directory")
    target.add_argument("--check", action="store_true", help="verify the backup and keep nothing")


def _certificate(arguments: argparse.Namespace) -> int:
    from nodes import certificate

    config = configuration.load(arguments.config)
    found = certificate.current(config) if arguments.step == "show" else certificate.renew(config)
    days = found.days_left(time.time())
    print(
        printable(
            f"{certificate.certificate_path(config)}: the certificate of {found.holder}, until "
            f"{local_time(found.ends_at)} ({days:.0f} days)."
        )
    )
    print(f"  its key, as peers pin it: 0x{found.fingerprint.hex()}")
    if arguments.step == "renew":
        print(
            "A running node shows it within "
            f"{config.workers.certificate_seconds:g} s; nothing has to be restarted."
        )
    return 0


def _backup_key(arguments: argparse.Namespace) -> int:
    from nodes.backup import create_key

    public = create_key(arguments.out)
    print(
        f"{arguments.out}: whoever has this file can open the "
        "backups. Keep it off the node's machine."
    )
    print(f"Its public key, for backup --to: {public}")
    return 0


def _backup(arguments: argparse.Namespace) -> int:
    from nodes.backup import backup

    config = configuration.load(arguments.config)
    _record_export(config)
    content = backup(config, arguments.out, arguments.to, print)
    size = arguments.out.stat().st_size / 1e6
    print(
        f"{arguments.out}: {size:,.1f} MB, {content.log_size:,} "
        f"log entries, schema {content.schema}."
    )
    print(
        "The key store's passphrase is not in it: keep that "
        "apart, or the keys in it cannot be used."
    )
    return 0


def _record_export(config: configuration.NodeConfig) -> None:
    from nodes.cli.console import opened_records, record_command
    from nodes.console.acts.model import Act, ActKind

    with opened_records(config) as records:
        record_command(records, "node backup", Act(ActKind.EXPORT, "backup"))


def _restore(arguments: argparse.Namespace) -> int:
    from nodes import backup

    if arguments.check:
        content = backup.check(arguments.backup, arguments.key, print)
    else:
        content = backup.restore(arguments.backup, arguments.key, arguments.dir, print)
    print(
        f"Backup of {content.member}, made at {local_time(content.made_at)}, {content.log_size:,} "
        "log entries: every file verified."
    )
    if arguments.check:
        return 0
    for name in backup.paths_outside(arguments.dir):
        print(f"  {name} in node.toml names a place outside {arguments.dir}: correct it.")
    print(
        "Put the passphrase where node.toml looks for it, then: "
        "qiaolian node recover (see docs/operations.md)."
    )
    return 0


_BACKUP_ACTIONS = {"backup-key": _backup_key, "backup": _backup, "restore": _restore}


def _person_passphrase(key: Path | None, file: Path | None) -> str | None:
    """The passphrase of a person's key to be made; None without a key, or where nobody can be
    asked.
    """
    if key is None:
        return None
    given = None if file is None else read_passphrase(file)
    if file is not None:
        warn(key, file)
    return chosen_passphrase(key.name, given)


def _tell_first_administrator(plan: NodePlan) -> None:
    """Print the one-time link with which the console's first administrator sets a password."""
    from nodes.cli.console import invitation_link, opened_records

    config = configuration.load(plan.directory / CONFIG_FILE)
    with opened_records(config) as records:
        link = invitation_link(
            config, records, login="admin", name="Administrator", roles=["administrator"]
        )
    print("Console, the first administrator's one-time link (valid for three days, once):")
    print(f"  {link}")


def _tell_passphrases(plan: NodePlan) -> None:
    """Print where each passphrase is, and warn of unsafe files."""
    own = plan.passphrase_file or plan.directory / "passphrase"
    print(
        f"{own}: the passphrase of the node's own keys, in clear, for the node's system user "
        "alone; keep it out of backups and off the keys' disk."
    )
    warn(plan.directory / "keys", own)
    for key, passphrase in (
        (plan.officer_key, plan.officer_passphrase),
        (plan.admin_key, plan.admin_passphrase),
    ):
        if key is not None and passphrase is None:
            warn(key, passphrase_file(key))


def _add_init(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dir", type=Path, required=True, help="the node's directory")
    parser.add_argument(
        "--member", required=True, help="the organisation's 18-character unified social credit code"
    )
    parser.add_argument("--name", help="the organisation's name (default: its code)")
    parser.add_argument(
        "--roles", required=True, help=f"separated by commas: {', '.join(configuration.ROLE_NAMES)}"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8443)
    parser.add_argument(
        "--console-port",
        type=int,
        default=8444,
        metavar="PORT",
        help="where the console for the organisation's people listens; 0 for none (default 8444)",
    )
    parser.add_argument("--rpc", action="append", help="a chain node's URL; may be repeated")
    parser.add_argument(
        "--validator",
        action="append",
        help="a validator's address whose seals count; may be repeated",
    )
    parser.add_argument(
        "--unsealed-test",
        action="store_true",
        help="believe unsealed headers: throw-away test chains only",
    )
    parser.add_argument(
        "--deployment", default="deployment.json", help="the network's deployment file"
    )
    parser.add_argument(
        "--passphrase-file",
        type=Path,
        metavar="FILE",
        help="where the passphrase of the node's own keys is, or is made (default: the file "
        "passphrase in the directory)",
    )
    parser.add_argument(
        "--officer-key",
        type=Path,
        metavar="FILE",
        help="make the chief data officer's approval key in this file",
    )
    parser.add_argument(
        "--admin-key", type=Path, metavar="FILE", help="make the administration key in this file"
    )
    for person in ("officer", "admin"):
        parser.add_argument(
            f"--{person}-passphrase-file",
            type=Path,
            metavar="FILE",
            help="a file with the passphrase that the key of "
            f"--{person}-key gets (else it is asked)",
        )


def _init(arguments: argparse.Namespace) -> int:
    if bool(arguments.validator) == arguments.unsealed_test:
        raise BadInput(
            "finality_missing",
            "Say whose seals make a block final: --validator 0x… (repeated), or --unsealed-test.",
        )
    plan = NodePlan(
        directory=arguments.dir,
        member=arguments.member,
        name=arguments.name or arguments.member,
        roles=tuple(arguments.roles.split(",")),
        host=arguments.host,
        port=arguments.port,
        rpc=tuple(arguments.rpc or ("http://127.0.0.1:8545",)),
        finality=configuration.UNSEALED_TEST
        if arguments.unsealed_test
        else tuple(arguments.validator),
        deployment=arguments.deployment,
        officer_key=arguments.officer_key,
        admin_key=arguments.admin_key,
        passphrase_file=arguments.passphrase_file,
        officer_passphrase=_person_passphrase(
            arguments.officer_key, arguments.officer_passphrase_file
        ),
        admin_passphrase=_person_passphrase(arguments.admin_key, arguments.admin_passphrase_file),
        console_port=arguments.console_port or None,
    )
    admission = initialise(plan)
    print(printable(f"Node of {admission.name} ({admission.member}) laid out in {plan.directory}."))
    for key in admission.keys:
        print(f"  {key.purpose.name.lower():<12} 0x{key.fingerprint.hex()}")
    print(
        f"{ADMISSION_FILE}: give it to the network's governors; two of them admit the member "
        "(qiaolian member propose-admit)."
    )
    print(f"{HANDOUT_FILE}: access tokens in clear; hand them out, then delete the file.")
    if plan.console_port is not None:
        _tell_first_administrator(plan)
    _tell_passphrases(plan)
    print(
        "Start: qiaolian node run --config "
        f"{plan.directory / CONFIG_FILE}, and beside it qiaolian node outbox."
    )
    return 0
