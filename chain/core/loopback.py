"""Ports of this machine for processes that it starts itself: validators, nodes and parties of a
demo, a bench or a test.

The system gives outgoing connections a port of its ephemeral range (32768 and up on Linux). A
server's port is taken from below it: nobody's connection sits on it between the choice and the
server's start, or while the server is down and comes back.
"""

from __future__ import annotations

import contextlib
import ipaddress
import random
import socket

from chain.core.errors import Unavailable

LOOPBACK = "127.0.0.1"
PORTS = range(20_000, 32_000)


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine can reach a server that listens there."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on now, all different: held open together while they are sought.

    Raises ``Unavailable`` (``ports_missing``).
    """
    found: list[int] = []
    with contextlib.ExitStack() as stack:
        for port in random.sample(PORTS, len(PORTS)):
            probe = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind((LOOPBACK, port))
                found.append(port)
            if len(found) == count:
                return found
    raise Unavailable(
        "ports_missing", "There are no free ports.", hint="End programs that listen on many ports."
    )
