"""Who calls the API, and whether they may: asked before anything else of a request is judged."""

import hashlib
from collections.abc import Sequence

import msgspec

from polyport.access import callers
from polyport.access.callers import Caller, Circumstances
from polyport.access.gate import Gate
from polyport.access.keyring import Signed
from polyport.api.permissions import Need
from polyport.aws import denials, dispatch
from polyport.aws.denials import Denial
from polyport.aws.dispatch import Call
from polyport.aws.wire import Head
from polyport.store import Store

#: What the gateway tells of a request and its client.
REQUEST_ID = "x-polyport-request-id"
CLIENT = "x-polyport-client"
SECURE = "x-polyport-secure"


class Entry(msgspec.Struct, frozen=True):
    """One request at the door. ``target`` and ``headers`` are as on the wire."""

    head: Head
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    #: The body was longer than it may be, and was not read.
    is_too_long: bool = False

    @property
    def client(self) -> str:
        """The client's address, without its port."""
        return self.head.headers.get(CLIENT, "").rpartition(":")[0].strip("[]")

    @property
    def is_secure(self) -> bool:
        """Whether it came over TLS."""
        return self.head.headers.get(SECURE) == "1"

    @property
    def user_agent(self) -> str:
        """What the client calls itself."""
        return self.head.headers.get("user-agent", "")

    def circumstances(self, now: float) -> Circumstances:
        """For conditions."""
        return Circumstances(self.client, self.is_secure, self.user_agent, now)


class Denied(Exception):
    """Somebody known may not. ``denial`` is for the caller, ``explanation`` (which statement) for the audit log."""

    def __init__(self, denial: Denial, explanation: str) -> None:
        super().__init__(explanation)
        self.denial = denial
        self.explanation = explanation


def identify(gate: Gate, entry: Entry, call: Call, now: float, region: str) -> Caller:
    """Who calls. ``region`` is that of calls which name none, on a server without keys. Raises `ApiError`."""
    if gate.table.is_open:
        return _anybody(gate, entry, region)
    signed = Signed(entry.head.method.encode(), entry.target, entry.headers, entry.is_secure)

    def body_hash() -> bytes:
        return hashlib.sha256(entry.body).hexdigest().encode()

    known, _ = gate.keyring.authenticate(signed, call.service, now, body_hash)
    return known.caller


def _anybody(gate: Gate, entry: Entry, region: str) -> Caller:
    if "origin" in entry.head.headers:
        raise denials.cross_site()
    return callers.anybody(gate.table.account, dispatch.owner_of(entry.head, gate.table.account, region).region)


async def authorize(
    gate: Gate, store: Store, caller: Caller, needs: Sequence[Need], circumstances: Circumstances
) -> str:
    """All of what is needed must be granted; returns which statement granted the first. Raises `Denied`."""
    if gate.table.is_open:
        return "any credentials are accepted"
    said = ""
    for need in needs:
        keys = {**await _tags(gate, store, caller, need), **need.keys}
        decision = gate.authority.decide(caller, need.action, need.resource, keys, circumstances)
        if not decision.allowed:
            raise Denied(gate.authority.denied(caller, need.action, need.resource, decision), decision.explain())
        said = said or decision.explain()
    return said


async def _tags(gate: Gate, store: Store, caller: Caller, need: Need) -> callers.Keys:
    if not need.is_there or not gate.authority.asks_for_tags(caller, need.resource):
        return {}
    return callers.tag_keys(await store.get_tags(need.resource) or {})
