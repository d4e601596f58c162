"""Rows to values and back."""

from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from polyport.domain.endpoints import Endpoint, EndpointState, Wanted
from polyport.domain.names import Owner
from polyport.domain.resources import EndpointConfig, Model

#: What models and endpoint configurations have in common: both are kept as they were given.
Resource = TypeVar("Resource", Model, EndpointConfig)


def key(name: str) -> str:
    """What makes a name unique: ARNs are lower-case, so two names that differ in case alone cannot coexist."""
    return name.lower()


def from_resource(resource: Model | EndpointConfig) -> dict[str, Any]:
    """The columns of a model or an endpoint configuration."""
    return {
        "arn": resource.arn,
        "account": resource.owner.account,
        "region": resource.owner.region,
        "name": resource.name,
        "key": key(resource.name),
        "created_at": resource.created_at,
        "definition": to_json(resource.definition),
    }


def to_resource(kind: type[Resource], row: sa.RowMapping) -> Resource:
    """The model or endpoint configuration in a row."""
    return kind(
        owner=Owner(row["account"], row["region"]),
        name=row["name"],
        arn=row["arn"],
        created_at=row["created_at"],
        definition=msgspec.json.decode(row["definition"]),
    )


def from_endpoint(endpoint: Endpoint) -> dict[str, Any]:
    """The columns of an endpoint."""
    return {
        "id": endpoint.id,
        "arn": endpoint.arn,
        "account": endpoint.owner.account,
        "region": endpoint.owner.region,
        "name": endpoint.name,
        "key": key(endpoint.name),
        "created_at": endpoint.created_at,
        "modified_at": endpoint.modified_at,
        "generation": endpoint.generation,
        "version": endpoint.version,
        "status": endpoint.status.value,
        "wanted": to_json(endpoint.wanted),
        "state": to_json(endpoint.state),
    }


def to_endpoint(row: sa.RowMapping) -> Endpoint:
    """The endpoint in a row."""
    return Endpoint(
        id=row["id"],
        owner=Owner(row["account"], row["region"]),
        name=row["name"],
        arn=row["arn"],
        created_at=row["created_at"],
        modified_at=row["modified_at"],
        generation=row["generation"],
        wanted=msgspec.json.decode(row["wanted"], type=Wanted),
        state=msgspec.json.decode(row["state"], type=EndpointState),
        version=row["version"],
    )


def to_json(value: object) -> str:
    """JSON text for a column."""
    return msgspec.json.encode(value).decode()
