"""``FailureReason``: begins as SageMaker's does, then says the cause and the fix. At most 1,024 characters."""

from collections.abc import Iterable

from polyport.control.health import Health, Rules
from polyport.domain import diagnosis as diagnoses
from polyport.domain.diagnosis import Evidence, Finding
from polyport.domain.endpoints import Mode, Variant
from polyport.domain.instances import ContainerState
from polyport.engines.contract import Diagnosis

LIMIT = 1024
#: What SageMaker says before there is anything to be said.
ADVICE = "Please check CloudWatch logs for this endpoint. "
#: What comes before the end of what a container printed.
OUTPUT = " Its last output:\n"


def evidence(
    container: ContainerState,
    health: Health,
    rules: Rules,
    diagnosis: Diagnosis,
    *,
    lived: float | None = None,
    overdue: bool = True,
) -> Evidence:
    """What is known of a container. Its last end counts until it runs again and listens."""
    is_up = container.pid is not None and bool(diagnosis.listening)
    return Evidence(
        port=container.port,
        listening=diagnosis.listening,
        unreachable=diagnosis.unreachable,
        end=None if is_up else container.last_exit,
        lived=lived,
        restarts=container.restarts,
        status=health.last.status,
        error=health.last.error,
        patience=rules.startup_timeout,
        overdue=overdue,
        output=diagnosis.output,
    )


def ping_failed(variant: Variant, container: ContainerState, finding: Finding | None) -> str:
    """Why a container that did not get healthy was given up; `clip` adds what it printed."""
    cause = finding.text if finding else "It did not get healthy."
    if container.pid is None and container.last_exit and diagnoses.never_ran(container.last_exit):
        return cannot_start(variant, container.hostname, cause)
    name = "primary container" if variant.mode is Mode.SINGLE else f"container {container.hostname}"
    text = f"The {name} for production variant {variant.name} did not pass the ping health check. "
    return text + ADVICE + cause


def cannot_start(variant: Variant, hostname: str, cause: str) -> str:
    """Why a container could not be started at all."""
    image = next((spec.image for spec in variant.containers if spec.hostname == hostname), "<image>")
    return (
        f"CannotStartContainerError. Please ensure the model container for variant {variant.name} starts correctly "
        f"when invoked with 'docker run {image} serve'. {cause}"
    )


def clip(text: str, output: tuple[str, ...]) -> str:
    """The text with as many of the last lines of output as fit; of a line that is longer than that, its end."""
    text = text.strip()[:LIMIT]
    lines = "\n".join(line for line in output if line.strip())
    room = LIMIT - len(text) - len(OUTPUT)
    if not lines or room <= 0:
        return text
    if len(lines) > room:
        lines = lines[-room:]
        # Whole lines, when there is one.
        lines = lines[lines.find("\n") + 1 :]
    return text + OUTPUT + lines


def join(reasons: Iterable[str]) -> str:
    """Several reasons in one, each told once."""
    return "\n".join(dict.fromkeys(filter(None, reasons)))[:LIMIT]
