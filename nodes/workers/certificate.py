"""Keeps the server's TLS certificate valid."""

from __future__ import annotations

import asyncio
import logging

from chain.core.errors import Unavailable
from chain.core.zone import local_time
from nodes.certificate import ServerCertificate

log = logging.getLogger("qiaolian.certificate")


class CertificateWorker:
    """A round takes up a certificate file that was replaced, and renews the certificate in time."""

    def __init__(self, certificate: ServerCertificate) -> None:
        self._certificate = certificate

    async def round(self) -> None:
        """One round, off the event loop; ``certificate_not_written`` when the new file cannot be
        written.
        """
        before = self._certificate.info
        try:
            await asyncio.to_thread(self._certificate.keep)
        except OSError as error:
            raise Unavailable(
                "certificate_not_written",
                "The renewed TLS certificate could not be written "
                f"({error.strerror or type(error).__name__}).",
                hint="The node writes to the directory of its keys: check its "
                "owner, its mode and the disk's free space.",
            ) from error
        now = self._certificate.info
        if now != before:
            log.info("the node's TLS certificate is valid until %s", local_time(now.ends_at))
