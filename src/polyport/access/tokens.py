"""Session tokens: temporary credentials that carry all there is to know of them, encrypted and authenticated.

Nobody keeps a list of them, so any gateway can judge one, also when control is away. What may take back a session early
is looked up in the access table: its user or role must still be there.
"""

import msgspec
from cryptography.fernet import Fernet, InvalidToken

from polyport.domain.access import PolicyText, PrincipalKind

#: Characters of a token that is looked at: more than the largest that is made.
MAX_LENGTH = 16 * 1024


class Session(msgspec.Struct, frozen=True):
    """Temporary credentials. Times are epoch seconds.

    ``name`` is that of the user, or of the role that was assumed as ``session_name``; ``principal_id`` is their unique
    id, so that a new user or role of the same name is not meant. ``policies`` limit it further.
    """

    key_id: str
    secret: str
    account: str
    kind: PrincipalKind
    name: str
    principal_id: str
    issued_at: float
    expires_at: float
    session_name: str = ""
    policies: tuple[PolicyText, ...] = ()

    def __repr__(self) -> str:
        return f"<Session {self.key_id} of {self.kind.value} {self.name} in {self.account}>"


class Sealer:
    """Makes tokens and opens them. ``key``: `polyport.access.vault.Vault.token_key`."""

    def __init__(self, key: str) -> None:
        self._fernet = Fernet(key)
        self._decoder = msgspec.msgpack.Decoder(Session)

    def seal(self, session: Session) -> str:
        """The token, printable ASCII."""
        return self._fernet.encrypt(msgspec.msgpack.encode(session)).decode()

    def open(self, token: bytes) -> Session | None:
        """``None``: it is none of ours. Whether it has expired is for the caller to see."""
        if len(token) > MAX_LENGTH:
            return None
        try:
            return self._decoder.decode(self._fernet.decrypt(token))
        except (InvalidToken, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            # Texts that are none, and what is nested without end, are not msgspec's own errors.
            return None
