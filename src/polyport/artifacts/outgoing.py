"""Objects on their way out: to where ``s3://`` leads, a store or the folder of a bucket."""

from pathlib import Path
from typing import Any

import botocore.exceptions

from polyport.artifacts import local, locations, s3, tree
from polyport.errors import ArtifactError
from polyport.settings import Settings


class Outgoing:
    """Puts objects; blocking, for one thread at a time. Credentials are botocore's usual ones, as for model data."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: Any = None

    @property
    def is_store(self) -> bool:
        """Whether objects go to a store, and not into folders."""
        return bool(self._settings.s3_endpoint_url)

    def put(self, bucket: str, key: str, data: bytes, kms_key: str = "") -> None:
        """Whole or not at all; one of that name is replaced. ``kms_key`` is for a store alone. Raises
        `ArtifactError`."""
        if not self.is_store:
            self._put_file(bucket, key, data)
            return
        encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key} if kms_key else {}
        try:
            if self._client is None:
                self._client = s3.make_client(self._settings.s3_endpoint_url, self._settings.region)
            self._client.put_object(Bucket=bucket, Key=key, Body=data, **encryption)
        except (
            botocore.exceptions.ClientError,
            botocore.exceptions.BotoCoreError,
            botocore.exceptions.HTTPClientError,
            ValueError,
        ) as error:
            raise ArtifactError(f"the store at {self._settings.s3_endpoint_url} took no object: {error}") from error

    def close(self) -> None:
        """Let go of connections."""
        if self._client is not None:
            self._client.close()

    def _put_file(self, bucket: str, key: str, data: bytes) -> None:
        parts = key.split("/")
        tree.check_path(parts)
        if not locations.BUCKET.fullmatch(bucket):
            raise ArtifactError(f"{bucket!r} is not a bucket name")
        root = self._settings.buckets / bucket
        path = root.joinpath(*parts)
        try:
            if not local.real_path(path.parent).is_relative_to(local.real_path(root)):
                raise ArtifactError(f"{path.parent} is a link that leaves {root}")
            path.parent.mkdir(parents=True, exist_ok=True)
            _replace(path, data)
        except OSError as error:
            raise ArtifactError(f"{path} cannot be written: {error.strerror or error}") from error


def _replace(path: Path, data: bytes) -> None:
    # The same again after a crash, so nothing is left.
    draft = path.with_name(f".{path.name}.draft")
    try:
        draft.write_bytes(data)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
