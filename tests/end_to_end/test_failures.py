"""Containers and model data that do not work: the endpoint fails, soon, and says why."""

import io
import tarfile
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from support.server import Server, call, create_endpoint, wait_for_status, wait_until_gone

PING_FAILED = (
    "The primary container for production variant AllTraffic did not pass the ping health check. "
    "Please check CloudWatch logs for this endpoint. "
)


@pytest.mark.parametrize(
    ("environment", "cause"),
    [
        ({"EXIT": "7"}, "exited with code 7"),
        ({"LISTEN_ON": "18111"}, "listens on 18111, expected "),
        ({"PING_STATUS": "500"}, "GET /ping answered 500, expected 200"),
        ({"DEAF": "1"}, "runs but does not listen"),
    ],
    ids=["exits", "listens elsewhere", "answers 500", "never listens"],
)
def test_a_container_that_does_not_get_healthy_fails_the_endpoint_with_the_cause(
    make_server: Callable[..., Server], environment: dict[str, str], cause: str
) -> None:
    """FailureReason begins as SageMaker's and then says what happened, with the last lines of output."""
    server = make_server(startup_timeout=3).start()
    sagemaker = server.client("sagemaker")
    create_endpoint(server, "bad", {"Image": "first:1", "Environment": environment}, mode="Single")
    described = wait_for_status(sagemaker, "bad", "Failed")
    assert described["FailureReason"].startswith(PING_FAILED)
    assert cause in described["FailureReason"]
    assert "first starts as ['serve']" in described["FailureReason"]
    with pytest.raises(ClientError, match="Failed") as refused:
        call(server.client("sagemaker-runtime"), "bad")
    assert refused.value.response["Error"]["Code"] == "ValidationError"
    with pytest.raises(ClientError, match="bad"):
        sagemaker.update_endpoint(EndpointName="bad", EndpointConfigName="bad")
    sagemaker.delete_endpoint(EndpointName="bad")
    wait_until_gone(sagemaker, "bad")


def test_the_failing_container_of_several_is_named(make_server: Callable[..., Server]) -> None:
    """One failing container fails the deployment, and the reason names it and not the others."""
    server = make_server(startup_timeout=3).start()
    create_endpoint(
        server,
        "bad",
        {"Image": "first:1", "ContainerHostname": "good"},
        {"Image": "second:1", "ContainerHostname": "broken", "Environment": {"EXIT": "1"}},
        mode="Direct",
    )
    reason = wait_for_status(server.client("sagemaker"), "bad", "Failed")["FailureReason"]
    assert "broken" in reason
    assert "container good" not in reason


def archive(**files: bytes) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return raw.getvalue()


def put_object(server: Server, key: str, content: bytes) -> None:
    path = server.home / "buckets" / "models" / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_each_container_sees_its_own_model(server: Server) -> None:
    """Each container of an endpoint has its own model folder, unpacked from its own archive."""
    put_object(server, "a.tar.gz", archive(weights=b"of a"))
    put_object(server, "b.tar.gz", archive(weights=b"of b"))
    containers: list[dict[str, Any]] = [
        {"Image": "first:1", "ContainerHostname": name, "ModelDataUrl": f"s3://models/{name}.tar.gz"} for name in "ab"
    ]
    create_endpoint(server, "two", *containers, mode="Direct")
    wait_for_status(server.client("sagemaker"), "two", "InService")
    runtime = server.client("sagemaker-runtime")
    for name in "ab":
        assert call(runtime, "two", b"model", TargetContainerHostname=name) == b'{"weights": "of %s"}' % name.encode()


def test_a_broken_archive_fails_the_endpoint(server: Server) -> None:
    """What cannot be unpacked is named; nothing of it stays."""
    put_object(server, "broken.tar.gz", archive(weights=b"x" * 5000)[:60])
    create_endpoint(server, "bad", {"Image": "first:1", "ModelDataUrl": "s3://models/broken.tar.gz"}, mode="Single")
    reason = wait_for_status(server.client("sagemaker"), "bad", "Failed")["FailureReason"]
    assert "s3://models/broken.tar.gz" in reason


def test_missing_model_data_is_refused_at_once(server: Server) -> None:
    """CreateModel looks whether the data is there, as SageMaker does."""
    with pytest.raises(ClientError, match=r"Could not access model data at s3://models/none.tar.gz") as refused:
        server.client("sagemaker").create_model(
            ModelName="bad", PrimaryContainer={"Image": "first:1", "ModelDataUrl": "s3://models/none.tar.gz"}
        )
    assert refused.value.response["Error"]["Code"] == "ValidationException"


def test_an_unknown_image_is_refused_with_the_names_that_are_known(server: Server) -> None:
    """A typing error is seen at CreateModel, not minutes later."""
    with pytest.raises(ClientError, match="first:1"):
        server.client("sagemaker").create_model(ModelName="bad", PrimaryContainer={"Image": "frist:1"})
