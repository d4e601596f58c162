"""Objects in an S3-compatible store, by botocore."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import botocore.config
import botocore.exceptions
import botocore.session

from polyport.artifacts import backend
from polyport.artifacts.backend import Item, Reader
from polyport.errors import ArtifactError

CONNECT_TIMEOUT = 10.0
#: Between two chunks, not for the whole object.
READ_TIMEOUT = 30.0


def make_client(endpoint_url: str, region: str) -> Any:
    """A client for the store at ``endpoint_url``; thread-safe, made once as it takes a tenth of a second.

    The endpoint is given as an argument, which goes before ``AWS_ENDPOINT_URL``: that is ourselves in a user's shell.
    Credentials come from botocore's usual chain; without any, calls go unsigned (public buckets).
    """
    session = botocore.session.get_session()
    unsigned = {} if session.get_credentials() else {"signature_version": botocore.UNSIGNED}
    config = botocore.config.Config(
        s3={"addressing_style": "path"},
        retries={"mode": "standard", "max_attempts": 3},
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        # Stores that are not AWS's own know no trailing checksums.
        request_checksum_calculation="when_required",
        **unsigned,
    )
    region = session.get_config_variable("region") or region
    return session.create_client("s3", endpoint_url=endpoint_url, region_name=region, config=config)


class Objects:
    """The objects that ``bucket`` and ``key`` name, or those under the prefix ``key``."""

    def __init__(self, client: Any, bucket: str, key: str, *, prefix: bool) -> None:
        self.client = client
        self.bucket = bucket
        self.key = key
        self.prefix = prefix

    def find(self) -> tuple[Item, ...]:
        """See `Backend.find`."""
        with self._translated():
            return self._list() if self.prefix else (self._head(),)

    @contextmanager
    def open(self, item: Item) -> Iterator[Reader]:
        """See `Backend.open`."""
        with self._translated():
            condition = {"IfMatch": item.version} if item.version else {}
            answer = self.client.get_object(Bucket=self.bucket, Key=item.address, **condition)
            with closing(answer["Body"]) as body:
                yield body

    def _head(self) -> Item:
        name = backend.last_segment(self.key)
        answer = self.client.head_object(Bucket=self.bucket, Key=self.key)
        return Item(name, self.key, answer.get("ContentLength"), answer.get("ETag"))

    def _list(self) -> tuple[Item, ...]:
        backend.check_prefix(self.key)
        items: list[Item] = []
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.key):
            for found in page.get("Contents", ()):
                name = found["Key"].removeprefix(self.key)
                items.append(Item(name, found["Key"], found.get("Size"), found.get("ETag")))
            if len(items) > backend.MAX_OBJECTS:
                break
        backend.check_count(len(items))
        return tuple(sorted(items, key=lambda item: item.name))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except botocore.exceptions.ClientError as error:
            raise ArtifactError(self._explain(error.response)) from error
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.HTTPClientError) as error:
            raise ArtifactError(f"the store at {self.client.meta.endpoint_url} did not deliver: {error}") from error

    def _explain(self, response: dict[str, Any]) -> str:
        store = self.client.meta.endpoint_url
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        code = response.get("Error", {}).get("Code", "")
        if code == "NoSuchBucket":
            return f"the store at {store} has no bucket {self.bucket!r}"
        if status == 404:
            return f"the store at {store} has no object {self.key!r} in bucket {self.bucket!r}"
        if status == 403:
            return f"the store at {store} refused access to {self.key!r} in bucket {self.bucket!r} ({code})"
        if status == 412:
            return "the object changed while it was read"
        return f"the store at {store} answered {status} {code}: {response.get('Error', {}).get('Message', '')}"
