"""Condition values that are no texts: numbers, dates, addresses, booleans, bytes. None is what cannot be read."""

import base64
import binascii
import datetime
import functools
import ipaddress
import re
from decimal import Decimal

_NUMBER = re.compile(r"[+-]?[0-9]{1,30}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,2})?", re.ASCII)
_DATE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)
_NETWORK = re.compile(r"([0-9a-fA-F.:]{2,45})(/[0-9]{1,3})?")
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)

#: Version, bits of the network, mask.
Network = tuple[int, int, int]


def number(text: str) -> Decimal | None:
    """A decimal number, exactly as written."""
    return Decimal(text) if _NUMBER.fullmatch(text) else None


@functools.lru_cache(maxsize=256)
def date(text: str) -> Decimal | None:
    """Microseconds since 1970 of an ISO 8601 date, time (without a zone it is UTC) or a number of seconds."""
    if _NUMBER.fullmatch(text):
        return Decimal(text) * 1_000_000
    if not _DATE.fullmatch(text):
        return None
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return Decimal((moment - _EPOCH) // _MICROSECOND)


def boolean(text: str) -> bool | None:
    """``true`` or ``false``, in any case."""
    return {"true": True, "false": False}.get(text.lower())


def binary(text: str) -> bytes | None:
    """Bytes from base64."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def network(text: str) -> Network | None:
    """An IPv4 or IPv6 address or range (CIDR). Bits behind the prefix are ignored.

    An IPv4 address in IPv6's clothes (``::ffff:203.0.113.9``) is the IPv4 address: sockets for both show it so.
    """
    if not _NETWORK.fullmatch(text):
        return None
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    bits, mask = int(found.network_address), int(found.netmask)
    if found.version == 6 and bits >> 32 == 0xFFFF and found.prefixlen >= 96:
        return 4, bits & 0xFFFFFFFF, mask & 0xFFFFFFFF
    return found.version, bits, mask


@functools.lru_cache(maxsize=1024)
def address(text: str) -> tuple[int, int] | None:
    """Version and bits of a single address."""
    found = None if "/" in text else network(text)
    return found[:2] if found else None


def contains(within: Network, found: tuple[int, int]) -> bool:
    """Whether an address is in a range."""
    return within[0] == found[0] and found[1] & within[2] == within[1]
