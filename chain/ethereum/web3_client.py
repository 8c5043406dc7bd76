"""web3.py for the commands that deploy, found, govern and inspect a network.

Node processes and the verifier never import it (ADR 4): importing web3 takes a second and 24 MB,
and raises the recursion limit of the process to 100,000 (``py_ecc``), after which deeply nested
JSON ends the process. ``connect`` imports it and puts the limit back.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from chain.core.errors import RefusedBy, Refuser
from chain.ethereum.rpc import ChainUnreachable, RpcRefused, address_of

if TYPE_CHECKING:
    from web3 import Web3


def connect(url: str, *, timeout: float = 10.0) -> Web3:
    """A client of one chain node; ``timeout`` in seconds for each request.

    Proxies of the environment are not used. Nothing is asked yet: wrap requests in
    ``chain_errors``.
    """
    limit = sys.getrecursionlimit()
    try:
        from requests import Session
        from web3 import HTTPProvider, Web3
        from web3.middleware import ExtraDataToPOAMiddleware
    finally:
        sys.setrecursionlimit(limit)
    session = Session()
    session.trust_env = False
    provider = HTTPProvider(
        url,
        request_kwargs={"timeout": timeout},
        session=session,
        exception_retry_configuration=None,
    )
    client = Web3(provider)
    # Headers of a chain of validators carry their seals, which are longer than web3.py allows.
    client.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
    return client


@contextmanager
def chain_errors(url: str) -> Iterator[None]:
    """Raise a chain node's silence or refusal as ``chain.ethereum.rpc`` does.

    Raises:
        ChainUnreachable: ``chain_unreachable`` when the node does not answer.
        RpcRefused: ``chain_refused``, the node's own error.
    """
    from requests import RequestException
    from web3.exceptions import BadResponseFormat, Web3RPCError

    try:
        yield
    except (RequestException, BadResponseFormat) as error:
        raise ChainUnreachable(
            "chain_unreachable",
            "No chain node answered.",
            hint="Check that the validator runs and that the chain URL "
            "is right; the request can be repeated.",
        ).by(RefusedBy(Refuser.CHAIN, address=address_of(url))) from error
    except Web3RPCError as error:
        detail = (error.rpc_response or {}).get("error")
        message = detail.get("message") if isinstance(detail, dict) else error
        text = str(message)[:500]
        raise RpcRefused(method="a request", number=0, message=text) from error
