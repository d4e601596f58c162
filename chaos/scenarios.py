"""Each scenario breaks one thing, many times, and measures what the promise about it names."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from chaos import calls, checks, mix
from chaos.calls import CONNECTION, MODEL_ERROR, UNAVAILABLE
from chaos.ground import IMAGE, Broken, Ground, containers_of, variant, wait_for
from chaos.updates import Updates

Say = Callable[[str], None]


class Plan(msgspec.Struct, frozen=True):
    """How much: ``times`` a scenario repeats its fault, ``seconds`` the mix goes on; ``seed`` of all choices."""

    times: int
    seconds: float
    seed: int


class Result(msgspec.Struct, frozen=True):
    """What came of a scenario. ``figures`` are measures by name; ``broken`` are promises that were not kept."""

    scenario: str
    promise: str
    plan: Plan
    calls: int
    #: Failed calls that a fault excuses, by fault and outcome.
    excused: dict[str, int]
    #: Failed calls that nothing excuses, by outcome.
    failed: dict[str, int]
    figures: dict[str, float | str]
    broken: tuple[str, ...]
    #: Limits of time that were not kept. They are for a quiet machine.
    slow: tuple[str, ...] = ()


class Scenario(msgspec.Struct, frozen=True):
    """``times`` is for `make chaos`, ``full`` is what the targets name."""

    name: str
    promise: str
    run: Callable[["Run"], None]
    times: int
    full: int
    small_disk: bool = False


class Run:
    """One scenario under way: the ground, and what is found out."""

    def __init__(self, ground: Ground, plan: Plan, say: Say) -> None:
        self.ground = ground
        self.plan = plan
        self.say = say
        self.draw = random.Random(plan.seed)  # noqa: S311  chances, not secrets
        self.figures: dict[str, float | str] = {}
        self.broken: list[str] = []
        self.slow: list[str] = []

    def measure(self, what: str, seconds: float, most: float | None = None) -> None:
        """A figure, and the target it has."""
        self.figures[what] = round(seconds, 2)
        if most is not None and seconds > most:
            self.slow.append(f"{what}: {seconds:.2f} s, the target is {most:.2f} s")

    def repeat(self, what: str) -> Iterator[int]:
        """As often as planned."""
        for number in range(self.plan.times):
            self.say(f"{what} {number + 1} of {self.plan.times}")
            yield number

    @contextmanager
    def load(self, *endpoints: str) -> Iterator[None]:
        """A client calls while the block goes on."""
        self.ground.start_client(*endpoints)
        yield
        # What fails a moment after the last fault counts too.
        time.sleep(1)
        self.ground.stop_client()


def run(scenario: Scenario, plan: Plan, say: Say) -> Result:
    """From an empty home to a verdict. Never raises for what the server does."""
    with Ground(small_disk=scenario.small_disk, say=say) as ground:
        run = Run(ground, plan, say)
        try:
            scenario.run(run)
        except Broken as error:
            run.broken.append(str(error))
        seen = ground.stop_client()
        try:
            checks.converged(ground)
        except Broken as error:
            run.broken.append(str(error))
        verdict = calls.judge(seen, ground.faults, ground.got())
        broken = [*run.broken, *checks.of_home(ground), *_sentences(verdict)]
        tracebacks = ground.log().count("Traceback (most recent call last)")
        if broken:
            _keep_log(ground, scenario.name)
        return Result(
            scenario=scenario.name,
            promise=scenario.promise,
            plan=plan,
            calls=verdict.calls,
            excused=verdict.excused,
            failed=dict(Counter(call.outcome for call in verdict.broken)),
            figures=run.figures | ({"tracebacks in the log": float(tracebacks)} if tracebacks else {}),
            broken=tuple(broken),
            slow=tuple(run.slow),
        )


def _sentences(verdict: calls.Verdict) -> Iterator[str]:
    for call in verdict.broken[:5]:
        took = call.ended - call.began
        yield f"call {call.id} failed at {call.ended:.3f}, {took:.3f} s after it began: {call.text[:300]}"
    if len(verdict.broken) > 5:
        yield f"and {len(verdict.broken) - 5} more calls failed"
    if verdict.doubled:
        yield f"{len(verdict.doubled)} calls reached a container twice: {', '.join(verdict.doubled[:5])}"


def _keep_log(ground: Ground, name: str) -> None:
    folder = Path(".chaos")
    folder.mkdir(exist_ok=True)
    faults = "".join(f"{one.began:.3f} {one.over:.3f} {one.kind} {one.target}\n" for one in ground.faults)
    (folder / f"{name}.log").write_text(f"{ground.log()}\n--- faults (monotonic seconds)\n{faults}")


# --- the scenarios


def updates(run: Run) -> None:
    """Every strategy in turn, containers healthy."""
    ground = run.ground
    ground.create("moving")
    with run.load("moving"):
        change = Updates(ground, "moving")
        began = time.monotonic()
        for _ in run.repeat("update"):
            change.step()
    run.figures["seconds per update"] = round((time.monotonic() - began) / run.plan.times, 2)
    run.figures["updates"] = ", ".join(f"{name} {count}" for name, count in change.done.items() if count)
    if change.rolled_back:
        run.broken.append(f"{change.rolled_back} updates were rolled back although the containers are healthy")


def instance_kills(run: Run) -> None:
    """All containers of one of two instances at once."""
    ground = run.ground
    ground.create("steady", containers=2)
    most = back = 0.0
    with run.load("steady"):
        for _ in run.repeat("kill of an instance's containers"):
            time.sleep(run.draw.uniform(0.2, 1.0))
            victim = run.draw.choice(ground.instances("steady"))
            fault = ground.kill("containers", ground.containers(victim), (MODEL_ERROR,), "steady", victim.id)
            ground.wait_in_service("steady")
            back = max(back, time.monotonic() - fault.began)
            most = max(most, calls.in_flight(ground.calls(), fault))
    run.measure("seconds until both serve again, at most", back)
    run.figures["calls in flight in the endpoint at a kill, at most"] = most


def control_kills(run: Run) -> None:
    """At random moments, updates running."""
    ground = run.ground
    ground.create("steady")
    ground.create("moving")
    with run.load("steady", "moving"), Updates(ground, "moving") as change:
        for _ in run.repeat("kill of control"):
            before = ground.control()
            if run.draw.random() < 0.5:
                wait_for(ground.is_ready, "control to be back")
            time.sleep(run.draw.uniform(0.0, 1.5))
            ground.kill("control", [before])
    run.broken += change.troubles
    run.figures["updates"] = float(sum(change.done.values()))
    run.figures["updates rolled back"] = float(change.rolled_back)


def worker_kills(run: Run) -> None:
    """One of two, and how long until another serves in its place."""
    ground = run.ground
    ground.create("steady")
    slowest = 0.0
    with run.load("steady"):
        for _ in run.repeat("kill of a gateway worker"):
            victim = run.draw.choice(ground.workers())
            fault = ground.kill("gateway worker", [victim], (CONNECTION,), target=str(victim))
            wait_for(lambda victim=victim: len({*ground.workers()} - {victim}) == 2, "another worker")  # type: ignore[misc]
            wait_for(ground.is_ready, "all workers to serve")
            slowest = max(slowest, time.monotonic() - fault.began)
            time.sleep(run.draw.uniform(0.2, 1.0))
    run.measure("seconds until replaced, at most", slowest, 1.0)


def everything_kills(run: Run) -> None:
    """`kill -9` of all processes at once, then a start."""
    ground = run.ground
    ground.create("steady", containers=2)
    ground.create("moving")
    start_up = container_start_up()
    slowest = 0.0
    with run.load("steady", "moving"):
        for _ in run.repeat("kill of everything"):
            instances = ground.instances()
            pids = [ground.launcher, *ground.children(""), *map(ground.supervisor, instances)]
            began = time.monotonic()
            for pid in (*filter(None, pids), *ground.containers(*instances)):
                _kill(pid)
            ground.reap()
            ground.start()
            ground.wait_in_service("steady", "moving")
            slowest = max(slowest, time.monotonic() - began)
            ground.note("everything", "", began, (CONNECTION, MODEL_ERROR, UNAVAILABLE, "ValidationError"))
            time.sleep(run.draw.uniform(0.5, 1.5))
    run.measure("seconds until all are InService, at most", slowest, start_up + 3.0)
    run.measure("of them the containers' own start-up", start_up)


def weights(run: Run) -> None:
    """From UpdateEndpointWeightsAndCapacities to traffic that goes elsewhere."""
    ground, sagemaker = run.ground, run.ground.client()
    for name in ("left", "right"):
        sagemaker.create_model(ModelName=name, PrimaryContainer=containers_of(1, name)[0] | {"Image": IMAGE})
    variants = [variant("left", "left", 1, 1), variant("right", "right", 1, 0)]
    sagemaker.create_endpoint_config(EndpointConfigName="two", ProductionVariants=variants)
    sagemaker.create_endpoint(EndpointName="two", EndpointConfigName="two")
    ground.wait_in_service("two")
    slowest = 0.0
    with run.load("two"):
        for number in run.repeat("change of weights"):
            to = ("right", "left")[number % 2]
            wanted = [{"VariantName": name, "DesiredWeight": float(name == to)} for name in ("left", "right")]
            began = time.monotonic()
            sagemaker.update_endpoint_weights_and_capacities(EndpointName="two", DesiredWeightsAndCapacities=wanted)
            time.sleep(1.5)
            ground.wait_in_service("two")
            # The last call that began when its answer still came from the other.
            late = [call.began for call in ground.calls() if call.by == f"{'left' if to == 'right' else 'right'}-first"]
            slowest = max(slowest, max(late, default=began) - began)
            wait_for(lambda to=to: ground.calls()[-1].by == f"{to}-first", f"the traffic to go to {to}")  # type: ignore[misc]
    run.measure("seconds until the traffic follows, at most", slowest, 1.0)


def replacements(run: Run) -> None:
    """`polyport serve --replace` over the running server, updates running."""
    ground = run.ground
    ground.create("steady")
    ground.create("moving")
    slowest = 0.0
    with run.load("steady", "moving"), Updates(ground, "moving") as change:
        for _ in run.repeat("server that takes over"):
            before, instances = ground.launcher, ground.instances("steady")
            began = time.monotonic()
            ground.start("--replace")
            slowest = max(slowest, time.monotonic() - began)
            wait_for(lambda before=before: _has_ended(before), "the older server to end")  # type: ignore[misc]
            if ground.instances("steady") != instances:
                run.broken.append("other instances run than before a server took over")
    run.broken += change.troubles
    run.figures["updates"] = float(sum(change.done.values()))
    run.measure("seconds until the newer serves, at most", slowest)


def random_mix(run: Run) -> None:
    """Everything at random moments, updates of every strategy running."""
    mix.go(run.ground, run.plan.seed, run.plan.seconds, run.say, run.figures, run.broken)


def container_start_up() -> float:
    """Seconds from the start of the model server, alone, until it answers."""
    port = 19999
    environ = {**os.environ, "SAGEMAKER_BIND_TO_PORT": str(port)}
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).parent / "model" / "serve.py")], env=environ, stdout=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: checks.answers(port), "a model server")
        return time.monotonic() - began
    finally:
        process.kill()
        process.wait()


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _has_ended(pid: int) -> bool:
    """A child of ours that nobody else waits for."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


SCENARIOS = (
    Scenario("updates", "no call fails while every strategy updates", updates, 5, 50),
    Scenario("instance-kills", "only calls in flight in the killed instance fail", instance_kills, 4, 20),
    Scenario("control-kills", "no call fails, updates go on", control_kills, 8, 100),
    Scenario("worker-kills", "only its own calls fail; replaced in less than 1 s", worker_kills, 2, 10),
    Scenario("everything-kills", "InService again in the containers' start-up plus 3 s", everything_kills, 2, 10),
    Scenario("weights", "the traffic follows in less than 1 s", weights, 4, 20),
    Scenario("replacements", "no call fails while a server takes over", replacements, 2, 10),
    Scenario("mix", "all of it at random: every promise holds, and the system converges", random_mix, 1, 1, True),
)
