"""Who may call: keys, users, roles and their policies, as rows hold them and as the route table carries them.

Secrets are plain here and nowhere else: rows hold them encrypted, and no value of this module shows one in its `repr`.
"""

from enum import StrEnum

import msgspec


class KeyStatus(StrEnum):
    """As IAM spells it."""

    ACTIVE = "Active"
    INACTIVE = "Inactive"


class PrincipalKind(StrEnum):
    """What policies are attached to."""

    USER = "user"
    ROLE = "role"


class PolicyText(msgspec.Struct, frozen=True):
    """A policy document as it was given; its name is unique to whom it is attached."""

    name: str
    document: str


class Principal(msgspec.Struct, frozen=True):
    """A user or a role of an account. ``id`` is what stays when the name is used again (``AIDA...``, ``AROA...``)."""

    account: str
    kind: PrincipalKind
    name: str
    id: str

    @property
    def arn(self) -> str:
        """``arn:aws:iam::ACCOUNT:user/name``."""
        return f"arn:aws:iam::{self.account}:{self.kind.value}/{self.name}"


class PrincipalRow(Principal, frozen=True):
    """A principal at rest. ``trust`` (a policy document) and ``max_session`` (seconds) are a role's."""

    created_at: float
    trust: str = ""
    max_session: int = 3600


class KeyRow(msgspec.Struct, frozen=True):
    """An access key at rest. ``secret`` is encrypted. ``expires_at`` (epoch seconds): it is being rotated out."""

    id: str
    account: str
    user: str
    secret: str
    status: KeyStatus
    created_at: float
    expires_at: float | None = None

    def __repr__(self) -> str:
        return f"<KeyRow {self.id} of {self.user} in {self.account}, {self.status.value}>"


class AccessRows(msgspec.Struct, frozen=True):
    """All rows at one moment. ``policies`` are by principal (account, kind, name), what is an endpoint's by its ARN."""

    revision: int
    keys: tuple[KeyRow, ...] = ()
    principals: tuple[PrincipalRow, ...] = ()
    policies: dict[tuple[str, str, str], tuple[PolicyText, ...]] = {}
    endpoint_policies: dict[str, str] = {}
    endpoint_tags: dict[str, dict[str, str]] = {}


class Key(msgspec.Struct, frozen=True):
    """An access key that may be used, until ``expires_at`` (epoch seconds) if that is given."""

    id: str
    secret: str
    account: str
    user: str
    expires_at: float | None = None

    def __repr__(self) -> str:
        return f"<Key {self.id} of {self.user} in {self.account}>"


class Grantee(Principal, frozen=True):
    """A principal with its policies. ``trust`` and ``max_session`` are a role's, as in `PrincipalRow`."""

    policies: tuple[PolicyText, ...] = ()
    trust: str = ""
    max_session: int = 3600


class AccessTable(msgspec.Struct, frozen=True):
    """All that decides on calls. ``is_open``: there is no key, and any credentials are accepted; the account of all
    callers is then ``account``.

    ``token_key`` opens session tokens. Policies and tags of endpoints are by ARN.
    """

    is_open: bool
    account: str
    keys: tuple[Key, ...] = ()
    grantees: tuple[Grantee, ...] = ()
    endpoint_policies: dict[str, str] = {}
    endpoint_tags: dict[str, dict[str, str]] = {}
    token_key: str = ""

    def __repr__(self) -> str:
        kind = "open" if self.is_open else f"{len(self.keys)} keys, {len(self.grantees)} users and roles"
        return f"<AccessTable of {self.account}: {kind}>"


#: Nobody may call: what holds until something else is known.
CLOSED = AccessTable(is_open=False, account="")
