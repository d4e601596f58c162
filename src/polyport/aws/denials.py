"""Whom Polyport does not know, or does not let: one situation, said in the words of each AWS protocol.

What verifies a request does not know which protocol its answer is written in; so a `Denial` says what is the matter,
and whoever answers asks for it in a protocol (`told`). Where AWS's own status is not documented the choice is:

================  =======================================  ====  =========  ==============================  =====
situation         json, CBOR; rest-json                    json  rest-json  query, ec2, rest-xml
================  =======================================  ====  =========  ==============================  =====
not signed        ``MissingAuthenticationTokenException``  400   403        ``MissingAuthenticationToken``  403
malformed         ``IncompleteSignatureException``         400   400        ``IncompleteSignature``         400
wrong, too late   ``InvalidSignatureException``            400   403        ``SignatureDoesNotMatch``       403
unknown key       ``UnrecognizedClientException``          400   403        ``InvalidClientTokenId``        403
token expired     ``ExpiredTokenException``                400   403        ``ExpiredToken``                403
not allowed       ``AccessDeniedException``                400   403        ``AccessDenied``                403
================  =======================================  ====  =========  ==============================  =====

SDKs that correct their clock look for the third line's codes and then read the answer's ``Date``.
"""

from enum import Enum

from polyport.errors import ApiError


class Situation(Enum):
    """What is the matter: the code in json and rest-json, and the code in query."""

    MISSING = ("MissingAuthenticationTokenException", "MissingAuthenticationToken")
    INCOMPLETE = ("IncompleteSignatureException", "IncompleteSignature")
    MISMATCH = ("InvalidSignatureException", "SignatureDoesNotMatch")
    UNKNOWN = ("UnrecognizedClientException", "InvalidClientTokenId")
    EXPIRED = ("ExpiredTokenException", "ExpiredToken")
    FORBIDDEN = ("AccessDeniedException", "AccessDenied")


#: Protocols (botocore's names) with codes of their own; all others have json's.
_SHORT = frozenset({"query", "ec2", "rest-xml"})
#: Protocols in which a client's fault is a 400, whatever it is.
_FLAT = frozenset({"json", "smithy-rpc-v2-cbor"})


class Denial(ApiError):
    """An `ApiError` that can be told in every protocol; as it is, it is told in ``protocol``."""

    def __init__(self, situation: Situation, message: str, protocol: str = "json") -> None:
        code = situation.value[protocol in _SHORT]
        is_400 = protocol in _FLAT or situation is Situation.INCOMPLETE
        super().__init__(code, message, 400 if is_400 else 403)
        self.situation = situation

    def told(self, protocol: str) -> "Denial":
        """The same in another protocol: code and status."""
        return Denial(self.situation, self.message, protocol)


def missing(protocol: str = "json") -> Denial:
    """The request is not signed."""
    return Denial(Situation.MISSING, "Request is missing Authentication Token", protocol)


def incomplete(message: str, protocol: str = "json") -> Denial:
    """What a request says of its signature is malformed, or not all of it is there."""
    return Denial(Situation.INCOMPLETE, message, protocol)


def mismatch(message: str = "", protocol: str = "json") -> Denial:
    """The signature is not the request's, or not one for this time and service. Never say what it should be."""
    text = (
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access "
        "Key and signing method. Consult the service documentation for details."
    )
    return Denial(Situation.MISMATCH, message or text, protocol)


def unknown(protocol: str = "json") -> Denial:
    """No such access key, or it is not one of that session token."""
    return Denial(Situation.UNKNOWN, "The security token included in the request is invalid.", protocol)


def expired(protocol: str = "json") -> Denial:
    """The session's time is over."""
    return Denial(Situation.EXPIRED, "The security token included in the request is expired", protocol)


def forbidden(message: str, protocol: str = "json") -> Denial:
    """It is known who it is, and they may not."""
    return Denial(Situation.FORBIDDEN, message, protocol)


def cross_site(protocol: str = "json") -> Denial:
    """A page in somebody's browser calls a server that asks for no keys."""
    text = (
        "Requests from web pages (with an Origin header) are refused while any credentials are accepted: any page "
        "could use this server through the browser. Make a key (polyport key create), and sign them."
    )
    return Denial(Situation.FORBIDDEN, text, protocol)
