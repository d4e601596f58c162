"""Everything that ``GET /metrics`` exports: one table, for what renders, for the docs, and for what is made of it
(`deploy/grafana`). Pure.
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from polyport.domain.counts import Tally
from polyport.domain.distributions import Distribution


class Kind(StrEnum):
    """As Prometheus spells it."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Family(msgspec.Struct, frozen=True):
    """One metric and its labels, in their order."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    text: str


Samples = Mapping[tuple[str, ...], float | Distribution]
"""By the values of the labels. Histograms have distributions, of microseconds; they are shown in seconds."""
Snapshot = Mapping[str, Samples]
"""By the name of the family."""

_VARIANT = ("account", "region", "endpoint", "variant")
_CONTAINER = (*_VARIANT, "container")
_USED = (*_CONTAINER, "instance_id")
_C, _G, _H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM
#: Of calls: the end of the name, the kind, the help text and the tally's field.
_COUNTED = (
    ("invocations_total", _C, "Invocations that came to their end.", "calls"),
    ("invocation_4xx_errors_total", _C, "Invocations that a container answered with a 4XX status.", "client_errors"),
    ("invocation_5xx_errors_total", _C, "Invocations that a container answered with a 5XX status.", "server_errors"),
    ("invocation_model_errors_total", _C, "Invocations that came to nothing in a container.", "model_errors"),
    ("mid_stream_errors_total", _C, "Response streams that broke off after they had begun.", "broken_streams"),
    ("latency_seconds", _H, "Time in the container.", "model"),
    ("overhead_seconds", _H, "Time of the invocation that was not spent in containers.", "overhead"),
)

#: In the order in which they are shown.
FAMILIES = (
    *(Family(f"polyport_container_{name}", kind, _CONTAINER, text) for name, kind, text, _ in _COUNTED),
    *(Family(f"polyport_pipeline_{name}", kind, _VARIANT, text) for name, kind, text, _ in _COUNTED),
    Family("polyport_invocations_in_flight", _G, _VARIANT, "Invocations that have begun and not ended."),
    Family("polyport_container_cpu_seconds_total", _C, _USED, "CPU time that a container has used since its start."),
    Family("polyport_container_memory_bytes", _G, _USED, "Memory that a container uses."),
    Family("polyport_container_memory_limit_bytes", _G, _USED, "Memory that a container may use, if it is limited."),
    Family("polyport_disk_bytes", _G, (), "Size of the file system of the home."),
    Family("polyport_disk_free_bytes", _G, (), "What is free of it for the server's user."),
    Family("polyport_ready", _G, (), "Whether every gateway worker serves by the latest table."),
    Family("polyport_table_version", _G, (), "The latest route table."),
    Family("polyport_gateway_workers", _G, (), "Gateway workers that are connected."),
    Family("polyport_gateway_workers_expected", _G, (), "Gateway workers that there should be."),
    Family("polyport_gateway_table_version", _G, ("worker",), "The latest route table that a worker has acknowledged."),
    Family("polyport_gateway_connections", _G, ("worker",), "Connections of clients."),
    Family("polyport_gateway_calls_in_flight", _G, ("worker",), "Invocations under way, copies for shadows too."),
    Family("polyport_gateway_calls_waiting", _G, ("worker",), "Invocations that wait in line for a container."),
    Family("polyport_gateway_lag_seconds", _G, ("worker",), "How late the worker's clock ticked the last time."),
    Family("polyport_gateway_refusals_total", _C, ("worker", "code"), "Invocations that were refused at the door."),
    Family(
        "polyport_gateway_shadow_copies_total",
        _C,
        ("worker", "result"),
        "Copies for shadow variants: answered, failed or dropped.",
    ),
    Family("polyport_gateway_log_lines_lost_total", _C, ("worker",), "Lines of the access log that were lost."),
    Family("polyport_endpoints", _G, ("status",), "Endpoints by EndpointStatus."),
    Family("polyport_instances", _G, ("phase",), "Instances: healthy, unhealthy (also those that start), stopping."),
    Family("polyport_containers", _G, ("phase",), "Containers by what the engine says of them."),
    Family("polyport_container_restarts", _G, ("phase",), "Restarts of the containers that there are, by their phase."),
    Family("polyport_reconciler_steps_total", _C, (), "Steps of endpoints."),
    Family("polyport_reconciler_failures_total", _C, (), "Steps that failed and are tried again."),
    Family("polyport_reconciler_step_seconds", _H, (), "Time of a step: read, decide, write."),
    Family("polyport_reconciler_jobs", _G, (), "Work in the background: endpoints driven, actions under way."),
    Family("polyport_alarms", _G, ("state",), "Alarms by state."),
    Family("polyport_alarm_actions_total", _C, ("result",), "Actions of alarms: done, failed, or to be tried again."),
    Family("polyport_metrics_dropped_total", _C, (), "Counts that could not be kept in the file of metrics."),
    Family("polyport_audit_records_lost_total", _C, (), "Records of the audit log that were lost."),
    Family("polyport_captured_calls_total", _C, _VARIANT, "Invocations that data capture has kept."),
    Family("polyport_capture_drops_total", _C, (*_VARIANT, "reason"), "Invocations that it should have kept."),
    Family("polyport_capture_objects_total", _C, (), "Objects of captured invocations that were sent."),
    Family("polyport_capture_send_failures_total", _C, (), "Tries to send one that failed."),
    Family("polyport_capture_spool_bytes", _G, (), "Captured invocations that wait on the disk."),
    Family("polyport_process_cpu_seconds_total", _C, ("process",), "CPU time of control and of gateway workers."),
    Family("polyport_process_memory_bytes", _G, ("process",), "Memory (RSS) of control and of gateway workers."),
)


def of_calls(totals: Mapping[tuple[str, ...], Tally]) -> dict[str, Samples]:
    """``totals`` by account, region, endpoint, variant and container; of a whole pipeline, the container is empty."""
    containers = {key: tally for key, tally in totals.items() if key[-1]}
    pipelines = {key[:-1]: tally for key, tally in totals.items() if not key[-1]}
    return {
        f"polyport_{prefix}_{name}": {key: getattr(tally, field) for key, tally in tallies.items()}
        for prefix, tallies in (("container", containers), ("pipeline", pipelines))
        for name, _, _, field in _COUNTED
    }
