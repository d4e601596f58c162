"""What a model data URL points at."""

import re
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit

import msgspec

from polyport.errors import ArtifactError

#: Wider than S3's present rule, as old buckets may have capitals and underscores; never a path, never ``..``.
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")


class Bucket(msgspec.Struct, frozen=True):
    """``s3://bucket/key``. A key is taken as it is written: S3 URIs know no escapes."""

    bucket: str
    key: str


class Web(msgspec.Struct, frozen=True):
    """``https://...``; ``http://`` too, but only to this machine."""

    url: str


class File(msgspec.Struct, frozen=True):
    """``file:///absolute/path``; ends in ``/`` for a folder."""

    path: str


Location = Bucket | Web | File


def parse(url: str) -> Location:
    """Raises `ArtifactError` for a URL of another kind, or a malformed one."""
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "s3":
        return _bucket(rest)
    if separator and scheme in {"https", "http"}:
        check_web(url)
        return Web(url)
    if separator and scheme == "file":
        return _file(rest)
    raise ArtifactError("expected s3://BUCKET/KEY, https://... or file:///ABSOLUTE/PATH")


def check_web(url: str) -> None:
    """Plain http would let anyone on the way replace a model: it is for this machine alone."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ArtifactError(f"not a valid URL: {error}") from error
    if not host:
        raise ArtifactError("the URL names no host")
    if parts.scheme not in {"https", "http"}:
        raise ArtifactError(f"expected https://, got {parts.scheme}://")
    if parts.scheme == "http" and not _is_loopback(host):
        raise ArtifactError(f"http:// is accepted for this machine's own addresses only; use https:// for {host}")


def shown(url: str) -> str:
    """The URL for messages and logs: without user, password and query, where pre-signed URLs carry their signature."""
    if not url.startswith(("https://", "http://")):
        return url
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{re.split(r'[?#]', rest, maxsplit=1)[0].rpartition('@')[2]}"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bucket(rest: str) -> Bucket:
    bucket, _, key = rest.partition("/")
    if not BUCKET.fullmatch(bucket):
        raise ArtifactError(f"{bucket!r} is not a bucket name")
    return Bucket(bucket, key)


def _file(rest: str) -> File:
    path = unquote(rest.removeprefix("localhost"), errors="surrogateescape")
    if not path.startswith("/") or "\0" in path:
        raise ArtifactError("expected file:///ABSOLUTE/PATH")
    return File(path)
