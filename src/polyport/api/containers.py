"""A model's containers: the rules between their members, and what an engine needs to know of them."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from polyport.api.refusals import invalid, not_served
from polyport.domain.endpoints import Mode
from polyport.domain.instances import ContainerSpec, ModelSource

Definition = Mapping[str, Any]
"""A ``ContainerDefinition`` or the members of CreateModel."""

#: Bytes that all environment maps of a model may take together, keys and values.
MAX_ENVIRONMENT = 32 * 1024
#: What errors and logs call the container of a model that has only one.
PRIMARY = "primary"


def definitions(model: Definition) -> list[tuple[str, Definition]]:
    """All containers of a model, each with its path in the request."""
    if "PrimaryContainer" in model:
        return [("PrimaryContainer", model["PrimaryContainer"])]
    return [(f"Containers[{index}]", container) for index, container in enumerate(model.get("Containers", []))]


def mode_of(model: Definition) -> Mode:
    """How the containers are invoked. A list of one is a pipeline or a direct model all the same."""
    if "PrimaryContainer" in model:
        return Mode.SINGLE
    return Mode(model.get("InferenceExecutionConfig", {}).get("Mode", Mode.SERIAL))


def specify(model: Definition) -> tuple[ContainerSpec, ...]:
    """The containers of a checked model, in order, each with its host name."""
    single = mode_of(model) is Mode.SINGLE
    return tuple(
        ContainerSpec(
            hostname=PRIMARY if single else container.get("ContainerHostname", f"container-{number}"),
            image=container["Image"],
            environment=dict(container.get("Environment", {})),
            model=model_source(container),
            additional={
                source["ChannelName"]: _from_s3(source["S3DataSource"])
                for source in container.get("AdditionalModelDataSources", [])
            },
        )
        for number, (_, container) in enumerate(definitions(model), start=1)
    )


def model_source(container: Definition) -> ModelSource | None:
    """Where the model data of one container comes from."""
    if "ModelDataUrl" in container:
        return ModelSource(container["ModelDataUrl"])
    if "ModelDataSource" in container:
        return _from_s3(container["ModelDataSource"]["S3DataSource"])
    return None


def _from_s3(source: Definition) -> ModelSource:
    return ModelSource(url=source["S3Uri"], kind=source["S3DataType"], compression=source["CompressionType"])


def check(model: Definition) -> None:
    """The rules between the members of CreateModel; raises `ApiError` for the first that is broken."""
    _check_choice(model)
    found = definitions(model)
    _check_environment(found)
    _check_multi_model(found)
    for path, container in found:
        _check_image(path, container, model)
        _check_model_data(path, container)
    if mode_of(model) is not Mode.SINGLE:
        _check_hostnames(model, [container for _, container in found])


def _check_choice(model: Definition) -> None:
    if "PrimaryContainer" in model and model.get("Containers"):
        raise invalid("PrimaryContainer and Containers cannot be given together: give one of them.")
    if "PrimaryContainer" not in model and not model.get("Containers"):
        raise invalid("Either PrimaryContainer or Containers, with at least one container, must be given.")
    if "PrimaryContainer" in model and model.get("InferenceExecutionConfig", {}).get("Mode") == Mode.DIRECT:
        raise invalid("InferenceExecutionConfig.Mode Direct needs Containers, each with a ContainerHostname.")


def _check_environment(found: Iterable[tuple[str, Definition]]) -> None:
    maps = [container.get("Environment", {}) for _, container in found]
    size = sum(len(key.encode()) + len(value.encode()) for env in maps for key, value in env.items())
    if size > MAX_ENVIRONMENT:
        raise invalid(
            f"The Environment of all containers together is {size} bytes; "
            f"keys and values may take at most {MAX_ENVIRONMENT} bytes (32 KB)."
        )


def _check_multi_model(found: Iterable[tuple[str, Definition]]) -> None:
    multi = [path for path, container in found if container.get("Mode") == "MultiModel"]
    if len(multi) > 1:
        raise invalid("More than one container in MultiModel mode is not supported with inference pipeline.")
    if multi:
        raise not_served(f"{multi[0]}.Mode MultiModel", "multi-model containers; give each model its own container")


def _check_image(path: str, container: Definition, model: Definition) -> None:
    if "ModelPackageName" in container:
        raise not_served(f"{path}.ModelPackageName", "model packages; give Image and ModelDataUrl")
    if "Image" not in container:
        raise invalid(f"{path}.Image must be given.")
    access = container.get("ImageConfig", {})
    if "RepositoryAuthConfig" in access and access["RepositoryAccessMode"] != "Vpc":
        raise invalid(f"{path}.ImageConfig.RepositoryAuthConfig can be given with RepositoryAccessMode Vpc only.")
    if access.get("RepositoryAccessMode") == "Vpc" and "VpcConfig" not in model:
        raise invalid(f"{path}.ImageConfig.RepositoryAccessMode Vpc needs VpcConfig.")


def _check_model_data(path: str, container: Definition) -> None:
    if "ModelDataUrl" in container and "ModelDataSource" in container:
        raise invalid(f"{path}: ModelDataUrl and ModelDataSource cannot be given together: give one of them.")
    sources = []
    if "ModelDataSource" in container:
        if "S3DataSource" not in container["ModelDataSource"]:
            raise invalid(f"{path}.ModelDataSource.S3DataSource must be given.")
        sources.append((f"{path}.ModelDataSource", container["ModelDataSource"]["S3DataSource"]))
    additional = container.get("AdditionalModelDataSources", [])
    for index, source in enumerate(additional):
        sources.append((f"{path}.AdditionalModelDataSources[{index}]", source["S3DataSource"]))
    for place, source in sources:
        _check_source(f"{place}.S3DataSource", source)
    twice = repeated(source["ChannelName"] for source in additional)
    if twice:
        raise invalid(f"{path}.AdditionalModelDataSources: ChannelName {twice} is given more than once.")


def _check_source(path: str, source: Definition) -> None:
    if source["S3DataType"] == "S3Prefix" and source["CompressionType"] == "Gzip":
        raise invalid(f"{path}: CompressionType Gzip needs S3DataType S3Object, the URI of one .tar.gz.")
    if source["S3DataType"] == "S3Prefix" and not source["S3Uri"].endswith("/"):
        raise invalid(f"{path}: with S3DataType S3Prefix, S3Uri must end in a slash: {source['S3Uri']}")
    for member, what in (("ManifestS3Uri", "manifests of model data"), ("HubAccessConfig", "model hubs")):
        if member in source:
            raise not_served(f"{path}.{member}", what)


def _check_hostnames(model: Definition, found: list[Definition]) -> None:
    given = [container["ContainerHostname"] for container in found if "ContainerHostname" in container]
    if len(given) < len(found) and mode_of(model) is Mode.DIRECT:
        raise invalid("InferenceExecutionConfig.Mode Direct needs a ContainerHostname on every container.")
    if 0 < len(given) < len(found):
        raise invalid("ContainerHostname must be given for all containers or for none of them.")
    twice = repeated(given)
    if twice:
        raise invalid(f"ContainerHostname must be unique within a model; given more than once: {twice}.")


def repeated(values: Iterable[str]) -> str:
    """Those that occur more than once, for a message; ``""`` when none does."""
    return ", ".join(f'"{value}"' for value, count in Counter(values).items() if count > 1)
