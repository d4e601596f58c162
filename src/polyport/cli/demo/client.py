"""What a user of SageMaker writes. Nothing here knows of Polyport: on AWS it runs as it is.

Only the environment says where the calls go: ``AWS_ENDPOINT_URL``, a region and credentials.
"""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

REGISTRY = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
ROLE = "arn:aws:iam::123456789012:role/polyport-demo"
SETTLED = ("InService", "Failed", "OutOfService")
#: boto3's own waiter looks every 30 seconds, which would hide how long things take.
POLL_INTERVAL = 0.05

Rows = list[list[float]]


class EndpointFailed(Exception):
    """The endpoint, or its latest update, did not get into service; the text has the reason."""


def control_client() -> Any:
    """Creates, describes, updates and deletes."""
    return boto3.client("sagemaker")


def runtime_client() -> Any:
    """Invokes. A failed call is not repeated unseen: it shall count as failed."""
    return boto3.client("sagemaker-runtime", config=Config(retries={"total_max_attempts": 1}))


def create_model(sagemaker: Any, name: str, mode: str, archives: Mapping[str, str]) -> None:
    """A model of several containers; ``archives`` maps each image to the ``s3://`` URL of its ``model.tar.gz``."""
    sagemaker.create_model(
        ModelName=name,
        Containers=[
            {"ContainerHostname": image, "Image": f"{REGISTRY}/{image}:demo", "ModelDataUrl": url}
            for image, url in archives.items()
        ],
        InferenceExecutionConfig={"Mode": mode},
        ExecutionRoleArn=ROLE,
    )


def create_config(sagemaker: Any, name: str, models: Mapping[str, str]) -> None:
    """An endpoint configuration; ``models`` maps each variant to its model. All calls go to the first variant,
    but those that name another."""
    sagemaker.create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[
            {
                "VariantName": variant,
                "ModelName": model,
                "InstanceType": "ml.m5.large",
                "InitialInstanceCount": 1,
                "InitialVariantWeight": 1.0 if position == 0 else 0.0,
            }
            for position, (variant, model) in enumerate(models.items())
        ],
    )


def create_version(sagemaker: Any, name: str, image: str, version: str, instances: int) -> None:
    """A model of one container that knows its version, and a configuration with so many instances of it."""
    sagemaker.create_model(
        ModelName=name,
        PrimaryContainer={"Image": f"{REGISTRY}/{image}:demo", "Environment": {"VERSION": version}},
        ExecutionRoleArn=ROLE,
    )
    variant = {"VariantName": "AllTraffic", "ModelName": name, "InstanceType": "ml.m5.large"}
    sagemaker.create_endpoint_config(
        EndpointConfigName=name, ProductionVariants=[{**variant, "InitialInstanceCount": instances}]
    )


def ask_version(runtime: Any, endpoint: str) -> str:
    """One call to an endpoint of such; who answered."""
    response = runtime.invoke_endpoint(EndpointName=endpoint, ContentType="text/plain", Body=b"who are you")
    answer: bytes = response["Body"].read()
    return answer.decode()


def wait_until_in_service(sagemaker: Any, endpoint: str, on_change: Callable[[str], None]) -> None:
    """Poll until the endpoint has settled; ``on_change`` gets every new status. Raises `EndpointFailed`."""
    seen = ""
    while True:
        description = sagemaker.describe_endpoint(EndpointName=endpoint)
        status = describe_status(description)
        if status != seen:
            on_change(status)
            seen = status
        if description["EndpointStatus"] in SETTLED:
            break
        time.sleep(POLL_INTERVAL)
    if description["EndpointStatus"] != "InService" or "FailureReason" in description:
        raise EndpointFailed(f"Endpoint {endpoint}: {status}: {description.get('FailureReason', 'no reason given')}")


def describe_status(description: Mapping[str, Any]) -> str:
    """``Creating (direct: Creating)``: the endpoint's status and that of each variant."""
    pending = description.get("PendingDeploymentSummary", {}).get("ProductionVariants", [])
    variants = [
        f"{variant['VariantName']}: {entry['Status']}"
        for variant in pending or description.get("ProductionVariants", [])
        for entry in variant.get("VariantStatus", [])
    ]
    status: str = description["EndpointStatus"]
    return f"{status} ({', '.join(variants)})" if variants else status


def invoke(runtime: Any, endpoint: str, rows: Rows, **target: str) -> Rows:
    """One call. ``target``: ``TargetContainerHostname`` where the mode is Direct, ``TargetVariant`` to name one."""
    response = runtime.invoke_endpoint(
        EndpointName=endpoint, ContentType="application/json", Body=json.dumps(rows), **target
    )
    answer: Rows = json.loads(response["Body"].read())
    return answer


def delete_endpoint(sagemaker: Any, endpoint: str) -> None:
    """Delete it and wait until it is gone. One that is being changed is waited for first, as it must be."""
    while True:
        try:
            status = sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointStatus"]
        except ClientError as error:
            if "Could not find" in str(error):
                return
            raise
        if status in SETTLED:
            sagemaker.delete_endpoint(EndpointName=endpoint)
        time.sleep(POLL_INTERVAL)


def delete_rest(sagemaker: Any, configs: list[str], models: list[str]) -> None:
    """Delete configurations and models."""
    for config in configs:
        sagemaker.delete_endpoint_config(EndpointConfigName=config)
    for model in models:
        sagemaker.delete_model(ModelName=model)
