"""Production variants: the rules of a configuration, and the copies of them that endpoints are made of."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from polyport.api import captures, containers
from polyport.api.refusals import invalid, not_found, not_served
from polyport.domain.captures import Capture
from polyport.domain.endpoints import Variant
from polyport.domain.names import Owner
from polyport.domain.resources import EndpointConfig, Model
from polyport.errors import ApiError

Definition = Mapping[str, Any]

#: Instances of one variant: a slip of the finger must not fill the machine.
MAX_INSTANCES = 100

#: Members of a configuration that would make it something else than real-time production variants.
_KINDS_NOT_SERVED = {"AsyncInferenceConfig": "asynchronous endpoints"}

PRODUCTION, SHADOW = "ProductionVariants", "ShadowProductionVariants"
#: What the weight of a shadow variant is.
_A_SHARE = "is the share of the calls that are copied to the shadow variant, from 0 to 1"


def check(config: Definition) -> None:
    """The rules between the members of CreateEndpointConfig; raises `ApiError` for the first that is broken."""
    for member, what in _KINDS_NOT_SERVED.items():
        if config.get(member):
            raise not_served(member, what)
    for member in (PRODUCTION, SHADOW):
        for index, variant in enumerate(config.get(member, [])):
            _check_variant(f"{member}[{index}]", variant)
    twice = containers.repeated(variant["VariantName"] for variant in all_of(config))
    if twice:
        raise invalid(f"VariantName must be unique within an endpoint configuration; given more than once: {twice}.")
    if config.get(SHADOW):
        _check_shadow(config)
    captures.check(config)


def all_of(config: Definition) -> list[Definition]:
    """The variants of a configuration, those that take traffic before those that get copies of it."""
    return [*config[PRODUCTION], *config.get(SHADOW, [])]


def with_weights(config: Definition) -> dict[str, list[dict[str, Any]]]:
    """The members with variants, each with the weight that is in force."""
    members = [member for member in (PRODUCTION, SHADOW) if member in config]
    return {member: [{"InitialVariantWeight": 1.0, **variant} for variant in config[member]] for member in members}


def _check_shadow(config: Definition) -> None:
    """SageMaker's rule, and that the weight can be a share."""
    if len(config[PRODUCTION]) > 1 or len(config[SHADOW]) > 1:
        raise invalid(
            f"With {SHADOW}, an endpoint configuration has one variant in {PRODUCTION} and one in {SHADOW}; given: "
            f"{len(config[PRODUCTION])} and {len(config[SHADOW])}."
        )
    weight = config[SHADOW][0].get("InitialVariantWeight", 1.0)
    if weight > 1:
        raise invalid(f"{SHADOW}[0].InitialVariantWeight {_A_SHARE}; given: {weight:g}.")


def _check_variant(path: str, variant: Definition) -> None:
    if "ServerlessConfig" in variant:
        raise not_served(f"{path}.ServerlessConfig", "serverless endpoints; give InstanceType and InitialInstanceCount")
    if "ModelName" not in variant:
        raise not_served(f"{path} without ModelName", "inference components; name the variant's model")
    if "InitialInstanceCount" not in variant:
        raise invalid(f"{path}.InitialInstanceCount must be given.")
    _check_instance_type(path, variant)
    routing = variant.get("RoutingConfig", {})
    prefix = routing.get("PrefixAwareRoutingConfig", {})
    if routing.get("RoutingStrategy") == "PREFIX_AWARE" and not {"PrefixLength", "ConcurrencyThreshold"} <= set(prefix):
        raise invalid(
            f"{path}.RoutingConfig: RoutingStrategy PREFIX_AWARE needs PrefixAwareRoutingConfig "
            "with PrefixLength and ConcurrencyThreshold."
        )


def _check_instance_type(path: str, variant: Definition) -> None:
    if "InstanceType" not in variant and "InstancePools" not in variant:
        raise invalid(f"{path}.InstanceType must be given.")
    if "InstanceType" in variant and "InstancePools" in variant:
        raise invalid(f"{path}: InstanceType and InstancePools cannot be given together: give one of them.")
    if any("ModelNameOverride" in pool for pool in variant.get("InstancePools", [])):
        raise not_served(f"{path}.InstancePools with ModelNameOverride", "several models in one variant")


def model_names(config: Definition) -> list[str]:
    """The models that a configuration names."""
    return [variant["ModelName"] for variant in all_of(config)]


def snapshot(owner: Owner, config: EndpointConfig, models: Mapping[str, Model]) -> tuple[Variant, ...]:
    """Copies of all variants with their models. Raises `ApiError` when a model is gone."""
    shadows = {variant["VariantName"] for variant in config.definition.get(SHADOW, [])}
    capture = captures.of(config.definition)
    return tuple(
        _snapshot(owner, variant, models, capture, is_shadow=variant["VariantName"] in shadows)
        for variant in all_of(config.definition)
    )


def _snapshot(
    owner: Owner, variant: Definition, models: Mapping[str, Model], capture: Capture | None, *, is_shadow: bool
) -> Variant:
    model = models.get(variant["ModelName"])
    if model is None:
        raise not_found(owner, "model", variant["ModelName"])
    return Variant(
        name=variant["VariantName"],
        model_name=model.name,
        mode=containers.mode_of(model.definition),
        containers=containers.specify(model.definition),
        instance_count=variant["InitialInstanceCount"],
        weight=variant["InitialVariantWeight"],
        instance_type=variant.get("InstanceType", ""),
        routing_strategy=variant.get("RoutingConfig", {}).get("RoutingStrategy", "RANDOM"),
        network_isolation=model.definition.get("EnableNetworkIsolation", False),
        startup_timeout=variant.get("ContainerStartupHealthCheckTimeoutInSeconds"),
        download_timeout=variant.get("ModelDataDownloadTimeoutInSeconds"),
        shadow=is_shadow,
        capture=capture,
    )


def retain(new: Iterable[Variant], current: Iterable[Variant], excluded: Collection[str]) -> tuple[Variant, ...]:
    """``RetainAllVariantProperties``: variants of the same name keep count and weight, but what is ``excluded``. One
    that was a shadow and is none any more, or the other way round, is another variant: its weight meant something else.
    """
    known = {(variant.name, variant.shadow): variant for variant in current}
    return tuple(_retain(variant, known.get((variant.name, variant.shadow), variant), excluded) for variant in new)


def _retain(new: Variant, current: Variant, excluded: Collection[str]) -> Variant:
    return replace(
        new,
        instance_count=new.instance_count if "DesiredInstanceCount" in excluded else current.instance_count,
        weight=new.weight if "DesiredWeight" in excluded else current.weight,
    )


def resize(current: tuple[Variant, ...], wishes: Iterable[Definition], config_name: str) -> tuple[Variant, ...]:
    """``DesiredWeightsAndCapacities``: what is not named stays. Raises `ApiError` for variants that do not exist."""
    by_name = {wish["VariantName"]: wish for wish in wishes}
    unknown = [name for name in by_name if name not in {variant.name for variant in current}]
    if unknown:
        raise invalid(
            f'The variant name(s) "{", ".join(unknown)}" is/are not present within endpoint configuration '
            f'"{config_name}".'
        )
    return tuple(_resize(variant, by_name.get(variant.name, {})) for variant in current)


def _resize(variant: Variant, wish: Definition) -> Variant:
    weight = wish.get("DesiredWeight", variant.weight)
    if variant.shadow and weight > 1:
        raise invalid(f"DesiredWeight of {variant.name} {_A_SHARE}; given: {weight:g}.")
    return replace(
        variant,
        instance_count=wish.get("DesiredInstanceCount", variant.instance_count),
        weight=weight,
    )


def check_wishes(wishes: list[Definition]) -> None:
    """The rules within ``DesiredWeightsAndCapacities``."""
    if any("ServerlessUpdateConfig" in wish for wish in wishes):
        raise not_served("ServerlessUpdateConfig", "serverless endpoints")
    twice = containers.repeated(wish["VariantName"] for wish in wishes)
    if twice:
        raise invalid(f"VariantName must be unique within DesiredWeightsAndCapacities; given more than once: {twice}.")


def check_limits(wanted: Iterable[Variant]) -> None:
    """Raises `ApiError` ``ResourceLimitExceeded`` as SageMaker does for quotas."""
    for variant in wanted:
        if variant.instance_count > MAX_INSTANCES:
            raise ApiError(
                "ResourceLimitExceeded",
                f"Polyport's limit is {MAX_INSTANCES} Instances for a variant; variant {variant.name} asks for "
                f"{variant.instance_count} Instances.",
            )
