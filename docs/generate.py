"""Writes the reference pages that come from the code: ``python docs/generate.py``. A test fails when one is stale."""

import inspect
import json
import re
from pathlib import Path
from typing import Any

import typer.main
from msgspec.structs import replace

from polyport import settings
from polyport.access import authority, callers
from polyport.access.callers import Caller, Circumstances
from polyport.api import operations, permissions, sts
from polyport.aws import service
from polyport.aws.policy import document, keys, operators
from polyport.aws.policy.document import Kind
from polyport.aws.policy.keys import Type
from polyport.cli import app
from polyport.domain import alarms, diagnosis, names
from polyport.domain.access import PrincipalKind
from polyport.domain.names import Owner
from polyport.errors import PolicyError
from polyport.gateway.callers import guard
from polyport.gateway.calls import members
from polyport.telemetry.metrics import families, table

DOCS = Path(__file__).parent
REFERENCE = DOCS / "reference"
INTRODUCTION = """\
Each setting can be given in `polyport.toml` in the home folder, as an environment variable, and some as a flag of
`polyport serve`. A flag goes before the environment, the environment before the file. In an environment variable, a
list is separated by commas.
"""
NOTE = "<!-- Made from the code by `make docs`; edit the code. -->\n\n"


def settings_page() -> str:
    """The table of settings."""
    lines = [
        "# Settings\n",
        NOTE.strip() + "\n",
        INTRODUCTION,
        "| `polyport.toml` | environment | default | meaning |",
        "|---|---|---|---|",
    ]
    for name in settings.Settings.__struct_fields__:
        default = settings.default(name)
        shown = f"`{default}`" if default else "(empty)"
        lines.append(f"| `{name}` | `{settings.environment_name(name)}` | {shown} | {settings.description(name)} |")
    return "\n".join(lines) + "\n"


def commands_page() -> str:
    """Every command with its arguments and options."""
    lines = ["# Commands\n", NOTE.strip() + "\n"]
    _describe(typer.main.get_command(app), "polyport", lines)
    return "\n".join(lines) + "\n"


def _describe(command: object, path: str, lines: list[str]) -> None:
    lines.append(f"## `{path}`\n")
    lines.append(inspect.cleandoc(getattr(command, "help", "") or "").replace("\b\n", "") + "\n")
    rows = [_parameter(parameter) for parameter in getattr(command, "params", ())]
    rows = [row for row in rows if row]
    if rows:
        lines += ["| argument | meaning |", "|---|---|", *rows, ""]
    for name, sub in sorted(getattr(command, "commands", {}).items()):
        _describe(sub, f"{path} {name}", lines)


def _parameter(parameter: object) -> str:
    names = [*getattr(parameter, "opts", ()), *getattr(parameter, "secondary_opts", ())]
    if getattr(parameter, "param_type_name", "") == "argument":
        # Typer's own arguments have no `human_readable_name`.
        names = [getattr(parameter, "metavar", None) or getattr(parameter, "name", "").upper()]
    if getattr(parameter, "hidden", False):
        return ""
    meaning = (getattr(parameter, "help", "") or "").replace("|", "\\|")
    default = getattr(parameter, "show_default", None)
    suffix = f" (default: `{default}`)" if isinstance(default, str) and default else ""
    return f"| {', '.join(f'`{name}`' for name in names)} | {meaning}{suffix} |"


POLICIES = """\
What IAM policies may hold here, which condition keys calls carry, and which permissions operations need. How to attach
policies: [Who may call](../how-to/access.md). What Polyport does where IAM's documentation is silent:
[choices](choices.md#policies).

A policy is JSON of at most {longest:,} characters (a session policy of AssumeRole: {session:,}), with `Version`
`2012-10-17` (variables are substituted) or `2008-10-17` (they are not; the default, as in IAM), an optional `Id`, and
one `Statement` or a list of them. Whatever IAM would refuse, and whatever could never match, is refused when the policy
is attached, with its path, line and column.
"""
_BASE = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*", "Principal": "*"}
_FOREIGN = {Kind.IDENTITY: "Principal", Kind.SESSION: "Principal", Kind.TRUST: "Resource"}
_ELEMENTS = {
    "Sid": "S",
    "Effect": "Deny",
    "Principal": "*",
    "NotPrincipal": {"AWS": "123456789012"},
    "Action": "sts:AssumeRole",
    "NotAction": "sts:AssumeRole",
    "Resource": "*",
    "NotResource": "arn:aws:s3:::x",
    "Condition": {"Bool": {"aws:SecureTransport": "true"}},
}
#: One of every member that permissions go by; an operation's example has those that its input has.
_EXAMPLE: dict[str, Any] = {
    "ModelName": "NAME",
    "EndpointName": "NAME",
    "EndpointConfigName": "NAME",
    "ResourceArn": "arn:aws:sagemaker:REGION:ACCOUNT:KIND/NAME",
    "Tags": [{"Key": "TAG", "Value": "x"}],
    "TagKeys": ["TAG"],
    "ExecutionRoleArn": "(the role's ARN)",
    "ProductionVariants": [{"InstanceType": "x", "ModelName": "x"}],
    "KmsKeyId": "x",
    "EnableNetworkIsolation": True,
    "VpcConfig": {"Subnets": ["x"], "SecurityGroupIds": ["x"]},
}
_OWNER = Owner("ACCOUNT", "REGION")
_MAY_TAG = {"PutMetricAlarm", "PutCompositeAlarm"}
_TAG_KEYS = ["aws:ResourceTag/", "sagemaker:ResourceTag/"]


def policies_page() -> str:
    """Elements, operators and condition keys of policies, and the permissions of operations."""
    return "\n".join(
        [
            "# Policies\n",
            NOTE.strip() + "\n",
            POLICIES.format(longest=document.LONGEST, session=sts.MAX_POLICY),
            *_elements(),
            *_operators(),
            *_condition_keys(),
            *_permissions(),
        ]
    )


def _elements() -> list[str]:
    """Found out by parsing a policy with each."""
    lines = ["## Elements of a statement\n", f"| element | {' | '.join(Kind)} |", "|---|" + "---|" * len(Kind)]
    for element, value in _ELEMENTS.items():
        cells = ("yes" if _is_taken(kind, element, value) else "-" for kind in Kind)
        lines.append(f"| `{element}` | {' | '.join(cells)} |")
    return [*lines, ""]


def _is_taken(kind: Kind, element: str, value: object) -> bool:
    statement = {name: _BASE[name] for name in _BASE if name != _FOREIGN.get(kind)}
    statement.pop(element.removeprefix("Not"), None)
    if element == "NotPrincipal":
        statement["Effect"] = "Deny"
    try:
        document.parse(json.dumps({"Version": "2012-10-17", "Statement": statement | {element: value}}), kind)
    except PolicyError:
        return False
    return True


def _operators() -> list[str]:
    lines = [
        "## Condition operators\n",
        "Each but `Null` may be written with `IfExists` behind it, and with `ForAllValues:` or `ForAnyValue:` before",
        "it. The negated ones hold, too, when the request has no value for the key.\n",
        "| compares with | operators | negated operators |",
        "|---|---|---|",
    ]
    for type_ in Type:
        found = [
            [f"`{one.name}`" for one in operators.known() if (one.type, one.is_negated) == (type_, negated)]
            for negated in (False, True)
        ]
        lines.append(f"| {type_.value} | {', '.join(found[0])} | {', '.join(found[1])} |")
    return [*lines, ""]


def _condition_keys() -> list[str]:
    """With the calls that have a value for each, found out by making such calls."""
    lines = [
        "## Condition keys\n",
        "Their case does not matter. A policy that names another one is refused. `/TAG` stands for a tag's key.\n",
        "| key | value | calls that have it |",
        "|---|---|---|",
    ]
    calls = _calls_by_key()
    for key in keys.known():
        name = f"{key.name}TAG" if key.name.endswith("/") else key.name
        several = ", several" if key.is_list else ""
        lines.append(f"| `{name}` | {key.type.value}{several} | {', '.join(calls.get(key.name, [])) or 'none here'} |")
    return [*lines, ""]


def _calls_by_key() -> dict[str, list[str]]:
    circumstances = Circumstances("192.0.2.1", True, "agent", 0.0)
    user = Caller(Owner("123456789012", "us-east-1"), PrincipalKind.USER, "name")
    role = replace(user, kind=PrincipalKind.ROLE, session_name="session", issued_at=0.0)
    of_users, of_roles = (set(callers.keys(caller, circumstances)) for caller in (user, role))
    found: dict[str, list[str]] = {}
    for name in sorted(of_users | of_roles):
        who = {(True, False): "all of users", (False, True): "all of sessions"}
        _note(found, name, who.get((name in of_users, name in of_roles), "all"))
    _note(found, "aws:resourceaccount", "all on one resource")
    for _, name in guard._CONDITIONS:
        _note(found, name, "invocations")
    for tagged in _TAG_KEYS:
        _note(found, tagged, "invocations")
    for operation in operations.OPERATIONS["sagemaker"]:
        for need in _needs(operation, _example(operation)):
            action = need.action.partition(":")[2]
            for name in (*need.keys, *(_TAG_KEYS if need.is_there and need.resource != permissions.ANY else ())):
                _note(found, name, f"`{action}`")
    for name in ("sts:rolesessionname", "sts:externalid"):
        _note(found, name, "`AssumeRole`")
    return found


def _note(found: dict[str, list[str]], name: str, call: str) -> None:
    known = keys.find(name + "x" if name.endswith("/") else name)
    assert known is not None, name
    calls = found.setdefault(known.name, [])
    if call not in calls:
        calls.append(call)


def _permissions() -> list[str]:
    """What `permissions.needed` says of an example request of each operation."""
    lines = [
        "## Permissions of operations\n",
        "All that are listed are needed. Names inside ARNs are in lower case, as SageMaker has them.\n",
        "| operation | permission | on | when |",
        "|---|---|---|---|",
    ]
    invoked = names.arn(_OWNER, "endpoint", "x").replace("endpoint/x", "endpoint/NAME")
    lines += [f"| `{operation}` | `{guard.ACTION}` | `{invoked}` | |" for operation in members.OPERATIONS.values()]
    for operation in operations.OPERATIONS["sagemaker"]:
        example = _example(operation)
        for need in _needs(operation, example):
            resource = need.resource.replace("/name", "/NAME").replace(":kind/", ":KIND/")
            reasons = [name for name in example if _is_reason(operation, example, name, need)]
            when = f"`{reasons[0]}` is given" if reasons else ""
            lines.append(f"| `{operation}` | `{need.action}` | `{resource}` | {when} |")
    for operation in operations.OPERATIONS["cloudwatch"]:
        tagged = {"Tags": [{"Key": "TAG"}]} if operation in _MAY_TAG else {}
        example = {"AlarmName": "NAME", "ResourceARN": alarms.arn(_OWNER, "NAME"), **tagged}
        for need in permissions.needed(permissions.MONITORING, operation, _OWNER, example):
            when = " `Tags` is given " if tagged and need.keys else " "
            lines.append(f"| `{operation}` | `{need.action}` | `{need.resource}` |{when}|")
    for operation in operations.OPERATIONS["logs"]:
        stream = {"logStreamName": "STREAM"} if operation == "GetLogEvents" else {}
        for need in permissions.needed(permissions.LOGS, operation, _OWNER, {"logGroupName": "GROUP", **stream}):
            lines.append(f"| `{operation}` | `{need.action}` | `{need.resource}` | |")
    for operation in operations.OPERATIONS["sts"]:
        if operation == "AssumeRole":
            lines.append(f"| `{operation}` | `{authority.ASSUME_ROLE}` | the role's ARN | by the role's trust policy |")
        else:
            lines.append(f"| `{operation}` | none | | the signature is right |")
    return [*lines, ""]


def _example(operation: str) -> dict[str, Any]:
    model = service.load("sagemaker").operation(operation)
    return {name: value for name, value in _EXAMPLE.items() if name in model.input_shape.members}


def _needs(operation: str, request: dict[str, Any]) -> tuple[permissions.Need, ...]:
    return permissions.needed("sagemaker", operation, _OWNER, request)


def _is_reason(operation: str, example: dict[str, Any], name: str, need: permissions.Need) -> bool:
    """Whether the permission is needed for that optional member alone."""
    if name in service.load("sagemaker").operation(operation).input_shape.required_members:
        return False
    without = {key: value for key, value in example.items() if key != name}
    return (need.action, need.resource) not in {(one.action, one.resource) for one in _needs(operation, without)}


def metrics_part(text: str) -> str:
    """docs/observability.md with its tables of metrics as the code has them."""
    lines = ["| namespace | metric | unit | dimensions | measured by | what |", "|---|---|---|---|---|---|"]
    for one in table.METRICS:
        sets = "; ".join(one.by)
        lines.append(f"| `{one.namespace}` | `{one.name}` | {one.unit} | {sets} | {one.source} | {one.meaning} |")
    text = _with_part(text, "metrics", lines)
    lines = ["| metric | type | labels | what |", "|---|---|---|---|"]
    for family in families.FAMILIES:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        lines.append(f"| `{family.name}` | {family.kind} | {labels} | {family.text} |")
    return _with_part(text, "families", lines)


def _with_part(text: str, name: str, lines: list[str]) -> str:
    """The page with these lines between the marks of that name."""
    begin, end = f"<!-- {name}: made from the code by `make docs` -->", f"<!-- {name}: end -->"
    before, _, rest = text.partition(begin)
    return f"{before}{begin}\n\n" + "\n".join(lines) + f"\n\n{end}{rest.partition(end)[2]}"


#: Pages of which a part is made, by their path below docs.
PARTS = {"observability.md": metrics_part}


TROUBLE = """\
What may be wrong with a container that does not get healthy, or does not stay so. `polyport doctor ENDPOINT` tells
which of it is, with what happened before and the container's last output. `FailureReason` of DescribeEndpoint has the
same, and while an endpoint is created or updated, so does `VariantStatus`. Causes are looked for in this order, and
the first that matches is told. What a container printed counts only once it has ended.
"""


def troubleshooting_page() -> str:
    """The table of `diagnosis.CAUSES`."""
    lines = [
        "# Troubleshooting\n",
        NOTE.strip() + "\n",
        TROUBLE,
        "| cause | told by | what to do | name |",
        "|---|---|---|---|",
    ]
    for cause in diagnosis.CAUSES:
        fix = re.sub(r" \(\{\w+\}\)", "", cause.fix).replace("{port}", "SAGEMAKER_BIND_TO_PORT")
        lines.append(f"| {cause.title} | {cause.sign} | {fix} | `{cause.name}` |")
    return "\n".join(lines) + "\n"


PAGES = {
    "troubleshooting.md": troubleshooting_page,
    "settings.md": settings_page,
    "commands.md": commands_page,
    "policies.md": policies_page,
}


def main() -> None:
    """Write all pages."""
    REFERENCE.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page(), encoding="utf-8")
    for name, part in PARTS.items():
        text = (DOCS / name).read_text(encoding="utf-8")
        (DOCS / name).write_text(part(text), encoding="utf-8")


if __name__ == "__main__":
    main()
