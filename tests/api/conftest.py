"""A control plane and its client."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.harness import Plane, Wire, variant


@pytest.fixture(scope="session")
def shared_wire() -> Wire:
    """Clients are dear: made once."""
    return Wire()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables are dear too: made once, copied for each test."""
    folder = tmp_path_factory.mktemp("empty")
    Plane(folder / "db").close()
    return folder / "db"


@pytest.fixture
def plane(tmp_path: Path, empty_database: Path) -> Iterator[Plane]:
    made = Plane(Path(shutil.copy(empty_database, tmp_path / "db")))
    yield made
    made.close()


@pytest.fixture
def wire(shared_wire: Wire, plane: Plane) -> Wire:
    shared_wire.plane = plane
    return shared_wire


@pytest.fixture
def sagemaker(wire: Wire) -> Any:
    return wire.client()


@pytest.fixture
def careless(wire: Wire) -> Any:
    """A client that does not check its own arguments."""
    return wire.client(careless=True)


@pytest.fixture
def model(sagemaker: Any) -> str:
    """A model of two named containers."""
    sagemaker.create_model(
        ModelName="one",
        Containers=[
            {"Image": "first:1", "ContainerHostname": "a"},
            {"Image": "second:1", "ContainerHostname": "b"},
        ],
        InferenceExecutionConfig={"Mode": "Direct"},
    )
    return "one"


@pytest.fixture
def config(sagemaker: Any, model: str) -> str:
    """A configuration of one variant."""
    sagemaker.create_endpoint_config(EndpointConfigName="config", ProductionVariants=[variant()])
    return "config"


@pytest.fixture
def endpoint(sagemaker: Any, config: str) -> str:
    """An endpoint that is being created."""
    sagemaker.create_endpoint(EndpointName="Demo", EndpointConfigName=config)
    return "Demo"
