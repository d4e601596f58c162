"""Opaque page tokens. They hold the whole position, so they need no memory here and survive a restart."""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from polyport.errors import ApiError

_VERSION = 1
_CHECKSUM_BYTES = 12
#: Members that may differ between two pages of one listing.
_OF_A_PAGE = frozenset({"NextToken", "MaxResults", "MaxRecords"})

Scope = str
"""What a listing is of, so that a token of another one is refused: operation, account, region."""


def encode(scope: Scope, request: Mapping[str, Any], position: Any) -> str:
    """A token that continues the listing ``request`` after ``position`` (whatever JSON can hold)."""
    body = msgspec.json.encode([_VERSION, position])
    return base64.urlsafe_b64encode(_checksum(scope, request, body) + body).decode("ascii").rstrip("=")


def decode(scope: Scope, request: Mapping[str, Any], token: str) -> Any:
    """The position in a token. Raises `ApiError` ``ValidationException`` for a token that is damaged, of another
    version, or of a listing with other filters, another sort order or another owner."""
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise _refused() from error
    checksum, body = raw[:_CHECKSUM_BYTES], raw[_CHECKSUM_BYTES:]
    if checksum != _checksum(scope, request, body):
        raise _refused()
    version, position = msgspec.json.decode(body, type=tuple[int, Any])
    if version != _VERSION:
        raise _refused()
    return position


def _checksum(scope: Scope, request: Mapping[str, Any], body: bytes) -> bytes:
    """Against mistakes, not against forgery: a forged token gets its maker nothing that a filter would not."""
    filters = {name: value for name, value in request.items() if name not in _OF_A_PAGE}
    text = msgspec.json.encode([scope, filters], order="sorted")
    return hashlib.blake2b(text + body, digest_size=_CHECKSUM_BYTES).digest()


def _refused() -> ApiError:
    return ApiError("ValidationException", "NextToken is not a token of this listing with these filters.")
