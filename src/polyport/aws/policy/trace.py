"""Why each statement did or did not match a call: for ``polyport policy simulate``."""

import msgspec

from polyport.aws.policy.compiled import Policies
from polyport.aws.policy.document import Effect, Kind
from polyport.aws.policy.evaluate import Request
from polyport.aws.policy.principals import Grant, Principal


class Traced(msgspec.Struct, frozen=True):
    """One statement and one call.

    ``element`` is the first that does not match (``Action``, ``Condition.StringLike.aws:username``), None where all do;
    ``found`` is what the request has there, None where it has nothing. ``grant`` says how closely a matching statement
    names the caller: one that names only the account leaves it to the account's identity policies.
    """

    kind: Kind
    policy: str
    statement: int
    sid: str
    effect: Effect
    grant: Grant
    element: str | None = None
    found: tuple[str, ...] | None = None

    @property
    def matched(self) -> bool:
        """Whether the statement is about the call."""
        return self.element is None

    def explain(self) -> str:
        """One line for people; statements count from 1."""
        sid = f" ({self.sid})" if self.sid else ""
        start = f"{self.kind} {self.policy}, statement {self.statement + 1}{sid}, {self.effect}"
        if self.element is None:
            return f"{start}: matches{', the account only' if self.grant is Grant.ACCOUNT else ''}"
        there = "is not in the request" if self.found is None else f"is {', '.join(map(repr, self.found))}"
        return f"{start}: {self.element} does not match: it {there}"


def trace(request: Request, principal: Principal, *places: Policies | None) -> tuple[Traced, ...]:
    """Every statement of every policy, in the order given; a place without policies is skipped."""
    call = (request.action.lower(), request.resource, request.context, principal)
    found: list[Traced] = []
    for policies in places:
        if policies is None or policies.kind is None:
            continue
        for statement in policies.statements:
            mismatch = statement.mismatch(*call)
            found.append(
                Traced(
                    kind=policies.kind,
                    policy=statement.policy,
                    statement=statement.index,
                    sid=statement.sid,
                    effect=statement.effect,
                    grant=statement.grant(*call),
                    element=mismatch.element if mismatch else None,
                    found=mismatch.found if mismatch else None,
                )
            )
    return tuple(found)
