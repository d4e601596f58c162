"""Who is calling: what a verified signature says, and what policies may ask of it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypeAlias

import msgspec

from polyport.domain import names
from polyport.domain.access import PolicyText, PrincipalKind
from polyport.domain.names import Owner
from polyport.telemetry.audit import Identity

Keys: TypeAlias = Mapping[str, str | tuple[str, ...]]
"""Values of condition keys, by their lower-case name."""


class Caller(msgspec.Struct, frozen=True):
    """Who calls. ``owner`` is the caller's account, and the region that the call was signed for.

    ``kind`` is ``None`` for the account itself: anybody, while the server is open. ``name`` is the user's or the
    role's; ``session_name`` and ``issued_at`` (epoch seconds) are a session's, whose ``policies`` limit it further.
    """

    owner: Owner
    kind: PrincipalKind | None = None
    name: str = ""
    principal_id: str = ""
    key_id: str = ""
    session_name: str = ""
    issued_at: float | None = None
    policies: tuple[PolicyText, ...] = ()

    @property
    def account(self) -> str:
        """12 digits."""
        return self.owner.account

    @property
    def arn(self) -> str:
        """As errors, logs and GetCallerIdentity name it."""
        prefix = f"arn:{names.partition(self.owner.region)}"
        if self.kind is PrincipalKind.USER:
            return f"{prefix}:iam::{self.account}:user/{self.name}"
        if self.kind is PrincipalKind.ROLE:
            return f"{prefix}:sts::{self.account}:assumed-role/{self.name}/{self.session_name}"
        return f"{prefix}:iam::{self.account}:root"

    @property
    def role_arn(self) -> str:
        """The role of a session; empty for others."""
        if self.kind is not PrincipalKind.ROLE:
            return ""
        return f"arn:{names.partition(self.owner.region)}:iam::{self.account}:role/{self.name}"

    @property
    def user_id(self) -> str:
        """``AIDA...``, ``AROA...:session``, or the account."""
        if self.kind is PrincipalKind.ROLE:
            return f"{self.principal_id}:{self.session_name}"
        return self.principal_id or self.account

    @property
    def identity(self) -> Identity:
        """For the audit log."""
        types = {PrincipalKind.USER: "IAMUser", PrincipalKind.ROLE: "AssumedRole", None: "Root"}
        return Identity(
            type=types[self.kind],
            principal_id=self.user_id,
            arn=self.arn,
            account_id=self.account,
            access_key_id=self.key_id,
            user_name=self.name if self.kind is PrincipalKind.USER else "",
        )


class Circumstances(msgspec.Struct, frozen=True):
    """How a call came: the client's address (without port), whether over TLS, its ``User-Agent``, and when (epoch
    seconds)."""

    source_ip: str = ""
    is_secure: bool = False
    user_agent: str = ""
    now: float = 0.0


def keys(caller: Caller, circumstances: Circumstances) -> dict[str, str | tuple[str, ...]]:
    """The condition keys that every call has."""
    types = {PrincipalKind.USER: "User", PrincipalKind.ROLE: "AssumedRole", None: "Account"}
    found: dict[str, str | tuple[str, ...]] = {
        "aws:securetransport": str(circumstances.is_secure).lower(),
        "aws:currenttime": _iso(circumstances.now),
        "aws:epochtime": str(int(circumstances.now)),
        "aws:userid": caller.user_id,
        "aws:principalarn": caller.role_arn or caller.arn,
        "aws:principalaccount": caller.account,
        "aws:principaltype": types[caller.kind],
        "aws:requestedregion": caller.owner.region,
    }
    if circumstances.source_ip:
        found["aws:sourceip"] = circumstances.source_ip
    if circumstances.user_agent:
        found["aws:useragent"] = circumstances.user_agent
    if caller.kind is PrincipalKind.USER:
        found["aws:username"] = caller.name
    if caller.issued_at is not None:
        found["aws:tokenissuetime"] = _iso(caller.issued_at)
    return found


def tag_keys(tags: Mapping[str, str]) -> dict[str, str | tuple[str, ...]]:
    """The condition keys that a resource's tags are."""
    return {
        f"{prefix}:resourcetag/{key.lower()}": value for key, value in tags.items() for prefix in ("aws", "sagemaker")
    }


def _iso(at: float) -> str:
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def anybody(account: str, region: str) -> Caller:
    """Who calls an open server."""
    return Caller(Owner(account, region))
