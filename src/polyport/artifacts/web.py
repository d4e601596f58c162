"""One object behind an ``https://`` URL."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

import urllib3

from polyport.artifacts import backend, locations
from polyport.artifacts.backend import Item, Reader
from polyport.errors import ArtifactError

#: Seconds; reading: between two chunks, not for the whole object.
TIMEOUT = urllib3.Timeout(connect=10.0, read=30.0)
MAX_REDIRECTS = 5
REDIRECTS = {301, 302, 303, 307, 308}


class Page:
    """The object that ``url`` answers with. Looking is a ``GET`` too: pre-signed URLs are signed for one method."""

    def __init__(self, url: str, *, prefix: bool) -> None:
        self.url = url
        self.prefix = prefix

    def find(self) -> tuple[Item, ...]:
        """See `Backend.find`."""
        if self.prefix:
            raise ArtifactError("S3DataType S3Prefix needs an s3:// (or file://) URL: over https nothing can be listed")
        with self._answer() as answer:
            size = answer.headers.get("Content-Length", "")
            name = unquote(backend.last_segment(urlsplit(self.url).path))
            return (Item(name, self.url, int(size) if size.isdecimal() else None, _version(answer)),)

    @contextmanager
    def open(self, item: Item) -> Iterator[Reader]:
        """See `Backend.open`."""
        with self._answer() as answer:
            if _version(answer) != item.version:
                raise ArtifactError("the object changed while it was read")
            yield answer

    @contextmanager
    def _answer(self) -> Iterator[urllib3.BaseHTTPResponse]:
        try:
            with _manager(self.url) as manager:
                answer = self._follow(manager)
                try:
                    yield answer
                finally:
                    # Not `release_conn`: what was not read must not be read to the end for the sake of the connection.
                    answer.close()
        except urllib3.exceptions.HTTPError as error:
            raise ArtifactError(f"the server did not deliver: {_cause(error)}") from error

    def _follow(self, manager: urllib3.PoolManager) -> urllib3.BaseHTTPResponse:
        """Redirects one by one, as each must be to an address that is allowed."""
        url = self.url
        for _ in range(MAX_REDIRECTS + 1):
            answer = manager.request(
                "GET", _without_user(url), headers=_headers(url), preload_content=False, redirect=False, timeout=TIMEOUT
            )
            target = answer.headers.get("Location")
            if answer.status not in REDIRECTS or target is None:
                break
            answer.close()
            url = urljoin(url, target)
            locations.check_web(url)
        else:
            raise ArtifactError(f"the server redirected more than {MAX_REDIRECTS} times")
        if answer.status != 200:
            answer.close()
            raise ArtifactError(f"the server answered {answer.status} {answer.reason or ''}".rstrip())
        return answer


def _manager(url: str) -> urllib3.PoolManager:
    """With the proxy that the environment names, as other clients do; certificates are always verified."""
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(parts.hostname or ""):
        return urllib3.ProxyManager(proxy, retries=False)
    return urllib3.PoolManager(retries=False)


def _headers(url: str) -> dict[str, str]:
    """``identity``: the bytes are wanted as they are stored, not compressed for the way."""
    parts = urlsplit(url)
    headers = {"Accept-Encoding": "identity", "User-Agent": "polyport"}
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers.update(urllib3.make_headers(basic_auth=user))
    return headers


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))


def _version(answer: urllib3.BaseHTTPResponse) -> str | None:
    return answer.headers.get("ETag") or answer.headers.get("Last-Modified")


def _cause(error: urllib3.exceptions.HTTPError) -> str:
    """urllib3's own sentence without the pool's repr and the URL's query, which may be a signature."""
    reason = getattr(error, "reason", None) or error
    return str(reason).rpartition(">: ")[2].partition("?")[0]
