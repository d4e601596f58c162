"""Whether a call is allowed, by IAM's rules, and which statement said so."""

import enum

import msgspec

from polyport.aws.policy.compiled import Policies, Statement
from polyport.aws.policy.principals import Grant, Principal, PrincipalKind
from polyport.aws.policy.variables import Context


class Request(msgspec.Struct, frozen=True):
    """What is to be done (``sagemaker:InvokeEndpoint``), to which ARN, and the condition keys, lower-case."""

    action: str
    resource: str
    context: Context = {}


class Reason(enum.StrEnum):
    """Why a decision is as it is."""

    ALLOWED_BY_IDENTITY = "allowed by an identity-based policy"
    ALLOWED_BY_RESOURCE = "allowed by a resource-based policy"
    ALLOWED_BY_TRUST = "allowed by the role trust policy"
    ALLOWED_TO_ROOT = "allowed: the root user may do everything in its account"
    DENIED_BY_IDENTITY = "explicit deny in an identity-based policy"
    DENIED_BY_SESSION = "explicit deny in a session policy"
    DENIED_BY_RESOURCE = "explicit deny in a resource-based policy"
    DENIED_BY_TRUST = "explicit deny in the role trust policy"
    NO_IDENTITY_ALLOWS = "no identity-based policy allows"
    NO_SESSION_ALLOWS = "no session policy allows"
    NO_RESOURCE_ALLOWS = "no resource-based policy allows"
    NO_TRUST_ALLOWS = "no role trust policy allows"

    @property
    def is_explicit_deny(self) -> bool:
        """Whether a Deny decided."""
        return self in _EXPLICIT


_EXPLICIT = frozenset(
    {Reason.DENIED_BY_IDENTITY, Reason.DENIED_BY_SESSION, Reason.DENIED_BY_RESOURCE, Reason.DENIED_BY_TRUST}
)


class Decision(msgspec.Struct, frozen=True):
    """Allowed or not, and by what. ``policy``, ``statement`` (from 0) and ``sid`` are of the statement that decided;
    None and empty where none did, which is what a denial without an explicit Deny is."""

    allowed: bool
    reason: Reason
    action: str
    policy: str | None = None
    statement: int | None = None
    sid: str = ""

    def explain(self) -> str:
        """For people: ``explicit deny in an identity-based policy: guard, statement 2 (Sid)``, counted from 1."""
        if self.policy is None or self.statement is None:
            return str(self.reason) if self.allowed else f"{self.reason} the {self.action} action"
        sid = f" ({self.sid})" if self.sid else ""
        return f"{self.reason}: {self.policy}, statement {self.statement + 1}{sid}"

    @property
    def denial(self) -> str:
        """The end of AWS's sentence ``User: ... is not authorized to perform: ...``; empty where allowed."""
        if self.allowed:
            return ""
        if self.reason.is_explicit_deny:
            return f"with an {self.reason}"
        return f"because {self.reason} the {self.action} action"


def decide(
    request: Request,
    principal: Principal,
    identity: Policies,
    session: Policies | None,
    resource: Policies | None,
    resource_account: str,
) -> Decision:
    """Whether the caller may.

    ``identity`` are the policies attached to the caller (a session has its role's), ``session`` the one that its
    credentials were made with, ``resource`` the one of the resource, which belongs to ``resource_account``.

    An explicit Deny anywhere wins. In the caller's own account one side is enough: an identity policy, or a resource
    policy that names the caller or everyone. To another account both are needed, and there naming the caller's account
    is enough. A session policy limits all but what a resource policy gives to that very session. The root user
    needs no identity policy, an AWS service has none.
    """
    return _decide(request, principal, identity, session, resource, resource_account, is_trust=False)


def decide_trust(
    request: Request,
    principal: Principal,
    identity: Policies,
    session: Policies | None,
    trust: Policies,
    role_account: str,
) -> Decision:
    """Whether the caller may assume a role (``request.resource`` is the role's ARN) that has the policy ``trust``.

    As `decide`, but nobody may whom the role does not trust, in the role's own account too; there, trust in the caller
    is enough, trust in the account leaves it to the caller's identity policies.
    """
    return _decide(request, principal, identity, session, trust, role_account, is_trust=True)


def _decide(
    request: Request,
    principal: Principal,
    identity: Policies,
    session: Policies | None,
    resource: Policies | None,
    resource_account: str,
    *,
    is_trust: bool,
) -> Decision:
    call = (request.action.lower(), request.resource, request.context, principal)
    for policies, reason in (
        (identity, Reason.DENIED_BY_IDENTITY),
        (session, Reason.DENIED_BY_SESSION),
        (resource, Reason.DENIED_BY_TRUST if is_trust else Reason.DENIED_BY_RESOURCE),
    ):
        denial = policies.denial(*call) if policies is not None else None
        if denial is not None:
            return _by(request, reason, denial)

    grant, granting = resource.closest(*call) if resource is not None else (Grant.NONE, None)
    is_service = principal.kind is PrincipalKind.SERVICE
    is_own = principal.account == resource_account
    if grant is Grant.NONE and (is_trust or not is_own):
        return _refused(request, Reason.NO_TRUST_ALLOWS if is_trust else Reason.NO_RESOURCE_ALLOWS)
    is_limited = session is not None and grant is not Grant.SESSION and session.permission(*call) is None
    if is_service or (is_own and grant >= Grant.DIRECT):
        if is_limited:
            return _refused(request, Reason.NO_SESSION_ALLOWS)
        return _by(request, Reason.ALLOWED_BY_TRUST if is_trust else Reason.ALLOWED_BY_RESOURCE, granting)
    return _by_identity(request, principal, identity, session, call)


def _by_identity(
    request: Request,
    principal: Principal,
    identity: Policies,
    session: Policies | None,
    call: tuple[str, str, Context, Principal],
) -> Decision:
    """What the caller's own side says, where that is needed."""
    permission = identity.permission(*call)
    is_root = principal.kind is PrincipalKind.ROOT
    if permission is None and not is_root:
        return _refused(request, Reason.NO_IDENTITY_ALLOWS)
    if session is not None and session.permission(*call) is None:
        return _refused(request, Reason.NO_SESSION_ALLOWS)
    return _by(request, Reason.ALLOWED_TO_ROOT if permission is None else Reason.ALLOWED_BY_IDENTITY, permission)


def _refused(request: Request, reason: Reason) -> Decision:
    return Decision(False, reason, request.action)


def _by(request: Request, reason: Reason, statement: Statement | None) -> Decision:
    allowed = not reason.is_explicit_deny
    if statement is None:
        return Decision(allowed, reason, request.action)
    return Decision(allowed, reason, request.action, statement.policy, statement.index, statement.sid)
