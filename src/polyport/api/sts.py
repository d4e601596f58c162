"""GetCallerIdentity, GetSessionToken, AssumeRole: what SDKs begin with, for users and roles of this server."""

import re
from typing import Any

from polyport.access import authority, minting
from polyport.access.callers import Caller
from polyport.access.tokens import Sealer, Session
from polyport.api.context import Context
from polyport.aws import denials
from polyport.aws.policy import document
from polyport.domain.access import Grantee, PolicyText, PrincipalKind
from polyport.domain.names import Owner
from polyport.errors import ApiError, PolicyError

#: Seconds, as AWS has them by default.
SESSION = 12 * 3600
ROLE_SESSION = 3600
#: Characters of a session policy.
MAX_POLICY = 2048
_ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::([0-9]{12}):role/(?:[!-~]*/)?([\w+=,.@-]{1,64})", re.ASCII)
#: They would have to limit or mark the session, so they are not just passed over.
_UNSUPPORTED = ("PolicyArns", "Tags", "TransitiveTagKeys", "SerialNumber", "TokenCode", "ProvidedContexts")


async def get_caller_identity(context: Context, _: dict[str, Any]) -> dict[str, Any]:
    """Allowed to everybody whose signature is right."""
    caller = context.caller
    return {"UserId": caller.user_id, "Account": caller.account, "Arn": caller.arn}


async def get_session_token(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Temporary credentials of the user itself."""
    caller = context.caller
    _refuse_unsupported(request)
    if caller.issued_at is not None:
        raise denials.forbidden("Cannot call GetSessionToken with session credentials")
    seconds = request.get("DurationSeconds", SESSION)
    return {"Credentials": _credentials(context, PrincipalKind.USER, caller, seconds)}


async def assume_role(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Temporary credentials of a role, for whom its trust policy trusts."""
    _refuse_unsupported(request)
    arn, session_name = request["RoleArn"], request["RoleSessionName"]
    role = _role(context, arn, request)
    seconds = request.get("DurationSeconds", ROLE_SESSION)
    if seconds > role.max_session:
        raise ApiError(
            "ValidationError",
            f"The requested DurationSeconds exceeds the MaxSessionDuration ({role.max_session}) set for this role.",
        )
    policies = _session_policies(request)
    owner = Owner(role.account, context.owner.region)
    assumed = Caller(owner, PrincipalKind.ROLE, role.name, role.id, session_name=session_name)
    credentials = _credentials(context, PrincipalKind.ROLE, assumed, seconds, policies)
    return {
        "Credentials": credentials,
        "AssumedRoleUser": {"AssumedRoleId": assumed.user_id, "Arn": assumed.arn},
        "PackedPolicySize": 100 * len(request.get("Policy", "")) // MAX_POLICY,
    }


def _role(context: Context, arn: str, request: dict[str, Any]) -> Grantee:
    """The role, if the caller may assume it. One that is not there looks like one that may not be assumed."""
    match = _ROLE_ARN.fullmatch(arn)
    if match is None:
        raise ApiError("ValidationError", f"{arn} is invalid")
    account, name = match[1], match[2]
    gate = context.gate
    if gate.table.is_open:
        return Grantee(account, PrincipalKind.ROLE, name, minting.role_id(), max_session=12 * 3600)
    role = gate.keyring.grantee(account, PrincipalKind.ROLE, name)
    if role is None:
        raise _denied(context.caller, arn)
    keys: dict[str, str | tuple[str, ...]] = {"sts:rolesessionname": request["RoleSessionName"]}
    if "ExternalId" in request:
        keys["sts:externalid"] = request["ExternalId"]
    decision = gate.authority.decide_trust(context.caller, role, keys, context.circumstances)
    if not decision.allowed:
        raise _denied(context.caller, arn)
    return role


def _denied(caller: Caller, arn: str) -> denials.Denial:
    return denials.forbidden(
        f"User: {caller.arn} is not authorized to perform: {authority.ASSUME_ROLE} on resource: {arn}"
    )


def _session_policies(request: dict[str, Any]) -> tuple[PolicyText, ...]:
    if "Policy" not in request:
        return ()
    text = request["Policy"]
    if len(text) > MAX_POLICY:
        raise ApiError("PackedPolicyTooLarge", f"A session policy may have at most {MAX_POLICY} characters.")
    try:
        document.parse(text, document.Kind.SESSION)
    except PolicyError as error:
        raise ApiError("MalformedPolicyDocument", f"The session policy is not valid: {error}") from error
    return (PolicyText("session policy", text),)


def _refuse_unsupported(request: dict[str, Any]) -> None:
    given = [member for member in _UNSUPPORTED if request.get(member)]
    if given:
        raise ApiError("ValidationError", f"Polyport does not support {', '.join(given)} of this operation.")


def _credentials(
    context: Context, kind: PrincipalKind, whose: Caller, seconds: int, policies: tuple[PolicyText, ...] = ()
) -> dict[str, Any]:
    now = context.clock()
    session = Session(
        key_id=minting.session_key_id(),
        secret=minting.secret(),
        account=whose.account,
        kind=kind,
        name=whose.name,
        principal_id=whose.principal_id,
        issued_at=now,
        expires_at=now + seconds,
        session_name=whose.session_name,
        policies=policies,
    )
    return {
        "AccessKeyId": session.key_id,
        "SecretAccessKey": session.secret,
        "SessionToken": Sealer(context.gate.table.token_key).seal(session),
        "Expiration": session.expires_at,
    }
