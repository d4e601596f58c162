"""What may stand in Sid, Action, Resource and Principal. Each function says what is wrong with a text; None is good."""

import re

from polyport.aws.policy import variables

_SID = re.compile(r"[A-Za-z0-9]*", re.ASCII)
_ACTION = re.compile(r"\*|[A-Za-z0-9-]+:[A-Za-z0-9*?]+", re.ASCII)
_ACCOUNT = re.compile(r"[0-9]{12}", re.ASCII)
_ACCOUNT_ROOT = re.compile(r"arn:aws[a-z-]*:iam::([0-9]{12}):root", re.ASCII)
_NAMED = re.compile(
    r"arn:aws[a-z-]*:(iam::[0-9]{12}:(user|role)/([!-~]+/)?[\w+=,.@-]+"
    r"|sts::[0-9]{12}:assumed-role/[\w+=,.@-]+/[\w+=,.@-]+)",
    re.ASCII,
)
_SERVICE = re.compile(r"[a-z0-9.-]+\.amazonaws\.com(\.cn)?", re.ASCII)


def is_sid(text: str) -> bool:
    """Whether a statement may be named so."""
    return _SID.fullmatch(text) is not None


def action_problem(text: str) -> str | None:
    """``sagemaker:InvokeEndpoint``; wildcards only behind the colon."""
    return None if _ACTION.fullmatch(text) else "is neither * nor vendor:Name"


def resource_problem(text: str, substitutes: bool) -> str | None:
    """An ARN, with wildcards and variables anywhere behind ``arn:``."""
    if text != "*" and not text.startswith("arn:"):
        return "is neither * nor an ARN"
    try:
        variables.read(text, wildcards=True, substitutes=substitutes)
    except ValueError as error:
        return str(error)
    return None


def principal_problem(text: str) -> str | None:
    """What ``"AWS"`` may name. Wildcards stand for nothing here: IAM has only ``*`` for everyone."""
    if text == "*" or _ACCOUNT.fullmatch(text) or _ACCOUNT_ROOT.fullmatch(text):
        return None
    if _NAMED.fullmatch(text) and "*" not in text and "?" not in text:
        return None
    return "is neither *, an account, nor the ARN of an account's root, a user, a role or an assumed role's session"


def service_problem(text: str) -> str | None:
    """What ``"Service"`` may name."""
    return None if _SERVICE.fullmatch(text) else "is no service like sagemaker.amazonaws.com"


def account_of(principal: str) -> str | None:
    """The account that an entry of ``"AWS"`` stands for as a whole; None where it names someone."""
    if _ACCOUNT.fullmatch(principal):
        return principal
    root = _ACCOUNT_ROOT.fullmatch(principal)
    return root[1] if root else None
