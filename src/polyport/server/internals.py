"""What control knows of itself and of its gateways, for `/metrics`. Reads what is in memory, and the rows of alarms."""

import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from polyport.control.publish import Publisher
from polyport.control.reconcile import Reconciler
from polyport.control.view import View
from polyport.domain.alarms import AlarmRow
from polyport.domain.instances import InstanceState
from polyport.server.metering import Metering
from polyport.telemetry.metrics import process
from polyport.telemetry.metrics.families import Samples

Found = dict[str, Samples]


def of_gateways(publisher: Publisher) -> Found:
    """By worker; those that have not said yet how they are have no more than their version."""
    workers = {worker.hello.worker: worker for worker in publisher.workers}
    pulses = {name: worker.pulse for name, worker in workers.items() if worker.pulse is not None}
    return {
        "polyport_ready": {(): float(publisher.is_ready)},
        "polyport_table_version": {(): publisher.version},
        "polyport_gateway_workers": {(): len(workers)},
        "polyport_gateway_workers_expected": {(): publisher.expected},
        "polyport_gateway_table_version": {(name,): worker.acknowledged for name, worker in workers.items()},
        "polyport_gateway_connections": {(name,): pulse.connections for name, pulse in pulses.items()},
        "polyport_gateway_calls_in_flight": {(name,): pulse.calls for name, pulse in pulses.items()},
        "polyport_gateway_calls_waiting": {(name,): pulse.waiting for name, pulse in pulses.items()},
        "polyport_gateway_lag_seconds": {(name,): pulse.lag for name, pulse in pulses.items()},
        "polyport_gateway_log_lines_lost_total": {(name,): pulse.lost_lines for name, pulse in pulses.items()},
        "polyport_gateway_refusals_total": {
            (name, code): count for name, pulse in pulses.items() for code, count in pulse.refused.items()
        },
        "polyport_gateway_shadow_copies_total": {
            (name, result): count for name, pulse in pulses.items() for result, count in pulse.copies.items()
        },
        "polyport_process_cpu_seconds_total": {
            ("control",): process.cpu_seconds(),
            **{(name,): pulse.cpu for name, pulse in pulses.items()},
        },
        "polyport_process_memory_bytes": {
            ("control",): process.memory(),
            **{(name,): pulse.memory for name, pulse in pulses.items()},
        },
    }


def of_reconciler(reconciler: Reconciler) -> Found:
    """Endpoints, instances, and what the steps cost."""
    view, steps = reconciler.view, reconciler.steps
    containers = [container for state in view.states.values() for container in state.containers]
    restarts: Counter[str] = Counter()
    for container in containers:
        restarts[container.phase.value] += container.restarts
    return {
        "polyport_endpoints": _counts(endpoint.status.value for endpoint in view.endpoints.values()),
        "polyport_instances": _counts(_phase(view, state) for state in view.states.values()),
        "polyport_containers": _counts(container.phase.value for container in containers),
        "polyport_container_restarts": {(phase,): count for phase, count in restarts.items()},
        "polyport_reconciler_steps_total": {(): steps.took.count},
        "polyport_reconciler_failures_total": {(): steps.failures},
        "polyport_reconciler_step_seconds": {(): steps.took},
        "polyport_reconciler_jobs": {(): reconciler.jobs},
    }


def of_containers(metering: Metering) -> Found:
    """What they used at the last look."""
    used = dict(metering.used())
    return {
        "polyport_container_cpu_seconds_total": {key: usage.cpu_seconds for key, usage in used.items()},
        "polyport_container_memory_bytes": {key: usage.memory for key, usage in used.items()},
        "polyport_container_memory_limit_bytes": {
            key: usage.memory_limit for key, usage in used.items() if usage.memory_limit is not None
        },
    }


def of_disk(home: Path) -> Found:
    """The file system of the home; nothing when it cannot be asked."""
    try:
        found = shutil.disk_usage(home)
    except OSError:
        return {}
    return {"polyport_disk_bytes": {(): found.total}, "polyport_disk_free_bytes": {(): found.free}}


def of_alarms(rows: tuple[AlarmRow, ...], results: Counter[str]) -> Found:
    """Alarms by state, and what came of their actions."""
    return {
        "polyport_alarms": _counts(row.state.value for row in rows),
        "polyport_alarm_actions_total": {(result,): count for result, count in results.items()},
    }


def _phase(view: View, state: InstanceState) -> str:
    if state.stopping:
        return "stopping"
    return "healthy" if view.is_healthy(state.id) else "unhealthy"


def _counts(values: Iterable[str]) -> Samples:
    return {(value,): count for value, count in Counter(values).items()}
