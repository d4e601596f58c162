"""Which metrics Polyport publishes by itself: one table, for what counts, for what answers, and for the docs."""

from enum import StrEnum

import msgspec

#: Namespaces, as CloudWatch has them.
INVOCATIONS = "AWS/SageMaker"
INSTANCES = "/aws/sagemaker/Endpoints"


class Unit(StrEnum):
    """As CloudWatch spells it."""

    NONE = "None"
    MICROSECONDS = "Microseconds"
    PERCENT = "Percent"


class By(StrEnum):
    """Which dimensions a metric is published with; a metric has a series of its own for each of its sets."""

    VARIANT = "EndpointName, VariantName"
    CONTAINER = "EndpointName, VariantName, ContainerName"
    INSTANCE = "EndpointName, VariantName, InstanceId"
    CONFIG = "EndpointName, VariantName, EndpointConfigName"


class Source(StrEnum):
    """Who measures it."""

    GATEWAY = "gateway workers, at each invocation"
    SAMPLE = "gateway workers, once a second"
    ENGINE = "the engine, every ten seconds"
    CONTROL = "control, every ten seconds"


class Metric(msgspec.Struct, frozen=True):
    """One metric of one namespace."""

    namespace: str
    name: str
    unit: Unit
    by: tuple[By, ...]
    source: Source
    meaning: str


_V, _C, _I, _D = By.VARIANT, By.CONTAINER, By.INSTANCE, By.CONFIG

#: In the order of the docs. ``ContainerName`` is the ``ContainerHostname``; variants of one container have none.
METRICS = (
    Metric(INVOCATIONS, "Invocations", Unit.NONE, (_V, _C, _I, _D), Source.GATEWAY, "1 for each invocation"),
    Metric(
        INVOCATIONS,
        "Invocation4XXErrors",
        Unit.NONE,
        (_V, _C, _I, _D),
        Source.GATEWAY,
        "1 for each one that a container answered with a 4XX status, else 0",
    ),
    Metric(
        INVOCATIONS,
        "Invocation5XXErrors",
        Unit.NONE,
        (_V, _C, _I, _D),
        Source.GATEWAY,
        "1 for each one that a container answered with a 5XX status, else 0",
    ),
    Metric(
        INVOCATIONS,
        "InvocationModelErrors",
        Unit.NONE,
        (_V, _I, _D),
        Source.GATEWAY,
        "1 for each one that came to nothing in a container (a status that is not 2XX, a broken connection, a "
        "malformed answer, no answer in time), else 0",
    ),
    Metric(
        INVOCATIONS,
        "InvocationsPerInstance",
        Unit.NONE,
        (_V, _I, _D),
        Source.GATEWAY,
        "for each invocation, 1 divided by the number of instances that take traffic",
    ),
    Metric(
        INVOCATIONS,
        "ModelLatency",
        Unit.MICROSECONDS,
        (_V, _I, _D),
        Source.GATEWAY,
        "the time in containers, from the sending of the request to the end of the answer, of all stages together",
    ),
    Metric(
        INVOCATIONS,
        "OverheadLatency",
        Unit.MICROSECONDS,
        (_V, _C, _I, _D),
        Source.GATEWAY,
        "the time from the whole head of the request to the end of the answer, without that in containers",
    ),
    Metric(
        INVOCATIONS,
        "ContainerLatency",
        Unit.MICROSECONDS,
        (_C,),
        Source.GATEWAY,
        "the time in one container of a pipeline or of a direct endpoint",
    ),
    Metric(
        INVOCATIONS,
        "FirstChunkLatency",
        Unit.MICROSECONDS,
        (_V,),
        Source.GATEWAY,
        "of a response stream, the time to the first part of the answer",
    ),
    Metric(
        INVOCATIONS,
        "FirstChunkModelLatency",
        Unit.MICROSECONDS,
        (_V,),
        Source.GATEWAY,
        "that part of it that was spent in containers",
    ),
    Metric(
        INVOCATIONS,
        "FirstChunkOverheadLatency",
        Unit.MICROSECONDS,
        (_V,),
        Source.GATEWAY,
        "the rest of it",
    ),
    Metric(
        INVOCATIONS,
        "MidStreamErrors",
        Unit.NONE,
        (_V,),
        Source.GATEWAY,
        "1 for each response stream that broke off after it had begun, else 0",
    ),
    Metric(
        INVOCATIONS,
        "ConcurrentRequestsPerModel",
        Unit.NONE,
        (_V,),
        Source.SAMPLE,
        "invocations in flight, those that wait included; in periods of ten seconds",
    ),
    Metric(
        INSTANCES,
        "CPUUtilization",
        Unit.PERCENT,
        (_V, _C, _I),
        Source.ENGINE,
        "100 for each CPU that is busy; the containers of an instance together",
    ),
    Metric(
        INSTANCES,
        "MemoryUtilization",
        Unit.PERCENT,
        (_V, _C, _I),
        Source.ENGINE,
        "of the memory that a container may use, or that the machine has; the containers of an instance together",
    ),
    Metric(
        INSTANCES,
        "DiskUtilization",
        Unit.PERCENT,
        (_V,),
        Source.CONTROL,
        "of the file system that the home lies on; what only root may use counts as used up",
    ),
    Metric(
        INSTANCES,
        "GPUUtilization",
        Unit.PERCENT,
        (_V,),
        Source.CONTROL,
        "100 for each GPU of the machine that is busy; only where `nvidia-smi` answers",
    ),
    Metric(
        INSTANCES,
        "GPUMemoryUtilization",
        Unit.PERCENT,
        (_V,),
        Source.CONTROL,
        "100 for each GPU of the machine whose memory is full; only where `nvidia-smi` answers",
    ),
)

BY_NAME = {metric.name: metric for metric in METRICS}
