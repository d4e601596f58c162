"""Service models: found by client name, read fast, kept once."""

import time

import pytest
from botocore.loaders import Loader

from polyport.aws import service


def test_the_model_is_botocores_own() -> None:
    """The faster decoder changes nothing of what botocore would load."""
    loaded = service.load("sagemaker-runtime")
    plain = Loader().load_service_model("sagemaker-runtime", "service-2")
    assert loaded.model._service_description == plain
    assert (loaded.protocol, loaded.signing_name, loaded.service_id) == ("rest-json", "sagemaker", "SageMaker Runtime")


def test_operations_are_found_by_their_wire_name_and_made_once() -> None:
    """``operation`` is asked on every call."""
    loaded = service.load("sagemaker")
    assert (loaded.protocol, loaded.json_version, loaded.target_prefix) == ("json", "1.1", "SageMaker")
    assert loaded.operation("CreateModel") is loaded.operation("CreateModel")
    assert loaded.operation("createModel") is None
    assert loaded.operation("") is None
    assert service.load("sagemaker") is loaded
    assert repr(loaded) == "<Service sagemaker (json)>"


def test_an_unknown_service_is_a_lookup_error_and_paths_are_not_names() -> None:
    """The name may come from a request: it never reaches the file system unless botocore lists it."""
    with pytest.raises(LookupError, match="no service 'nope'"):
        service.load("nope")
    assert service.service_id("logs") == "CloudWatch Logs"
    assert service.service_id("../../x") == ""


def test_only_exceptions_are_error_shapes() -> None:
    """An unmodelled code, and a structure that is no exception, are not."""
    loaded = service.load("sagemaker")
    assert loaded.error_shape("ResourceLimitExceeded") is not None
    assert loaded.error_shape("ValidationException") is None
    assert loaded.error_shape("CreateModelInput") is None


def test_loading_does_not_hold_up_the_start() -> None:
    """Generous for a shared machine; 30 ms when measured alone."""
    service.load.cache_clear()
    began = time.process_time()
    service.load("sagemaker")
    assert time.process_time() - began < 1.0
