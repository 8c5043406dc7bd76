"""The commands of the ``qiaolian`` command line: their summaries for the help, and the module of
each, which is imported only when the command is chosen: a verifier's machine has few packages.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol


class CommandParser(Protocol):
    """The arguments of a command, and what it does."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> Any:
        """Add the command's own arguments."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Carry the command out; the exit code."""


@dataclass(frozen=True)
class CommandEntry:
    """One line of the help; ``load`` imports the command's module."""

    summary: str
    load: Callable[[], CommandParser]


def _error() -> CommandParser:
    from nodes.cli import error

    return error


def _verify() -> CommandParser:
    from nodes.cli import verify

    return verify


def _verifier() -> CommandParser:
    from nodes.cli import verifier

    return verifier


def _trust() -> CommandParser:
    from nodes.cli import trust

    return trust.GROUP


def _asset() -> CommandParser:
    from nodes.cli import asset

    return asset.GROUP


def _demand() -> CommandParser:
    from nodes.cli import demand

    return demand.GROUP


def _grant() -> CommandParser:
    from nodes.cli import grant

    return grant.GROUP


def _offer() -> CommandParser:
    from nodes.cli import offer

    return offer.GROUP


def _agreement() -> CommandParser:
    from nodes.cli import agreement

    return agreement.GROUP


def _call() -> CommandParser:
    from nodes.cli import call

    return call.GROUP


def _dispute() -> CommandParser:
    from nodes.cli import dispute

    return dispute.GROUP


def _money() -> CommandParser:
    from nodes.cli import money

    return money.GROUP


def _credit() -> CommandParser:
    from nodes.cli import credit

    return credit.GROUP


def _subject() -> CommandParser:
    from nodes.cli import subject

    return subject.GROUP


def _deal() -> CommandParser:
    from nodes.cli import deal

    return deal.GROUP


def _unit() -> CommandParser:
    from nodes.cli import unit

    return unit.GROUP


def _member() -> CommandParser:
    from nodes.cli import member

    return member.GROUP


def _key() -> CommandParser:
    from nodes.cli import key

    return key.GROUP


def _sign() -> CommandParser:
    from nodes.cli import sign

    return sign


def _reconcile() -> CommandParser:
    from nodes.cli import reconcile

    return reconcile


def _log() -> CommandParser:
    from nodes.cli import log

    return log.GROUP


def _operation() -> CommandParser:
    from nodes.cli import operation

    return operation.GROUP


def _supervise() -> CommandParser:
    from nodes.cli import supervise

    return supervise.GROUP


def _clearing() -> CommandParser:
    from nodes.cli import clearing

    return clearing.GROUP


def _node() -> CommandParser:
    from nodes.cli import node_command

    return node_command


def _console() -> CommandParser:
    from nodes.cli import console

    return console


def _webhook() -> CommandParser:
    from nodes.cli import webhook

    return webhook.GROUP


def _health() -> CommandParser:
    from nodes.cli import health

    return health


def _network() -> CommandParser:
    from nodes.cli import network

    return network


def _found() -> CommandParser:
    from nodes.cli import found

    return found


def _federated() -> CommandParser:
    from nodes.cli import federated

    return federated


def _demo() -> CommandParser:
    from nodes.cli import checkout

    return checkout.demo()


def _bench() -> CommandParser:
    from nodes.cli import checkout

    return checkout.bench()


GROUPS: dict[str, dict[str, CommandEntry]] = {
    "verify": {
        "verify": CommandEntry("check a bundle offline, with your own trust file", _verify),
        "verifier": CommandEntry("write the verifier as one HTML file for a browser", _verifier),
        "trust": CommandEntry("a verifier's trust file: make, change, show", _trust),
    },
    "data and its use": {
        "asset": CommandEntry(
            "the catalogue and own publications: list, search, find, course, show, sources, check, "
            "upload, preview, publish, republish, incidents, usage, usage-detail, usage-buyers, "
            "usage-rows, own, cancel, hold, release",
            _asset,
        ),
        "demand": CommandEntry(
            "data that banks need and the catalogue lacks: post, list, withdraw, received, answer",
            _demand,
        ),
        "grant": CommandEntry(
            "rights to use data: list, show, request, approve, refuse, revoke, "
            "unknown-subjects, bundle",
            _grant,
        ),
        "offer": CommandEntry("a provider's terms: list, show, make", _offer),
        "agreement": CommandEntry(
            "metered trades: list, show, open, resume, withdraw, "
            "acknowledge, notice, claim, close, "
            "totals, balance, bundle, lane-bundle",
            _agreement,
        ),
        "call": CommandEntry(
            "metered calls: one, fetch, withdraw, list, upload, files, file-show, file-start, "
            "file-stop, file-rows, file-remove, spending, file",
            _call,
        ),
        "dispute": CommandEntry(
            "contested calls: list, show, claim, contest, answer, check, open, rule, end, "
            "prove, bundle, propose-fine, fines, freeze, unfreeze, equivocations",
            _dispute,
        ),
        "money": CommandEntry(
            "money held on the chain: deposit, withdraw, account, claims, earnings, months, "
            "payments",
            _money,
        ),
    },
    "credit and property": {
        "credit": CommandEntry(
            "reports, certificates, disputes: report, sources, show-report, consents, queries, "
            "bundle, certify, record, looks, check-looks, look, disputes, answer",
            _credit,
        ),
        "subject": CommandEntry(
            "a firm's or citizen's own keys: key, consent, register, "
            "deliver-consent, status, withdraw, dispute",
            _subject,
        ),
        "deal": CommandEntry(
            "property deals: list, show, draw, sign, step, taxes, tax-sources, expire, bundle",
            _deal,
        ),
        "unit": CommandEntry(
            "the registration centre's register: enter, title, hold, holds, lift, end-hold", _unit
        ),
    },
    "governance and supervision": {
        "member": CommandEntry(
            "who is on the network: list, show, keys, proposals, proposal, propose-..., approve, "
            "withdraw-approval",
            _member,
        ),
        "key": CommandEntry(
            "a chief data officer's or administrator's own key "
            "file: make, replace, show, passphrase",
            _key,
        ),
        "sign": CommandEntry(
            "sign a request downloaded from a console, with your own key file", _sign
        ),
        "reconcile": CommandEntry("gateway, buyer and chain compared", _reconcile),
        "supervise": CommandEntry(
            "the whole network: alarms, nodes, validators, flows, hours, money, trace, runs, "
            "start-run, findings",
            _supervise,
        ),
        "clearing": CommandEntry(
            "the clearing book and the bank: days, show, entries, positions, compare, close, take, "
            "files, file, bank-entries, name, aside, approve, payouts, order, orders, order-show, "
            "order-payouts, release, drop, order-file, accounts, account, statement, rules, "
            "set-rule",
            _clearing,
        ),
        "log": CommandEntry("evidence logs: show, anchor, forks", _log),
        "operation": CommandEntry("promised contract calls: show, wait", _operation),
    },
    "running a node": {
        "node": CommandEntry(
            "an organisation's node: init, peer, tokens, key, certificate, run, outbox, migrate, "
            "recover, backup-key, backup, restore",
            _node,
        ),
        "console": CommandEntry(
            "user accounts of a node's console: invite, reset, forget-person", _console
        ),
        "webhook": CommandEntry(
            "own systems that receive events: list, add, test, deliveries, replay, rotate, "
            "disable, enable, remove",
            _webhook,
        ),
        "error": CommandEntry(
            "what an error code means and what to do next, in English and Chinese", _error
        ),
        "health": CommandEntry(
            "how each part of a node is, and what to do about what fails", _health
        ),
        "network": CommandEntry(
            "validators of a network on this machine: up, status, down, destroy, add, vote, "
            "proxy, inspect",
            _network,
        ),
        "found": CommandEntry(
            "a fresh chain's contracts, and its first members in the directory", _found
        ),
        "federated": CommandEntry(
            "joint models: init, daemon, check, run, approve, budget, status, replay, card, "
            "flower, demo",
            _federated,
        ),
    },
    "trying it": {
        "demo": CommandEntry("the network's main job, end to end, on real records", _demo),
        "bench": CommandEntry("measure, each figure beside a baseline of the same run", _bench),
    },
}
"""The groups as the help lists them."""

COMMANDS = {name: entry for group in GROUPS.values() for name, entry in group.items()}
