"""The calls that SageMaker's documentation of multi-container endpoints shows, run against a real server."""

import pytest
from botocore.exceptions import ClientError

from support.server import Server, status_of, wait_for_status, wait_until_gone

ROLE = "arn:aws:iam::123456789012:role/SageMakerRole"
IMAGE_1 = "123456789012.dkr.ecr.us-east-1.amazonaws.com/myimage1:mytag"
IMAGE_2 = "123456789012.dkr.ecr.us-east-1.amazonaws.com/myimage2:mytag"


def create_model(sagemaker, name, mode):
    containers = [
        {"Image": IMAGE_1, "ContainerHostname": "firstContainer"},
        {"Image": IMAGE_2, "ContainerHostname": "secondContainer"},
    ]
    return sagemaker.create_model(
        ModelName=name,
        InferenceExecutionConfig={"Mode": mode},
        ExecutionRoleArn=ROLE,
        Containers=containers,
    )


def create_config(sagemaker, name, model):
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": model,
        "InitialInstanceCount": 1,
        "InstanceType": "ml.m5.xlarge",
        "InitialVariantWeight": 1,
    }
    return sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])


def test_create_describe_invoke_update_the_mode_and_delete(server: Server) -> None:
    """The documentation's example runs as it is: direct by name, then serial after an update, then away."""
    server.command("image", "alias", IMAGE_1, "first:1")
    server.command("image", "alias", IMAGE_2, "second:1")
    sagemaker, runtime = server.client("sagemaker"), server.client("sagemaker-runtime")

    assert create_model(sagemaker, "direct-model", "Direct")["ModelArn"].endswith(":model/direct-model")
    create_config(sagemaker, "direct-config", "direct-model")
    arn = sagemaker.create_endpoint(EndpointName="My-Endpoint", EndpointConfigName="direct-config")["EndpointArn"]
    assert arn == "arn:aws:sagemaker:us-east-1:123456789012:endpoint/my-endpoint"
    assert status_of(sagemaker, "My-Endpoint") in {"Creating", "InService"}

    described = wait_for_status(sagemaker, "My-Endpoint", "InService")
    [variant] = described["ProductionVariants"]
    assert (variant["CurrentInstanceCount"], variant["DesiredInstanceCount"]) == (1, 1)
    assert [image["SpecifiedImage"] for image in variant["DeployedImages"]] == [IMAGE_1, IMAGE_2]
    assert all("@sha256:" in image["ResolvedImage"] for image in variant["DeployedImages"])
    assert described["EndpointConfigName"] == "direct-config"
    assert "FailureReason" not in described

    for hostname, name in (("firstContainer", b"first"), ("secondContainer", b"second")):
        answer = runtime.invoke_endpoint(
            EndpointName="My-Endpoint", ContentType="text/csv", Body=b"1,2", TargetContainerHostname=hostname
        )
        assert answer["Body"].read() == b"1,2|" + name + b",text/csv"
        assert answer["InvokedProductionVariant"] == "AllTraffic"
    with pytest.raises(ClientError) as refused:
        runtime.invoke_endpoint(EndpointName="My-Endpoint", ContentType="text/csv", Body=b"1,2")
    assert refused.value.response["Error"]["Code"] == "ValidationError"

    create_model(sagemaker, "serial-model", "Serial")
    create_config(sagemaker, "serial-config", "serial-model")
    sagemaker.update_endpoint(EndpointName="My-Endpoint", EndpointConfigName="serial-config")
    # A waiter that looks at once must not take the old fleet's status for the new one's.
    assert status_of(sagemaker, "My-Endpoint") == "Updating"
    described = wait_for_status(sagemaker, "My-Endpoint", "InService")
    assert described["EndpointConfigName"] == "serial-config"

    answer = runtime.invoke_endpoint(EndpointName="My-Endpoint", ContentType="text/csv", Body=b"1,2")
    assert answer["Body"].read() == b"1,2|first,text/csv|second,text/plain; from=first"
    assert answer["ContentType"] == "text/plain; from=second"

    sagemaker.delete_endpoint(EndpointName="My-Endpoint")
    wait_until_gone(sagemaker, "My-Endpoint")
    for name in ("direct", "serial"):
        sagemaker.delete_endpoint_config(EndpointConfigName=f"{name}-config")
        sagemaker.delete_model(ModelName=f"{name}-model")
    assert sagemaker.list_models()["Models"] == []
