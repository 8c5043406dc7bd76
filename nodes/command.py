"""``qiaolian node``: lay out a node, name its peers, run its API, run its outbox, bring its database up to date, back it
up, restore it, recover what an old backup lacks.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from chain.errors import BadInput
from chain.printable import printable
from chain.zone import local_time
from nodes import config as configuration
from nodes.initialise import ADMISSION_FILE, CONFIG_FILE, HANDOUT_FILE, Admission, Plan, add_peer, initialise, peer_entry, renew_tokens
from nodes.logs import configure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions and their options."""
    actions = parser.add_subparsers(dest="action", required=True)
    for name, text in (
        ("run", "serve the node's API until SIGTERM"),
        ("outbox", "send what the node owes the chain, until SIGTERM; holds the transaction key"),
        ("migrate", "bring the node's database up to date"),
        ("recover", "after an old backup: take back from the others what the database lacks; the node must be stopped"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("--config", type=Path, required=True, help="the node's TOML file")
        action.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    _add_init(actions.add_parser("init", help="make a node's keys, configuration and admission file"))
    peer = actions.add_parser("peer", help="add another member's node to the configuration; for the next start")
    peer.add_argument("--config", type=Path, required=True, help="the node's TOML file")
    peer.add_argument("--admission", type=Path, required=True, help="the other member's admission file")
    peer.add_argument("--url", required=True, help="where the other node listens, https://HOST:PORT")
    _add_backup(actions)
    tokens = actions.add_parser("tokens", help="make fresh access tokens for every role; the old ones end at the next start")
    tokens.add_argument("--config", type=Path, required=True, help="the node's TOML file")


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
        print(f"{renew_tokens(configuration.load(arguments.config))}: fresh access tokens in clear; hand them out, then delete the file.")
        print("Restart `qiaolian node run`: the old ones are valid until then.")
        return 0
    if arguments.action in _BACKUP_ACTIONS:
        return _BACKUP_ACTIONS[arguments.action](arguments)
    configure(arguments.log_level)
    config = configuration.load(arguments.config)
    if arguments.action == "migrate":
        from nodes.migrate import upgrade

        print(f"The database is at schema {upgrade(config.database_url, lock_dir=config.data)}.")
        return 0
    # Each is imported only where it is run, so that the others start quickly and hold no more than they need.
    if arguments.action == "recover":
        from nodes import recovery

        return recovery.run(config)
    if arguments.action == "outbox":
        from nodes import outbox

        return outbox.run(config)
    from nodes import server

    return server.run(config)


def _add_backup(actions: Any) -> None:
    key = actions.add_parser("backup-key", help="make the key that opens backups; keep it away from the node")
    key.add_argument("--out", type=Path, required=True, metavar="FILE", help="the new key file")
    backup = actions.add_parser("backup", help="write the whole node into one encrypted file; the node may be running")
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
    restore.add_argument("--backup", type=Path, required=True, metavar="FILE", help="the backup file")
    restore.add_argument("--key", type=Path, required=True, metavar="FILE", help="the backup key's file")
    target = restore.add_mutually_exclusive_group(required=True)
    target.add_argument("--dir", type=Path, help="the new directory")
    target.add_argument("--check", action="store_true", help="verify the backup and keep nothing")


def _backup_key(arguments: argparse.Namespace) -> int:
    from nodes.backup import create_key

    public = create_key(arguments.out)
    print(f"{arguments.out}: whoever has this file can open the backups. Keep it off the node's machine.")
    print(f"Its public key, for backup --to: {public}")
    return 0


def _backup(arguments: argparse.Namespace) -> int:
    from nodes.backup import backup

    config = configuration.load(arguments.config)
    content = backup(config, arguments.out, arguments.to, print)
    size = arguments.out.stat().st_size / 1e6
    print(f"{arguments.out}: {size:,.1f} MB, {content.log_size:,} log entries, schema {content.schema}.")
    print("The key store's passphrase is not in it: keep that apart, or the keys in it cannot be used.")
    return 0


def _restore(arguments: argparse.Namespace) -> int:
    from nodes import backup

    if arguments.check:
        content = backup.check(arguments.backup, arguments.key, print)
    else:
        content = backup.restore(arguments.backup, arguments.key, arguments.dir, print)
    print(f"Backup of {content.member}, made at {local_time(content.made_at)}, {content.log_size:,} log entries: every file verified.")
    if arguments.check:
        return 0
    for name in backup.paths_outside(arguments.dir):
        print(f"  {name} in node.toml names a place outside {arguments.dir}: correct it.")
    print("Put the passphrase where node.toml looks for it, then: qiaolian node recover (see docs/operations.md).")
    return 0


_BACKUP_ACTIONS = {"backup-key": _backup_key, "backup": _backup, "restore": _restore}


def _add_init(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dir", type=Path, required=True, help="the node's directory")
    parser.add_argument("--member", required=True, help="the organisation's 18-character unified social credit code")
    parser.add_argument("--name", help="the organisation's name (default: its code)")
    parser.add_argument("--roles", required=True, help=f"separated by commas: {', '.join(configuration.ROLE_NAMES)}")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8443)
    parser.add_argument("--rpc", action="append", help="a chain node's URL; may be repeated")
    parser.add_argument("--validator", action="append", help="a validator's address whose seals count; may be repeated")
    parser.add_argument("--unsealed-test", action="store_true", help="believe unsealed headers: throw-away test chains only")
    parser.add_argument("--deployment", default="deployment.json", help="the network's deployment file")
    parser.add_argument("--officer-key", type=Path, help="make the chief data officer's approval key in this file")
    parser.add_argument("--admin-key", type=Path, help="make the administration key in this file")


def _init(arguments: argparse.Namespace) -> int:
    if bool(arguments.validator) == arguments.unsealed_test:
        raise BadInput("finality_missing", "Say whose seals make a block final: --validator 0x… (repeated), or --unsealed-test.")
    plan = Plan(
        directory=arguments.dir,
        member=arguments.member,
        name=arguments.name or arguments.member,
        roles=tuple(arguments.roles.split(",")),
        host=arguments.host,
        port=arguments.port,
        rpc=tuple(arguments.rpc or ("http://127.0.0.1:8545",)),
        finality=configuration.UNSEALED_TEST if arguments.unsealed_test else tuple(arguments.validator),
        deployment=arguments.deployment,
        officer_key=arguments.officer_key,
        admin_key=arguments.admin_key,
    )
    admission = initialise(plan)
    print(printable(f"Node of {admission.name} ({admission.member}) laid out in {plan.directory}."))
    for key in admission.keys:
        print(f"  {key.purpose.name.lower():<12} 0x{key.fingerprint.hex()}")
    print(f"{ADMISSION_FILE}: give it to the network's governors; two of them admit the member (qiaolian member propose-admit).")
    print(f"{HANDOUT_FILE}: access tokens in clear; hand them out, then delete the file.")
    print(f"Start: qiaolian node run --config {plan.directory / CONFIG_FILE}, and beside it qiaolian node outbox.")
    return 0
