"""Who calls, and how a policy's Principal element may name them."""

import enum

import msgspec

from polyport.aws.policy import document, elements


class PrincipalKind(enum.StrEnum):
    """What kind of caller it is; `aws:PrincipalType` has other words."""

    USER = "user"
    ROLE_SESSION = "role session"
    ROOT = "root"
    SERVICE = "service"


class Principal(msgspec.Struct, frozen=True):
    """A caller.

    ``arn`` is the user's, the session's (``arn:aws:sts::...:assumed-role/role/session``) or the account root's;
    ``role_arn`` is the role's of a session, path included. Of an AWS service, ``service`` is its name
    (``sagemaker.amazonaws.com``) and the others are empty.
    """

    kind: PrincipalKind
    account: str = ""
    arn: str = ""
    role_arn: str = ""
    service: str = ""

    @property
    def identities(self) -> tuple[str, ...]:
        """All that a policy may call it but its account: a session is also its role."""
        if self.kind is PrincipalKind.SERVICE:
            return (self.service,)
        return (self.role_arn, self.arn) if self.kind is PrincipalKind.ROLE_SESSION else (self.arn,)


class Grant(enum.IntEnum):
    """How closely a statement names the caller. What is granted to more than one session a session policy can limit."""

    NONE = 0
    #: The account, which delegates the decision to its own identity policies.
    ACCOUNT = 1
    #: The user, the role or the service itself, or everyone.
    DIRECT = 2
    #: This very session of a role.
    SESSION = 3


class Naming:
    """A Principal or NotPrincipal element, ready for matching."""

    def __init__(self, principals: document.Principals, excepts: bool, effect: document.Effect) -> None:
        self.element = "NotPrincipal" if excepts else "Principal"
        self._excepts = excepts
        self._denies = effect is document.Effect.DENY
        self._everyone = principals.everyone
        accounts = map(elements.account_of, principals.aws)
        self._accounts = frozenset(account for account in accounts if account is not None)
        named = (name for name in principals.aws if elements.account_of(name) is None)
        self._named = frozenset((*named, *principals.services))

    def grant(self, principal: Principal) -> Grant:
        """Whether, and how closely, the element is about a caller."""
        if self._excepts:
            return self._unless_excepted(principal)
        if principal.kind is PrincipalKind.ROLE_SESSION and principal.arn in self._named:
            return Grant.SESSION
        if self._everyone or any(identity in self._named for identity in principal.identities):
            return Grant.DIRECT
        if principal.account not in self._accounts:
            return Grant.NONE
        return Grant.DIRECT if principal.kind is PrincipalKind.ROOT else Grant.ACCOUNT

    def _unless_excepted(self, principal: Principal) -> Grant:
        """NotPrincipal. IAM looks at everything that a caller is, account included: a Deny spares only whom the list
        names as a whole (the account, the role and the session), an Allow is for whom it names in no way."""
        if self._everyone:
            return Grant.NONE
        listed = [identity in self._named for identity in self._below_account(principal)]
        if principal.kind is not PrincipalKind.SERVICE:
            listed.append(principal.account in self._accounts)
        spared = all(listed) if self._denies else any(listed)
        return Grant.NONE if spared else Grant.DIRECT

    @staticmethod
    def _below_account(principal: Principal) -> tuple[str, ...]:
        """The root user has no other name than its account's."""
        return () if principal.kind is PrincipalKind.ROOT else principal.identities
