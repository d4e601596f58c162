"""TLS for clients: 1.2 and newer, with a certificate that is read again when its files change."""

import logging
import ssl
from pathlib import Path

from polyport.errors import UsageError

log = logging.getLogger(__name__)

#: Seconds for a client to get through its handshake.
HANDSHAKE_TIMEOUT = 10.0

Stamp = tuple[tuple[int, int, int], ...]
"""What changes when a file does: inode, size and time of each."""


class Certificate:
    """The files of a certificate and its key, and optionally of those who sign clients' certificates."""

    def __init__(self, certificate: str, key: str, client_ca: str = "") -> None:
        self._certificate = certificate
        self._key = key
        self._client_ca = client_ca
        self._context: ssl.SSLContext | None = None
        self._stamp: Stamp | None = None

    def context(self) -> ssl.SSLContext:
        """What connections are made with; stays the same object. Raises `UsageError` when the files are no use."""
        if self._context is None:
            self._stamp = self._look()
            self._context = self._load()
        return self._context

    def refresh(self) -> None:
        """Take the files anew if they have changed. While they are no use, those taken before stay in force."""
        stamp = self._look()
        if self._context is None or stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            # Tried first on another: a certificate that goes without its key would spoil the one that is in use.
            self._load()
            self._fill(self._context)
        except UsageError as error:
            log.warning("%s The certificate read before stays in use.", error)
        else:
            log.info("the certificate %s was read again", self._certificate)

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        self._fill(context)
        return context

    def _fill(self, context: ssl.SSLContext) -> None:
        try:
            # Without this, OpenSSL would ask the terminal for the password of an encrypted key.
            context.load_cert_chain(self._certificate, self._key or None, password=_no_password)
            if self._client_ca:
                context.load_verify_locations(self._client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            files = ", ".join(filter(None, (self._certificate, self._key, self._client_ca)))
            raise UsageError(f"TLS is not possible with {files}: {reason}.") from error

    def _look(self) -> Stamp | None:
        try:
            found = [Path(path).stat() for path in (self._certificate, self._key, self._client_ca) if path]
        except OSError:
            # In the middle of a change.
            return self._stamp
        return tuple((one.st_ino, one.st_size, one.st_mtime_ns) for one in found)


def _no_password() -> str:
    raise ValueError("the key is encrypted, which is not supported")
