"""`polyport policy simulate`."""

import json
from typing import Annotated

import typer
from msgspec import structs
from rich.text import Text

from polyport.access import authority, table
from polyport.access.authority import Authority
from polyport.access.callers import Caller, Circumstances
from polyport.access.keyring import Keyring
from polyport.aws.policy import elements, keys, trace
from polyport.aws.policy.evaluate import Decision
from polyport.aws.policy.trace import Traced
from polyport.cli import console
from polyport.cli.access import desk
from polyport.cli.access.desk import Account, AsJson, Desk, Home, Role, User
from polyport.domain.access import PrincipalKind
from polyport.domain.names import Owner
from polyport.errors import UsageError

Context = dict[str, str | tuple[str, ...]]


def simulate(
    action: Annotated[str, typer.Option(help="What is to be done: sagemaker:InvokeEndpoint")],
    resource: Annotated[str, typer.Option(metavar="ARN", help="To what.")] = "*",
    user: User = None,
    role: Role = None,
    context: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A condition key, as often as needed; several values: with commas."),
    ] = None,
    region: Annotated[str, typer.Option(help="The region that the call is signed for.")] = "us-east-1",
    account: Account = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a user or a role may do something, and which statement of which policy decides.

    polyport policy simulate --user alice --action sagemaker:InvokeEndpoint
    --resource arn:aws:sagemaker:us-east-1:123456789012:endpoint/pair --context sagemaker:TargetContainerHostname=first

    Exit status 0: allowed, 1: not allowed.
    """
    given = read_context(context or [])
    if "*" in action or elements.action_problem(action):
        raise UsageError(f"--action {action}: one action is expected, as in sagemaker:InvokeEndpoint.")

    async def work(at: Desk) -> tuple[Decision, tuple[Traced, ...]]:
        whose, kind, name = desk.holder(at.account(account), user, role)
        built = table.build(await at.rows.read(), at.vault, whose, may_be_open=False)
        grantee = Keyring(built).grantee(whose, kind, name)
        if grantee is None:
            raise UsageError(f"There is no {kind.value} {name}. See polyport {kind.value} list.")
        session = "simulated" if kind is PrincipalKind.ROLE else ""
        caller = Caller(Owner(whose, region), kind, name, grantee.id, session_name=session)
        return judge(Authority(built), caller, action, resource, given)

    decision, traced = desk.at_desk(home, work)
    if as_json:
        typer.echo(json.dumps(describe(decision, traced), indent=2))
    else:
        said = decision.explain() if decision.allowed else f"not allowed: {decision.explain()}"
        console.out.print(Text(said, style="green" if decision.allowed else "red"), soft_wrap=True)
        for one in traced:
            console.out.print(f"  {one.explain()}", highlight=False, markup=False, soft_wrap=True)
    if not decision.allowed:
        raise typer.Exit(1)


def read_context(pairs: list[str]) -> Context:
    """Condition keys as they were given. Raises `UsageError` for those that are not known."""
    found: Context = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        known = keys.find(name)
        if not equals or known is None:
            near = keys.suggestion(name) if known is None else ""
            raise UsageError(
                f"--context {pair}: KEY=VALUE is expected, with a condition key that is known{near or '.'}"
            )
        found[name.lower()] = tuple(value.split(",")) if known.is_list else value
    return found


def judge(
    by: Authority, caller: Caller, action: str, resource: str, given: Context
) -> tuple[Decision, tuple[Traced, ...]]:
    """The decision, and what became of each statement."""
    circumstances = Circumstances(now=desk.now())
    request = by.request(caller, action, resource, given, circumstances)
    places = by.identity(caller), by.session(caller), by.of_resource(resource)
    decision = by.decide(caller, action, resource, given, circumstances)
    return decision, trace.trace(request, authority.principal(caller), *places)


def describe(decision: Decision, traced: tuple[Traced, ...]) -> dict[str, object]:
    """For programs."""
    return {
        "allowed": decision.allowed,
        "reason": decision.explain(),
        "policy": decision.policy,
        "statement": decision.statement,
        "sid": decision.sid,
        "statements": [{**structs.asdict(one), "matched": one.matched, "grant": one.grant.name} for one in traced],
    }
