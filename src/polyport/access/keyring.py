"""Whose a request is: its signature is verified with the key that it names."""

from collections.abc import Callable

import msgspec

from polyport.access.callers import Caller
from polyport.access.tokens import Sealer, Session
from polyport.aws import claims, denials, sigv4
from polyport.aws.claims import Claim, Credential, Headers
from polyport.domain.access import AccessTable, Grantee, Key, PrincipalKind
from polyport.domain.names import Owner

#: Sessions, and scopes of each key, that are remembered: whoever knows a key's id can name any day and region.
_MOST_SESSIONS = 4096
_MOST_SCOPES = 64


class Signed(msgspec.Struct, frozen=True):
    """A request as far as its signature is concerned. ``target`` is path and query as on the wire."""

    method: bytes
    target: bytes
    headers: Headers
    is_secure: bool


class Known:
    """A caller, and what was found out about it: that goes when the access table does.

    ``grants``: for whoever decides on its calls, to remember by what it likes.
    """

    __slots__ = ("caller", "grants")

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.grants: dict[object, tuple[tuple[str, str], denials.Denial | None]] = {}


class _Entry:
    """A key or a session, with what is made of it again and again: by scope (day, region, service), the signing key and
    the caller."""

    __slots__ = ("_make", "_scopes", "_secret", "expires_at", "is_session")

    def __init__(
        self, secret: str, expires_at: float | None, make: Callable[[str], Caller], *, is_session: bool
    ) -> None:
        self.expires_at = expires_at
        self.is_session = is_session
        self._secret = secret
        self._make = make
        self._scopes: dict[bytes, tuple[sigv4.Key, Known]] = {}

    def scoped(self, scope: bytes, credential: Credential) -> tuple[sigv4.Key, Known]:
        """What the credential's scope makes of it."""
        found = self._scopes.get(scope)
        if found is None:
            if len(self._scopes) >= _MOST_SCOPES:
                self._scopes.clear()
            found = sigv4.signing_key(self._secret, credential), Known(self._make(credential.region))
            self._scopes[scope] = found
        return found


class Keyring:
    """All keys of one access table, and the sessions that come from them. Raises `Denial` for whatever is wrong."""

    def __init__(self, table: AccessTable) -> None:
        self._grantees = {(one.account, one.kind, one.name): one for one in table.grantees}
        self._keys = {key.id: entry for key in table.keys if (entry := self._of_key(key))}
        self._sealer = Sealer(table.token_key) if table.token_key else None
        self._sessions: dict[tuple[str, bytes], _Entry] = {}

    def grantee(self, account: str, kind: PrincipalKind, name: str) -> Grantee | None:
        """The user or role of that name."""
        return self._grantees.get((account, kind, name))

    def claim(self, signed: Signed, service: str, now: float) -> tuple[Claim, _Entry]:
        """What can be said before the body is there: that the request is signed for this service, at this time
        (``now``: epoch seconds), with a key that there is."""
        claim = claims.parse(signed.target, signed.headers)
        if claim is None:
            raise denials.missing()
        sigv4.check(claim, now, service)
        return claim, self._entry(claim.credential.access_key, claim.token, now)

    def recognise(
        self, mould: sigv4.Mould, timestamp: bytes, signature: bytes, now: float, body_hash: Callable[[], bytes]
    ) -> Known:
        """Who calls, when but for time, body and signature the request is one that was found right before."""
        sigv4.check_time(timestamp, claims.epoch(timestamp), None, mould.scope, now)
        entry = self._entry(mould.credential.access_key, mould.token, now)
        key, known = entry.scoped(mould.scope, mould.credential)
        if not mould.matches(timestamp, body_hash(), signature, key):
            raise denials.mismatch()
        return known

    def authenticate(
        self, signed: Signed, service: str, now: float, body_hash: Callable[[], bytes]
    ) -> tuple[Known, Claim]:
        """Who calls, and by which claim. ``body_hash`` gives the SHA-256 of the whole body in hexadecimal digits; it is
        not asked when the signature is not one of the body."""
        claim, entry = self.claim(signed, service, now)
        payload = sigv4.payload_hash(claim, body_hash() if claim.covers_body else b"", secure=signed.is_secure)
        canonical = sigv4.canonical_request(claim, signed.method, signed.target, payload)
        key, known = entry.scoped(claim.terms.scope, claim.credential)
        if not sigv4.matches(claim, canonical, key):
            raise denials.mismatch()
        return known, claim

    def _entry(self, key_id: str, token: bytes | None, now: float) -> _Entry:
        entry = self._keys.get(key_id) if token is None else self._session(key_id, token)
        if entry is None:
            raise denials.unknown()
        if entry.expires_at is not None and entry.expires_at <= now:
            # Whether a long-lived key was once there is nobody's business.
            raise denials.expired() if entry.is_session else denials.unknown()
        return entry

    def _session(self, key_id: str, token: bytes) -> _Entry | None:
        known = self._sessions.get((key_id, token))
        if known is not None or self._sealer is None:
            return known
        session = self._sealer.open(token)
        entry = self._of_session(session) if session is not None and session.key_id == key_id else None
        if entry is not None:
            # Only what was found to be ours is kept.
            if len(self._sessions) >= _MOST_SESSIONS:
                self._sessions.clear()
            self._sessions[key_id, token] = entry
        return entry

    def _of_key(self, key: Key) -> _Entry | None:
        user = self._grantees.get((key.account, PrincipalKind.USER, key.user))
        if user is None:
            return None

        def make(region: str) -> Caller:
            return Caller(Owner(key.account, region), PrincipalKind.USER, key.user, user.id, key.id)

        return _Entry(key.secret, key.expires_at, make, is_session=False)

    def _of_session(self, session: Session) -> _Entry | None:
        grantee = self._grantees.get((session.account, session.kind, session.name))
        if grantee is None or grantee.id != session.principal_id:
            return None

        def make(region: str) -> Caller:
            return Caller(
                owner=Owner(session.account, region),
                kind=session.kind,
                name=session.name,
                principal_id=session.principal_id,
                key_id=session.key_id,
                session_name=session.session_name,
                issued_at=session.issued_at,
                policies=session.policies,
            )

        return _Entry(session.secret, session.expires_at, make, is_session=True)
