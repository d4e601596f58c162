"""Service models: botocore's own files are the specification, read when first needed."""

import functools
import gzip
from pathlib import Path
from typing import Any

import msgspec
from botocore.exceptions import UnknownServiceError
from botocore.loaders import JSONFileLoader, Loader
from botocore.model import NoShapeFoundError, OperationModel, ServiceModel, StructureShape


class _FileLoader(JSONFileLoader):  # type: ignore[misc]  # botocore publishes no types
    """botocore's file loader with a faster decoder: sagemaker's model takes 30 ms in place of 90."""

    def load_file(self, file_path: str) -> Any:
        """The content of ``file_path`` plus ``.json`` or ``.json.gz``; ``None`` when there is neither."""
        plain, packed = Path(file_path + ".json"), Path(file_path + ".json.gz")
        if plain.is_file():
            return msgspec.json.decode(plain.read_bytes())
        return msgspec.json.decode(gzip.decompress(packed.read_bytes())) if packed.is_file() else None


class _Loader(Loader):  # type: ignore[misc]  # botocore publishes no types
    FILE_LOADER_CLASS = _FileLoader


class Service:
    """One AWS service as botocore describes it. Operations, and the shapes below them, are made once and kept."""

    def __init__(self, name: str, model: ServiceModel) -> None:
        metadata = model.metadata
        self.name = name
        self.model = model
        self.protocol: str = metadata["protocol"]
        self.protocols: frozenset[str] = frozenset(metadata.get("protocols", [self.protocol]))
        self.api_version: str = metadata["apiVersion"]
        self.json_version: str = metadata.get("jsonVersion", "1.0")
        self.target_prefix: str = metadata.get("targetPrefix", "")
        self.xml_namespace: str = metadata.get("xmlNamespace", "")
        self.signing_name: str = model.signing_name
        self.service_id: str = metadata["serviceId"]
        self._operations: dict[str, OperationModel] = {}
        self._names = frozenset(model.operation_names)

    def __repr__(self) -> str:
        return f"<Service {self.name} ({self.protocol})>"

    def operation(self, name: str) -> OperationModel | None:
        """The operation of that wire name (``CreateModel``); ``None`` when the service has none."""
        if name not in self._names:
            return None
        if name not in self._operations:
            self._operations[name] = self.model.operation_model(name)
        return self._operations[name]

    def error_shape(self, code: str) -> StructureShape | None:
        """The exception that the model declares under that name; ``None`` for an unmodelled code."""
        try:
            shape = self.model.shape_for(code)
        except NoShapeFoundError:
            return None
        return shape if shape.metadata.get("exception") else None


@functools.cache
def load(name: str) -> Service:
    """The service of that client name (``sagemaker``, ``sagemaker-runtime``). `LookupError` when there is none."""
    try:
        description = _Loader().load_service_model(name, "service-2")
    except UnknownServiceError as error:
        raise LookupError(f"botocore has no service {name!r}") from error
    return Service(name, ServiceModel(description, name))


@functools.lru_cache(maxsize=1024)  # names come from requests
def service_id(name: str) -> str:
    """The service id (``S3``, ``CloudWatch Logs``) of a client name, ``""`` when there is none.

    The model is not kept: a stranger can ask for hundreds of services, and each would stay in memory.
    """
    if name not in _available():
        return ""
    return str(_Loader().load_service_model(name, "service-2")["metadata"]["serviceId"])


@functools.cache
def _available() -> frozenset[str]:
    return frozenset(_Loader().list_available_services("service-2"))
