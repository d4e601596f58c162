"""The key file of a home: what secrets are encrypted with at rest, and what session tokens are sealed with."""

import base64
import os
import secrets
import stat
from pathlib import Path

from cryptography.exceptions import InvalidKey
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from polyport.errors import UsageError

FILE_NAME = "secret.key"
#: Bytes of the key in the file.
_SIZE = 32


class Vault:
    """The key file, read. Both keys that are used come from the one in the file, each for one purpose."""

    def __init__(self, path: Path, key: bytes) -> None:
        self._path = path
        self._secrets = Fernet(_derive(key, b"polyport: secrets at rest"))
        #: What seals and opens session tokens. Unlike the file's key it may be given to gateways.
        self.token_key = _derive(key, b"polyport: session tokens").decode()

    def __repr__(self) -> str:
        return f"<Vault {self._path}>"

    def encrypt(self, secret: str) -> str:
        """For a row."""
        return self._secrets.encrypt(secret.encode()).decode()

    def decrypt(self, text: str) -> str:
        """What `encrypt` was given. Raises `UsageError` when it was by another key."""
        try:
            return self._secrets.decrypt(text).decode()
        except (InvalidToken, InvalidKey) as error:
            raise UsageError(
                f"An access key in the database was encrypted with another key than that in {self._path}. "
                "Put back the key file that belongs to this database, or delete its access keys and make new ones."
            ) from error


def open_vault(home: Path) -> Vault:
    """The vault of a home; the key file is made when there is none. Raises `UsageError` when it is unsafe or broken."""
    path = home / FILE_NAME
    try:
        _make(path)
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read(1024)
    except OSError as error:
        raise UsageError(f"The key file {path} cannot be read: {error.strerror}.") from error
    if mode & 0o077:
        raise UsageError(
            f"The key file {path} can be read by others (mode {mode:04o}). Run `chmod 600 {path}`; "
            "if somebody may have read it, make new keys too."
        )
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except ValueError:
        key = b""
    if len(key) != _SIZE:
        raise UsageError(f"The key file {path} is damaged. Put back the one that belongs to this database.")
    return Vault(path, key)


def _make(path: Path) -> None:
    """Whole or not at all, and only ours from its first moment on; somebody else's that is there already stays."""
    if path.exists():
        return
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(file, base64.b64encode(os.urandom(_SIZE)) + b"\n")
            os.fsync(file)
        finally:
            os.close(file)
        try:
            # Unlike renaming, it never replaces one that another process has made meanwhile.
            path.hardlink_to(new)
        except FileExistsError:
            return
    finally:
        new.unlink(missing_ok=True)


def _derive(key: bytes, purpose: bytes) -> bytes:
    """A key of Fernet's form."""
    made = HKDF(algorithm=hashes.SHA256(), length=_SIZE, salt=None, info=purpose).derive(key)
    return base64.urlsafe_b64encode(made)
