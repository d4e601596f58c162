"""Text as a policy of every kind, then compiled, and decided on by it.

Nothing but a `PolicyError` is raised, with a place in the text; what is taken is JSON for others too; decisions and
traces agree; and no text takes long.
"""

import json
import re
import time
from itertools import chain

from fuzz.choices import Choices, pack
from fuzz.findings import require
from fuzz.target import Target
from polyport.aws.policy import compiled, document, evaluate, trace
from polyport.aws.policy.compiled import Policies
from polyport.aws.policy.document import Document, Kind
from polyport.aws.policy.evaluate import Request
from polyport.aws.policy.principals import Principal, PrincipalKind
from polyport.errors import PolicyError

#: Seconds of CPU that a text may take, parsed as every kind and decided on by each caller. A usual one takes one
#: thousandth of it; coverage makes everything several times slower.
LONGEST_TAKEN = 3.0
OWN, OTHER = "111111111111", "222222222222"
ENDPOINT = f"arn:aws:sagemaker:eu-west-1:{OWN}:endpoint/team-a-main"
ROLE = f"arn:aws:iam::{OWN}:role/caller"
CALLERS = (
    Principal(PrincipalKind.USER, OWN, f"arn:aws:iam::{OWN}:user/ann"),
    Principal(PrincipalKind.ROLE_SESSION, OWN, f"arn:aws:sts::{OWN}:assumed-role/caller/s1", ROLE),
    Principal(PrincipalKind.ROOT, OWN, f"arn:aws:iam::{OWN}:root"),
    Principal(PrincipalKind.USER, OTHER, f"arn:aws:iam::{OTHER}:user/eve"),
    Principal(PrincipalKind.SERVICE, service="sagemaker.amazonaws.com"),
)
CONTEXT: dict[str, str | tuple[str, ...]] = {
    "aws:username": "ann",
    "aws:sourceip": "10.0.0.1",
    "aws:currenttime": "2026-01-02T12:15:00Z",
    "aws:securetransport": "true",
    "aws:tagkeys": ("a", "b"),
    "aws:epochtime": "1767356100",
    "sagemaker:targetcontainerhostname": "first",
}
REQUESTS = (
    Request("sagemaker:InvokeEndpoint", ENDPOINT, CONTEXT),
    Request("sts:AssumeRole", ROLE),
    # What makes patterns go back and forth.
    Request("sagemaker:" + "a" * 100, ENDPOINT + "a" * 400, {"aws:username": "a" * 400}),
)


def check(data: bytes) -> None:
    """The text in UTF-8, whatever is none of it replaced, or kept as what JSON cannot hold."""
    choices = Choices(data)
    text = choices.payload.decode("utf-8", ("replace", "surrogateescape")[choices.below(2)])
    began = time.process_time()
    for kind in Kind:
        try:
            found = document.parse(text, kind)
        except PolicyError as error:
            _check_refusal(error, text)
        else:
            _check_text(found, text)
            _check_decisions(found)
    took = time.process_time() - began
    require(took < LONGEST_TAKEN, f"{len(text)} characters take {took:.1f} seconds")


def _check_refusal(error: PolicyError, text: str) -> None:
    require(error.message and error.position, f"no place: {error!r}")
    lines = text.split("\n")
    require(1 <= error.line <= len(lines), f"line {error.line} of {len(lines)}")
    require(1 <= error.column <= len(lines[error.line - 1]) + 1, f"column {error.column} of line {error.line}")
    require(len(str(error)) < 2000, f"an error of {len(str(error))} characters")


def _check_text(found: Document, text: str) -> None:
    """The standard library reads the same."""
    source = json.loads(text)
    statements = source["Statement"] if isinstance(source["Statement"], list) else [source["Statement"]]
    require(found.version == source.get("Version", "2008-10-17"), f"another version: {found.version}")
    require([each.effect for each in found.statements] == [each["Effect"] for each in statements], "other effects")
    for read, written in zip(found.statements, statements, strict=True):
        name = "NotAction" if read.excepts_actions else "Action"
        actions = written[name] if isinstance(written[name], list) else [written[name]]
        require(list(read.actions) == actions, f"other actions: {read.actions}")


def _check_decisions(found: Document) -> None:
    policies = compiled.compile([("p", found)])
    empty = compiled.compile([])
    for request in REQUESTS:
        for caller in CALLERS:
            match found.kind:
                case Kind.IDENTITY:
                    decision = evaluate.decide(request, caller, policies, None, None, OWN)
                case Kind.SESSION:
                    decision = evaluate.decide(request, caller, empty, policies, None, OWN)
                case Kind.RESOURCE:
                    decision = evaluate.decide(request, caller, empty, None, policies, OWN)
                case Kind.TRUST:
                    decision = evaluate.decide_trust(request, caller, empty, None, policies, OWN)
            _check_agreement(decision, request, caller, policies)
    for request, statement in ((request, statement) for request in REQUESTS for statement in found.statements):
        _check_actions(request, statement)


def _check_agreement(decision: evaluate.Decision, request: Request, caller: Principal, policies: Policies) -> None:
    traced = trace.trace(request, caller, policies)
    require(len(traced) == len(policies.statements), "a statement is not traced")
    for each in traced:
        require(each.matched == bool(each.grant) and each.explain(), f"a trace that contradicts itself: {each!r}")
    denies = [each for each in traced if each.matched and each.effect == "Deny"]
    allows = [each for each in traced if each.matched and each.effect == "Allow"]
    require(decision.reason.is_explicit_deny == bool(denies), f"{decision!r}, but Denies that match: {denies}")
    is_root = caller.kind is PrincipalKind.ROOT
    require(not decision.allowed or allows or is_root, f"{decision!r}, but no Allow matches")
    require(bool(decision.denial) != decision.allowed and decision.explain(), f"told badly: {decision!r}")


def _check_actions(request: Request, statement: document.Statement) -> None:
    """Actions, which have no variables, as regular expressions match them."""
    if any(action.count("*") > 3 for action in statement.actions):
        return
    expected = any(_expression(action).fullmatch(request.action.lower()) for action in statement.actions)
    made = compiled.Statement("p", 0, document.Statement(statement.effect, statement.actions, resources=("*",)), False)
    everyone = CALLERS[0]
    got = bool(made.grant(request.action.lower(), request.resource, request.context, everyone))
    require(got == expected, f"{statement.actions} and {request.action}: {got}")


def _expression(action: str) -> re.Pattern[str]:
    escaped = re.escape(action.lower()).replace(r"\*", ".*").replace(r"\?", ".")
    return re.compile(escaped, re.DOTALL)


def _policy(*statements: object, version: str = "2012-10-17") -> bytes:
    return json.dumps({"Version": version, "Statement": statements}).encode()


def _seeds() -> list[bytes]:
    invoke = {"Effect": "Allow", "Action": "sagemaker:InvokeEndpoint", "Resource": ENDPOINT}
    texts = [
        _policy(invoke),
        _policy(
            {**invoke, "Action": ["sagemaker:Invoke*", "iam:?"], "Resource": ["*", "arn:aws:sagemaker:*:*:endpoint/?*"]}
        ),
        _policy({"Effect": "Deny", "NotAction": "*:*", "NotResource": "arn:aws:s3:::*", "Sid": "a"}),
        _policy({**invoke, "Resource": "arn:aws:sagemaker:*:*:endpoint/${aws:username, 'x'}*"}, version="2008-10-17"),
        _policy({**invoke, "Principal": {"AWS": [OWN, f"arn:aws:iam::{OWN}:user/ann"], "Service": "s3.amazonaws.com"}}),
        _policy({**invoke, "Principal": "*"}, {**invoke, "Effect": "Deny", "NotPrincipal": {"AWS": OTHER}}),
        _policy({"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "*"}}),
    ]
    conditions: dict[str, dict[str, object]] = {
        "StringLike": {"aws:username": ["a*", "${aws:userid}?"]},
        "ForAnyValue:StringEqualsIgnoreCase": {"aws:TagKeys": ["A"]},
        "ForAllValues:StringNotEquals": {"aws:TagKeys": "c"},
        "NumericLessThanEqualsIfExists": {"aws:RequestTag/Size": 2.5},
        "DateGreaterThan": {"aws:CurrentTime": "2026-01-01T00:00:00Z"},
        "DateLessThan": {"aws:EpochTime": 1767356101},
        "IpAddress": {"aws:SourceIp": ["10.0.0.0/8", "::1/128"]},
        "NotIpAddress": {"aws:SourceIp": "10.0.0.1"},
        "Bool": {"aws:SecureTransport": True},
        "Null": {"aws:username": "false"},
        "ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/*"},
        "BinaryEquals": {"aws:RequestTag/Size": "AAAA"},
    }
    texts += [_policy({**invoke, "Condition": {name: keys}}) for name, keys in conditions.items()]
    return [pack(text, escapes) for text in texts for escapes in range(2)]


TOKENS = tuple(
    token.encode()
    for token in chain(
        (
            "{",
            "}",
            "[",
            "]",
            '"',
            ",",
            ":",
            "*",
            "?",
            "${",
            "}",
            "\\u0000",
            "\\ud800",
            "\n",
            " ",
            "null",
            "true",
            "1e999",
        ),
        ('"Version"', '"2012-10-17"', '"2008-10-17"', '"Statement"', '"Effect"', '"Allow"', '"Deny"', '"Id"', '"Sid"'),
        ('"Action"', '"NotAction"', '"Resource"', '"NotResource"', '"Principal"', '"NotPrincipal"', '"Condition"'),
        (
            '"AWS"',
            '"Service"',
            "ForAnyValue:",
            "ForAllValues:",
            "IfExists",
            "StringLike",
            "StringEquals",
            "StringNotLike",
        ),
        ("NumericEquals", "DateLessThan", "IpAddress", "NotIpAddress", "Bool", "Null", "ArnLike", "BinaryEquals"),
        ("aws:username", "aws:SourceIp", "aws:CurrentTime", "aws:PrincipalArn", "aws:TagKeys", "aws:RequestTag/Size"),
        ("sagemaker:InvokeEndpoint", "sts:AssumeRole", ENDPOINT, OWN, "*a*a*a*a", "::ffff:10.0.0.1/96", "9" * 400),
    )
)
TARGET = Target("policy", check, _seeds, TOKENS, longest=8192)
