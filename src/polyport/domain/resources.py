"""Models and endpoint configurations: immutable once created, kept as the API received them."""

from typing import Any

import msgspec

from polyport.domain.names import Owner


class Model(msgspec.Struct, frozen=True):
    """A model. ``definition`` holds CreateModel's members, but ``ModelName`` and ``Tags``, as they were given."""

    owner: Owner
    name: str
    arn: str
    created_at: float
    definition: dict[str, Any]


class EndpointConfig(msgspec.Struct, frozen=True):
    """An endpoint configuration. ``definition`` as for `Model`."""

    owner: Owner
    name: str
    arn: str
    created_at: float
    definition: dict[str, Any]
