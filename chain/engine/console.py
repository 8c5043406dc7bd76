"""The validator's own console: JSON-RPC over a Unix socket in the validator's directory.

Only the owner can connect: the engine creates the socket with mode 0600. The console offers what
the network port must not: ``governance`` and ``istanbul`` (votes), ``admin`` (peers). The socket is
reached through an open directory, because the path of a Unix socket is limited to 107 bytes.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

from chain.core.errors import Unavailable

SOCKET = "kcn.ipc"
SECONDS = 5.0


def call(home: Path, method: str, *parameters: Any) -> Any:
    """One request to the validator whose directory is ``home``; its answer.

    Raises:
        Unavailable: ``validator_silent`` when it does not answer; ``validator_refused`` when it
            answers with an error.
    """
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(parameters)}
    try:
        answer = _exchange(home, json.dumps(request).encode() + b"\n")
        if "error" in answer:
            raise Unavailable(
                "validator_refused",
                f"The validator refused {method}: {answer['error']['message']}.",
                hint="See its kcn.log.",
            )
        return answer["result"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unavailable(
            "validator_silent",
            f"The validator in {home} did not answer {method}.",
            hint="See its kcn.log.",
        ) from error


def _exchange(home: Path, request: bytes) -> Any:
    directory = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(SECONDS)
            connection.connect(f"/proc/self/fd/{directory}/{SOCKET}")
            connection.sendall(request)
            return json.loads(_line(connection))
    finally:
        os.close(directory)


def _line(connection: socket.socket) -> bytes:
    received = b""
    while not received.endswith(b"\n"):
        piece = connection.recv(65_536)
        if not piece:
            raise OSError("the validator closed the connection")
        received += piece
    return received
