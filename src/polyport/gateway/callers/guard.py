"""Stands at the door of a server that has keys. Everything it decides comes from one access table."""

import time
from collections.abc import Callable

from polyport.access.authority import VARYING, Authority
from polyport.access.callers import Caller, Circumstances
from polyport.access.keyring import Keyring, Known, Signed
from polyport.aws.denials import Denial
from polyport.domain import names
from polyport.domain.access import AccessTable
from polyport.domain.names import Owner
from polyport.errors import ApiError
from polyport.gateway.clients import heads
from polyport.gateway.clients.exchange import Client
from polyport.gateway.clients.request import Request
from polyport.gateway.containers import routes

SERVICE = "sagemaker"
#: Both operations are this one to IAM.
ACTION = "sagemaker:InvokeEndpoint"
_CONTAINER = b"x-amzn-sagemaker-target-container-hostname"
_MODEL = b"x-amzn-sagemaker-target-model"
_CONDITIONS = ((_CONTAINER, "sagemaker:targetcontainerhostname"), (_MODEL, "sagemaker:targetmodel"))
#: Decisions on one caller that are remembered.
_MOST_GRANTS = 4096

Place = tuple[tuple[str, str], str]
"""Account and region that an endpoint is looked for in, and its ARN."""


class Guard:
    """``is_secure``: clients come over TLS. ``before``: the guard that this one relieves."""

    def __init__(
        self,
        table: AccessTable,
        *,
        is_secure: bool,
        before: "Guard | None" = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keyring = Keyring(table)
        self._authority: Authority = Authority(table, before._authority if before else None)
        self._is_secure = is_secure
        self._clock = clock

    def expect(self, request: Request) -> bool:
        """Before its body is there: can this be a call of somebody whom we know? Raises `Denial`. Returns whether the
        body has to be hashed; if not, the signature is judged already."""
        claim, _ = self._keyring.claim(self._signed(request), SERVICE, self._clock())
        if not claim.covers_body:
            self.identify(request)
        return claim.covers_body

    def identify(self, request: Request) -> Known:
        """Who calls. Raises `Denial`."""
        seal = request.seal
        if seal is not None:
            return self._keyring.recognise(*seal, self._clock(), request.body_hash)
        signed = self._signed(request)
        known, claim = self._keyring.authenticate(signed, SERVICE, self._clock(), request.body_hash)
        if request.wire:
            heads.keep_signed(request, claim)
        return known

    def authorize(self, known: Known, request: Request, client: Client) -> tuple[str, str]:
        """Where the endpoint is looked for: account and region. Raises `Denial` when the caller may not invoke it."""
        target, members = request.target, request.members
        key = (target, members.get(_CONTAINER), members.get(_MODEL)) if members else target
        found = known.grants.get(key)
        if found is None:
            found = self._grant(known.caller, request, client)
            place = find_place(known.caller.owner, target)
            # What depends on more than the key, or is not likely to come again, is not remembered.
            if b"?" not in target and not (place and self._authority.dependencies(known.caller, place[1]) & VARYING):
                if len(known.grants) >= _MOST_GRANTS:
                    known.grants.clear()
                known.grants[key] = found
        owner, refusal = found
        if refusal is not None:
            # A new one: a traceback would grow with each raise.
            raise refusal.told("rest-json")
        return owner

    def explain(self, known: Known, request: Request, client: Client) -> str:
        """Which statement decided, for the audit log."""
        place = find_place(known.caller.owner, request.target)
        if place is None:
            return ""
        circumstances, keys = self._circumstances(request, client), _keys(request)
        return self._authority.decide(known.caller, ACTION, place[1], keys, circumstances).explain()

    def _grant(self, caller: Caller, request: Request, client: Client) -> tuple[tuple[str, str], Denial | None]:
        place = find_place(caller.owner, request.target)
        if place is None:
            # No endpoint is named; what is said of that reveals none.
            return (caller.owner.account, caller.owner.region), None
        owner, arn = place
        circumstances = self._circumstances(request, client)
        return owner, self._authority.refusal(caller, ACTION, arn, _keys(request), circumstances)

    def _circumstances(self, request: Request, client: Client) -> Circumstances:
        agent = next((value for name, value in request.headers if name.lower() == b"user-agent"), b"")
        return Circumstances(address_of(client.peer()), self._is_secure, agent.decode("latin-1"), self._clock())

    def _signed(self, request: Request) -> Signed:
        return Signed(request.method, request.target, request.headers, self._is_secure)


def find_place(owner: Owner, target: bytes) -> Place | None:
    """Which endpoint a target names: one of the caller's own, or, by its ARN, one of anybody's. ``None``: none."""
    parsed = routes.parse_target(target)
    if parsed is None:
        return None
    name = parsed[0]
    named = routes.parse_arn(name)
    if named is not None:
        return (named.account, named.region), name
    return (owner.account, owner.region), names.arn(owner, "endpoint", name)


def address_of(peer: str) -> str:
    """``host:port`` or ``[host]:port`` without the port."""
    return peer.rpartition(":")[0].strip("[]")


def told(error: ApiError) -> ApiError:
    """As the runtime's protocol tells it."""
    return error.told("rest-json") if isinstance(error, Denial) else error


def _keys(request: Request) -> dict[str, str | tuple[str, ...]]:
    members = request.members
    return {key: members[header].decode("latin-1") for header, key in _CONDITIONS if header in members}
