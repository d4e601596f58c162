"""A picture as lines of text that fit a terminal. Pure."""

from collections.abc import Callable, Iterator
from datetime import datetime

import msgspec
from rich.text import Text

from polyport.cli.cases import State
from polyport.cli.top.loads import Latency, Load
from polyport.cli.top.picture import EndpointPicture, InstancePicture, Picture, StagePicture, Use, VariantPicture
from polyport.control import failure

#: How much is shown, most of it first: containers of each instance, instances, containers of variants, endpoints alone.
#: What is not well is shown by all but the last.
CONTAINERS, INSTANCES, STAGES, VARIANTS, ENDPOINTS = LEVELS = (4, 3, 2, 1, 0)
#: Columns that names and states are given at least before columns of figures are left out.
_FLEXIBLE = 44
_WELL = {"InService", State.HEALTHY}
_ILL = {"Failed", "UpdateRollbackFailed", State.UNHEALTHY, State.ENDED}


class Row(msgspec.Struct, frozen=True):
    """One line. With a ``note`` it is that sentence alone; without a ``load`` or ``use`` it has no such figures.
    ``latency`` is of what has no load of its own."""

    depth: int
    name: str = ""
    state: str = ""
    style: str = ""
    load: Load | None = None
    use: Use | None = None
    latency: Latency | None = None
    note: str = ""


class Column(msgspec.Struct, frozen=True):
    """One column of figures. The higher its ``rank``, the sooner it is left out."""

    title: str
    width: int
    rank: int
    show: Callable[[Row], str]


def _of_load(show: Callable[[Load], str]) -> Callable[[Row], str]:
    return lambda row: show(row.load) if row.load else ""


def _of_latency(name: str) -> Callable[[Row], str]:
    return lambda row: _milliseconds(row.load.latency if row.load else row.latency, name)


COLUMNS = (
    Column("CALLS/S", 8, 0, _of_load(lambda load: _rate(load.calls))),
    Column("BUSY", 6, 9, _of_load(lambda load: "" if load.in_flight is None else f"{load.in_flight:.0f}")),
    Column("P50 MS", 8, 3, _of_latency("p50")),
    Column("P90 MS", 8, 7, _of_latency("p90")),
    Column("P99 MS", 8, 1, _of_latency("p99")),
    Column("4XX", 6, 8, _of_load(lambda load: f"{load.errors_4xx}")),
    Column("5XX", 6, 6, _of_load(lambda load: f"{load.errors_5xx}")),
    Column("FAILED", 7, 2, _of_load(lambda load: f"{load.failures}")),
    Column("CPU %", 7, 5, lambda row: "" if row.use is None or row.use.cpu is None else f"{row.use.cpu:.1f}"),
    Column("MEMORY", 12, 4, lambda row: _memory(row.use) if row.use else ""),
)


def draw(picture: Picture, width: int | None = None, height: int | None = None) -> Text:
    """As much of it as fits; all of it without limits."""
    head = _head(picture)
    room = None if height is None else height - len(head) - 1
    rows, left = _fit(picture, room)
    columns = fit_columns(width)
    taken = sum(column.width for column in columns)
    name, state = _widths(rows, None if width is None else width - taken)
    title = f"{'':{name}}{'':{state}}" + "".join(f"{column.title:>{column.width}}" for column in columns)
    lines = [*head, Text(title, "dim"), *(_line(row, name, state, columns) for row in rows)]
    if left:
        lines.append(Text(f"and {left} more endpoints: polyport top ENDPOINT shows one", "dim"))
    for line in lines:
        if width is not None:
            line.truncate(width, overflow="ellipsis")
    return Text("\n").join(lines[:height])


def fit_columns(width: int | None) -> tuple[Column, ...]:
    """The columns of figures that there is room for, those that matter most."""
    columns = list(COLUMNS)
    while width is not None and columns and sum(column.width for column in columns) > width - _FLEXIBLE:
        columns.remove(max(columns, key=lambda column: column.rank))
    return tuple(columns)


def rows_of(endpoint: EndpointPicture, level: int) -> Iterator[Row]:
    """One endpoint in as much detail as the level says."""
    yield Row(0, endpoint.endpoint, _status(endpoint), _style(endpoint.status), _sum(endpoint), endpoint.use)
    if level == ENDPOINTS:
        return
    for step in endpoint.steps:
        yield Row(1, note=step, style="yellow")
    if endpoint.reason:
        yield Row(1, note=_reason(endpoint.reason), style="red")
    for variant in endpoint.variants:
        yield from _variant(variant, level)


def _variant(variant: VariantPicture, level: int) -> Iterator[Row]:
    name = f"{variant.variant} (shadow)" if variant.shadow else variant.variant
    state = f"{variant.healthy} of {variant.count} healthy"
    style = _style(State.HEALTHY if variant.healthy == variant.count else State.STARTING)
    yield Row(1, name, state, style, variant.load, variant.use)
    if level >= STAGES:
        yield from (_stage(stage) for stage in variant.stages)
        if variant.load.overhead:
            yield Row(2, "(gateway)", latency=variant.load.overhead)
    for instance in variant.instances:
        yield from _instance(instance, level)


def _stage(stage: StagePicture) -> Row:
    style = _style(State.HEALTHY if stage.healthy == stage.count else State.STARTING)
    return Row(2, stage.hostname, f"{stage.healthy} of {stage.count} healthy", style, stage.load, stage.use)


def _instance(instance: InstancePicture, level: int) -> Iterator[Row]:
    is_quiet = instance.part == "active" and instance.state == State.HEALTHY and not instance.cause
    if level < INSTANCES and is_quiet:
        return
    state = instance.state if instance.part in ("active", instance.state) else f"{instance.part}, {instance.state}"
    yield Row(2, instance.id, state, _style(instance.state), instance.load, instance.use)
    if instance.cause:
        yield Row(3, note=_cause(instance.name, instance.cause), style="red")
    for each in instance.containers:
        if level >= CONTAINERS:
            yield Row(3, each.hostname, each.state, _style(each.state), use=each.use)
        if each.cause:
            yield Row(3, note=f"{each.hostname}: {_cause(each.name, each.cause)}", style="red")


def _fit(picture: Picture, room: int | None) -> tuple[list[Row], int]:
    """The rows of the most detailed level that fits, and how many endpoints are left out by the least detailed."""
    rows: list[Row] = []
    for level in LEVELS:
        rows = [row for endpoint in picture.endpoints for row in rows_of(endpoint, level)]
        if room is None or len(rows) <= room:
            return rows, 0
    shown = max(0, (room or 0) - 1)
    return rows[:shown], len(rows) - shown


def _head(picture: Picture) -> list[Text]:
    variants = [variant for endpoint in picture.endpoints for variant in endpoint.variants]
    healthy, count = sum(each.healthy for each in variants), sum(each.count for each in variants)
    time = datetime.fromtimestamp(picture.at).astimezone().strftime("%H:%M:%S")
    server = picture.server or "no server runs on this home any more: what it knew last"
    figures = (
        f"{_count(len(picture.endpoints), 'endpoint')}, {healthy} of {_count(count, 'instance')} healthy, "
        f"{_rate(sum(each.calls for each in picture.endpoints))} calls a second"
    )
    return [
        Text.assemble((f"polyport top {time}", "bold"), "  ", (server, "" if picture.server else "red")),
        Text(f"{figures}; latencies and errors of the last minute"),
    ]


def _widths(rows: list[Row], room: int | None) -> tuple[int, int]:
    """Of the columns of names and of states."""
    name = max((2 * row.depth + len(row.name) + 2 for row in rows if not row.note), default=0)
    state = max((len(row.state) + 1 for row in rows), default=0)
    if room is None or name + state <= room:
        return name, state
    state = min(state, max(12, room // 3))
    return max(4, min(name, room - state)), state


def _line(row: Row, name: int, state: int, columns: tuple[Column, ...]) -> Text:
    indent = "  " * row.depth
    if row.note:
        return Text(f"{indent}{row.note}", row.style)
    figures = "".join(f"{column.show(row):>{column.width}}" for column in columns)
    return Text.assemble(
        (_cut(indent + row.name, name), "bold" if row.depth == 0 else ""), (_cut(row.state, state), row.style), figures
    )


def _cut(text: str, width: int) -> str:
    """Exactly so wide, the last column empty."""
    return f"{text if len(text) < width else text[: max(0, width - 2)] + '…':{width}}"


def _status(endpoint: EndpointPicture) -> str:
    healthy, count = sum(each.healthy for each in endpoint.variants), sum(each.count for each in endpoint.variants)
    return endpoint.status if healthy == count else f"{endpoint.status} ({healthy} of {count})"


def _sum(endpoint: EndpointPicture) -> Load:
    """Of one variant all there is; of several what can be added up."""
    loads = [each.load for each in endpoint.variants if not each.shadow]
    if len(loads) == 1:
        return loads[0]
    busy = [each.in_flight for each in loads if each.in_flight is not None]
    return Load(
        endpoint.calls,
        sum(busy) if busy else None,
        errors_4xx=sum(each.errors_4xx for each in loads),
        errors_5xx=sum(each.errors_5xx for each in loads),
        failures=endpoint.failures,
    )


def _style(state: str) -> str:
    return "green" if state in _WELL else "red" if state in _ILL else "yellow"


def _cause(name: str, cause: str) -> str:
    return f"{name}: {cause}" if name else f"to be replaced: {cause}"


def _reason(reason: str) -> str:
    """What SageMaker always says goes first, and would take the room."""
    _, _, cause = reason.partition(failure.ADVICE)
    return " ".join((cause or reason).partition(failure.OUTPUT)[0].split())


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _rate(calls: float) -> str:
    return f"{calls:.0f}" if calls >= 100 or not calls else f"{calls:.1f}"


def _milliseconds(latency: Latency | None, name: str) -> str:
    if latency is None:
        return ""
    value: float = getattr(latency, name)
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _memory(use: Use) -> str:
    if use.memory is None:
        return ""
    return _bytes(use.memory) + (f"/{_bytes(use.memory_limit)}" if use.memory_limit else "")


def _bytes(count: float) -> str:
    for unit in "BKMG":
        if count < 1000:
            return f"{count:.0f}{unit}" if count >= 10 or unit == "B" else f"{count:.1f}{unit}"
        count /= 1024
    return f"{count:.1f}T"
