"""Values to put into a store."""

from polyport.domain import names
from polyport.domain.endpoints import Endpoint, EndpointState, Mode, Status, Variant, Wanted
from polyport.domain.instances import ContainerSpec, ModelSource
from polyport.domain.names import Owner
from polyport.domain.resources import EndpointConfig, Model

OWNER = Owner("123456789012", "us-east-1")
OTHER = Owner("123456789012", "eu-central-1")


def make_model(name: str = "Two-Models", owner: Owner = OWNER, created_at: float = 100.25) -> Model:
    definition = {"Containers": [{"Image": "skl:1", "ContainerHostname": "skl"}], "EnableNetworkIsolation": False}
    return Model(owner, name, names.arn(owner, "model", name), created_at, definition)


def make_config(
    name: str = "config", owner: Owner = OWNER, models: tuple[str, ...] = ("Two-Models",)
) -> EndpointConfig:
    definition = {"ProductionVariants": [{"VariantName": f"v{n}", "ModelName": m} for n, m in enumerate(models)]}
    return EndpointConfig(owner, name, names.arn(owner, "endpoint-config", name), 101.5, definition)


def make_endpoint(
    name: str = "Demo", owner: Owner = OWNER, created_at: float = 200.125, status: Status = Status.CREATING
) -> Endpoint:
    container = ContainerSpec("skl", "skl:1", {"KEY": "ü"}, ModelSource("s3://bucket/model.tar.gz"))
    variant = Variant("AllTraffic", "Two-Models", Mode.DIRECT, (container,), instance_count=2, weight=0.5)
    return Endpoint(
        id=f"{owner.region}-{name}",
        owner=owner,
        name=name,
        arn=names.arn(owner, "endpoint", name),
        created_at=created_at,
        modified_at=created_at,
        generation=1,
        wanted=Wanted(1, "config", (variant,)),
        state=EndpointState(status, settled=0 if status is Status.CREATING else 1),
        version=1,
    )
