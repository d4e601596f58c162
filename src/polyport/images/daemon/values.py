"""An image as a daemon describes it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Self

import msgspec

from polyport.errors import ImageError
from polyport.images import references
from polyport.images.records import BIND_LABEL

#: The label of images that Polyport built: what they were built from, ``image.toml`` or ``Dockerfile``.
BUILT_LABEL = "polyport.built-from"
#: What machines call themselves, in the words of image platforms.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


class DaemonImage(msgspec.Struct, frozen=True):
    """``name`` is what it was found by, ``tags`` all its names; ``digests`` are ``repository@sha256:...``, of which
    images that were built here may have none; ``size`` in bytes, ``created_at`` in epoch seconds."""

    name: str
    id: str
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    architecture: str
    os: str
    labels: dict[str, str]
    environment: tuple[str, ...]
    ports: tuple[str, ...]
    user: str
    created_at: float
    size: int

    @classmethod
    def from_inspect(cls, name: str, found: Mapping[str, Any]) -> Self:
        """From ``GET /images/NAME/json``."""
        config = found.get("Config") or {}
        return cls(
            name=name,
            id=_identity(str(found["Id"])),
            tags=names(found),
            digests=tuple(found.get("RepoDigests") or ()),
            architecture=normal(str(found.get("Architecture") or "")),
            os=str(found.get("Os") or ""),
            labels=dict(config.get("Labels") or {}),
            environment=tuple(config.get("Env") or ()),
            ports=tuple(sorted(config.get("ExposedPorts") or ())),
            user=str(config.get("User") or ""),
            created_at=_moment(str(found.get("Created") or "")),
            size=int(found.get("Size") or 0),
        )

    @property
    def reference(self) -> str:
        """Exactly this image, in a form that its daemon finds it by: ``repository@sha256:...``, of the name's own
        repository if it can be, else its id (``sha256:...``)."""
        if references.pinned(self.name):
            # Podman no longer lists the digest of an image that lost its tag, and yet finds it by that.
            return self.name
        wanted = repository_of(self.name)
        same = [digest for digest in self.digests if repository_of(digest) == wanted]
        return (*same, *self.digests, self.id)[0]

    @property
    def digest(self) -> str:
        """``sha256:...``, for tables."""
        return self.reference.rpartition("@")[2]

    @property
    def platform(self) -> str:
        """``linux/amd64``."""
        return f"{self.os or 'linux'}/{self.architecture}"

    @property
    def is_built_here(self) -> bool:
        """By `polyport image build`: no registry knows it."""
        return BUILT_LABEL in self.labels

    @property
    def warnings(self) -> tuple[str, ...]:
        """What works here and would not on AWS."""
        if self.labels.get(BIND_LABEL) == "true":
            return ()
        consequence = "SageMaker would refuse it in an endpoint with several containers."
        found = f"{self.name} has no label {BIND_LABEL}=true: {consequence}"
        if self.ports == ("8080/tcp",):
            found += " It declares port 8080 only; there it must listen on the port that SAGEMAKER_BIND_TO_PORT gives."
        return (found,)


def names(found: Mapping[str, Any]) -> tuple[str, ...]:
    """``RepoTags`` of an answer, as people write them. Podman lists digests among them, Docker ``<none>``."""
    tags = found.get("RepoTags") or ()
    return tuple(references.familiar(tag) for tag in tags if "@" not in tag and "<none>" not in tag)


def repository_of(name: str) -> str:
    """The repository in full, of a name with a tag or a digest."""
    pinned = references.pinned(name)
    try:
        return references.parse(pinned[0] if pinned else name).full
    except ImageError:
        return name


def normal(architecture: str) -> str:
    """``x86_64`` -> ``amd64``."""
    return ARCHITECTURES.get(architecture, architecture)


def known_names(listed: Sequence[Mapping[str, Any]]) -> list[str]:
    """All names in ``GET /images/json``, by alphabet."""
    return sorted({name for entry in listed for name in names(entry)})


def _identity(text: str) -> str:
    return text if text.startswith("sha256:") else f"sha256:{text}"


def _moment(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0
