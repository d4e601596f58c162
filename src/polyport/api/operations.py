"""Which operations of which services there are."""

from collections.abc import Awaitable, Callable
from typing import Any

from botocore.model import OperationModel

from polyport.api import (
    endpoint_configs,
    endpoint_policies,
    endpoints,
    live_tail,
    log_events,
    log_groups,
    models,
    sts,
    tags,
)
from polyport.api.context import Context
from polyport.api.monitoring import alarms, composites, get, put, shown
from polyport.api.monitoring import tags as alarm_tags
from polyport.aws import dispatch
from polyport.aws.dispatch import Call

Operation = Callable[[Context, dict[str, Any]], Awaitable[dict[str, Any]]]

#: By botocore's client name of the service (a value of `dispatch.KNOWN`), then by the model's name for the operation.
#: The order is that of messages that list them.
OPERATIONS: dict[str, dict[str, Operation]] = {
    "sagemaker": {
        "CreateModel": models.create_model,
        "DescribeModel": models.describe_model,
        "ListModels": models.list_models,
        "DeleteModel": models.delete_model,
        "CreateEndpointConfig": endpoint_configs.create_endpoint_config,
        "DescribeEndpointConfig": endpoint_configs.describe_endpoint_config,
        "ListEndpointConfigs": endpoint_configs.list_endpoint_configs,
        "DeleteEndpointConfig": endpoint_configs.delete_endpoint_config,
        "CreateEndpoint": endpoints.create_endpoint,
        "DescribeEndpoint": endpoints.describe_endpoint,
        "ListEndpoints": endpoints.list_endpoints,
        "UpdateEndpoint": endpoints.update_endpoint,
        "UpdateEndpointWeightsAndCapacities": endpoints.update_endpoint_weights_and_capacities,
        "DeleteEndpoint": endpoints.delete_endpoint,
        "AddTags": tags.add_tags,
        "ListTags": tags.list_tags,
        "DeleteTags": tags.delete_tags,
        "PutEndpointPolicy": endpoint_policies.put_endpoint_policy,
        "GetEndpointPolicy": endpoint_policies.get_endpoint_policy,
        "DeleteEndpointPolicy": endpoint_policies.delete_endpoint_policy,
    },
    "sts": {
        "GetCallerIdentity": sts.get_caller_identity,
        "GetSessionToken": sts.get_session_token,
        "AssumeRole": sts.assume_role,
    },
    "cloudwatch": {
        "PutMetricData": put.put_metric_data,
        "ListMetrics": put.list_metrics,
        "GetMetricData": get.get_metric_data,
        "GetMetricStatistics": get.get_metric_statistics,
        "PutMetricAlarm": alarms.put_metric_alarm,
        "PutCompositeAlarm": composites.put_composite_alarm,
        "DescribeAlarms": shown.describe_alarms,
        "DescribeAlarmHistory": shown.describe_alarm_history,
        "SetAlarmState": alarms.set_alarm_state,
        "EnableAlarmActions": alarms.enable_alarm_actions,
        "DisableAlarmActions": alarms.disable_alarm_actions,
        "DeleteAlarms": alarms.delete_alarms,
        "TagResource": alarm_tags.tag_resource,
        "UntagResource": alarm_tags.untag_resource,
        "ListTagsForResource": alarm_tags.list_tags_for_resource,
    },
    "logs": {
        "DescribeLogGroups": log_groups.describe_log_groups,
        "DescribeLogStreams": log_groups.describe_log_streams,
        "GetLogEvents": log_events.get_log_events,
        "FilterLogEvents": log_events.filter_log_events,
        "StartLiveTail": live_tail.start_live_tail,
        "PutRetentionPolicy": log_groups.put_retention_policy,
        "DeleteRetentionPolicy": log_groups.delete_retention_policy,
        "DeleteLogGroup": log_groups.delete_log_group,
    },
}


def is_served(call: Call) -> bool:
    """Whether it is for a service of which anything is served."""
    known = dispatch.known_service(call.service)
    return known is not None and known.name in OPERATIONS


def find(call: Call) -> tuple[Operation, OperationModel] | None:
    """What serves a call, and its model; ``None`` when nothing does."""
    known = dispatch.known_service(call.service)
    if known is None:
        return None
    function = OPERATIONS.get(known.name, {}).get(call.operation)
    operation = known.operation(call.operation)
    return None if function is None or operation is None else (function, operation)
