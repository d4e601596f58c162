"""Updates of every kind that a DeploymentConfig can ask for, as quick as SageMaker's limits allow."""

from typing import Any


def _blue_green(traffic: dict[str, Any]) -> dict[str, Any]:
    policy = {
        "TrafficRoutingConfiguration": traffic,
        "TerminationWaitInSeconds": 0,
        "MaximumExecutionTimeoutInSeconds": 600,
    }
    return {"DeploymentConfig": {"BlueGreenUpdatePolicy": policy}}


_HALF = {"Type": "INSTANCE_COUNT", "Value": 1}

#: What UpdateEndpoint gets besides the names, by name. The endpoint has two instances.
STRATEGIES: dict[str, dict[str, Any]] = {
    "default": {},
    "all at once": _blue_green({"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}),
    "canary": _blue_green({"Type": "CANARY", "CanarySize": _HALF, "WaitIntervalInSeconds": 1}),
    "linear": _blue_green({"Type": "LINEAR", "LinearStepSize": _HALF, "WaitIntervalInSeconds": 1}),
    "rolling": {
        "DeploymentConfig": {
            "RollingUpdatePolicy": {
                "MaximumBatchSize": _HALF,
                "WaitIntervalInSeconds": 1,
                "MaximumExecutionTimeoutInSeconds": 600,
            }
        }
    },
}
