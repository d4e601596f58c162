"""Members that SageMaker acts on and Polyport does not: they are stored, echoed, and said to be without effect."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

log = logging.getLogger(__name__)

_S3_SOURCE = ("ModelAccessConfig", "ETag", "ManifestEtag")
_CONTAINER = (
    "ImageConfig",
    "InferenceSpecificationName",
    "MultiModelConfig",
    "ContainerMetricsConfig",
    *(f"ModelDataSource.S3DataSource.{member}" for member in _S3_SOURCE),
    *(f"AdditionalModelDataSources.*.S3DataSource.{member}" for member in _S3_SOURCE),
)
_VARIANT = (
    "InstanceType",
    "InstancePools",
    "VariantInstanceProvisionTimeoutInSeconds",
    "AcceleratorType",
    "CoreDumpConfig",
    "VolumeSizeInGB",
    "EnableSSMAccess",
    "ManagedInstanceScaling",
    "RoutingConfig.PrefixAwareRoutingConfig",
    "InferenceAmiVersion",
    "CapacityReservationConfig",
    "AcceleratorPartitionLayouts",
)
_MODEL = (
    "ExecutionRoleArn",
    "VpcConfig",
    "PrimaryContainer.ContainerHostname",
    *(f"PrimaryContainer.{member}" for member in _CONTAINER),
    *(f"Containers.*.{member}" for member in _CONTAINER),
)
_CONFIG = (
    "KmsKeyId",
    "ExplainerConfig",
    "EnableNetworkIsolation",
    "MetricsConfig",
    "CrossRegionTrafficConfig",
    *(f"ProductionVariants.*.{member}" for member in _VARIANT),
    *(f"ShadowProductionVariants.*.{member}" for member in _VARIANT),
)

#: Strategies that are asked for and replaced by RANDOM.
_STRATEGIES = {"PREFIX_AWARE", "KV_AWARE"}


def without_effect(definition: Mapping[str, Any]) -> list[str]:
    """Which of the given members have no effect here, as paths: ``Containers[0].ImageConfig``.

    ``definition`` holds the members of CreateModel or CreateEndpointConfig.
    """
    if "ProductionVariants" in definition:
        # The role and the network of a configuration are for inference components, those of a model for the model.
        found = list(_given(definition, (*_CONFIG, "ExecutionRoleArn", "VpcConfig")))
        found += _strategies(definition, "ProductionVariants")
        found += _strategies(definition, "ShadowProductionVariants")
    else:
        found = list(_given(definition, _MODEL))
    if "PrimaryContainer" in definition and "InferenceExecutionConfig" in definition:
        found.append("InferenceExecutionConfig")
    return sorted(found)


def report(arn: str, definition: Mapping[str, Any]) -> None:
    """Say it in the log."""
    found = without_effect(definition)
    if found:
        log.info("%s: these members are kept but have no effect here: %s", arn, ", ".join(found))


def _given(definition: Mapping[str, Any], paths: tuple[str, ...]) -> Iterator[str]:
    for path in paths:
        yield from _find(definition, path.split("."), "")


def _find(value: Any, path: list[str], so_far: str) -> Iterator[str]:
    if not path:
        yield so_far
    elif path[0] == "*":
        for index, element in enumerate(value):
            yield from _find(element, path[1:], f"{so_far}[{index}]")
    elif path[0] in value:
        yield from _find(value[path[0]], path[1:], f"{so_far}.{path[0]}".lstrip("."))


def _strategies(definition: Mapping[str, Any], member: str) -> list[str]:
    return [
        f"{member}[{index}].RoutingConfig.RoutingStrategy"
        for index, variant in enumerate(definition.get(member, []))
        if variant.get("RoutingConfig", {}).get("RoutingStrategy") in _STRATEGIES
    ]
