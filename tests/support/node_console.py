"""The console of an organisation that runs in this process (``tests.support.node``), over its real
database and the real contracts.
"""

from __future__ import annotations

from pathlib import Path

from chain.core.database import Base
from nodes.config import Console, parse
from nodes.console.app import create_console
from nodes.routers import load_tables
from tests.support.console import NOBODY_LISTENS, TestClock, TestConsole
from tests.support.node import LocalNode


def console_of(node: LocalNode, **changed: bool) -> TestConsole:
    """The console of a node."""
    load_tables()
    context = node.context
    Base.metadata.create_all(context.database.engine)
    settings = {"plain_http": True, **changed}
    config = parse(
        {
            "member": context.member,
            "name": f"江门 {node.organisation.name}",
            "roles": [str(role.name).lower() for role in context.roles],
            "keys": {"passphrase_file": "passphrase"},
            "chain": {"rpc": [NOBODY_LISTENS], "finality": "unsealed-test"},
            "console": settings,
        },
        home=Path(str(context.database.engine.url.database)).parent,
    )
    app = create_console(config, Console.model_validate(settings))
    app.state.context = context
    return TestConsole(app, context, TestClock(), config)
