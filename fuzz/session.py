"""Runs targets for a time, one process each, and looks at what they leave."""

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

from fuzz import blind, target
from fuzz.target import Target

ROOT = Path(__file__).resolve().parents[1]
#: Seconds after which libFuzzer takes one input for a hang.
HANG = 20
#: Seconds that starting, instrumenting, reading a corpus and ending may take besides.
GRACE = 120
#: Megabytes of a target's process.
MOST_MEMORY = 2048
_STATUS = re.compile(r"^#(\d+)\s+\w+\s+cov: (\d+) ft: (\d+)", re.MULTILINE)
_DONE = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_PREFIXES = ("crash-", "timeout-", "oom-", "leak-")


@dataclass(frozen=True, slots=True)
class Plan:
    """How long (seconds) each target is run, from which seed, where inputs are kept, and how many run at once."""

    seconds: float
    seed: int
    corpus: Path
    jobs: int


@dataclass(slots=True)
class Report:
    """What came of a target. ``first`` and ``last``: places of the code that inputs reached, before and after; 0 if
    nobody looked. ``found``: files with inputs that show something."""

    name: str
    executions: int = 0
    seconds: float = 0.0
    first: int = 0
    last: int = 0
    found: list[Path] = field(default_factory=list)
    trouble: str = ""


def is_guided() -> bool:
    """Whether atheris is there; it has wheels for some machines only."""
    return find_spec("atheris") is not None


def run_all(names: Iterable[str], plan: Plan) -> Generator[Report, None, None]:
    """The reports, in that order. Closing the generator ends the processes."""
    is_over = threading.Event()
    with ThreadPoolExecutor(plan.jobs) as pool:
        try:
            yield from pool.map(lambda name: run(target.load(name), plan, is_over), names)
        finally:
            is_over.set()


def run(chosen: Target, plan: Plan, is_over: threading.Event) -> Report:
    """One target's turn: the inputs that are kept, then new ones. Ends early once it ``is_over``."""
    folder = plan.corpus / chosen.name
    for name in ("corpus", "seeds", "found"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for seed in chosen.seeds():
        (folder / "seeds" / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    return (_guided if is_guided() else _blind)(chosen, plan, folder, is_over)


def _guided(chosen: Target, plan: Plan, folder: Path, is_over: threading.Event) -> Report:
    tokens = folder / "tokens"
    tokens.write_text("".join(f'"{_escaped(token)}"\n' for token in chosen.tokens))
    before = _times(folder / "found")
    arguments = [
        *(f"-max_total_time={max(int(plan.seconds), 1)}", f"-seed={plan.seed}", f"-max_len={chosen.longest}"),
        *(f"-dict={tokens}", f"-artifact_prefix={folder / 'found'}/", f"-timeout={HANG}"),
        *(f"-rss_limit_mb={MOST_MEMORY}", "-print_final_stats=1", "-use_value_profile=1"),
        *(str(folder / "corpus"), str(folder / "seeds")),
    ]
    began = time.monotonic()
    # Whatever a target makes there goes with it, however it ends.
    with tempfile.TemporaryDirectory(prefix="polyport-fuzz-") as scratch, (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "fuzz.worker", chosen.name, *arguments],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": scratch},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        while process.poll() is None and not is_over.wait(0.1) and time.monotonic() - began < plan.seconds + GRACE:
            pass
        process.kill()
        status = process.wait()
    text = (folder / "log").read_text(errors="replace")
    report = _read(chosen.name, text, time.monotonic() - began)
    after = _times(folder / "found")
    report.found = sorted(path for path in after if after[path] != before.get(path) and path.name.startswith(_PREFIXES))
    if status and not report.found:
        report.trouble = f"ended with {status}: {text[-2000:]}"
    return report


def _times(folder: Path) -> dict[Path, int]:
    """When each file was written: what was found before may be found again."""
    return {path: path.stat().st_mtime_ns for path in folder.iterdir()}


def _read(name: str, text: str, seconds: float) -> Report:
    """What libFuzzer printed."""
    lines = _STATUS.findall(text)
    done = _DONE.search(text)
    executions = int(done[1]) if done else max((int(line[0]) for line in lines), default=0)
    seen = [int(line[1]) for line in lines]
    return Report(name, executions, seconds, *((seen[0], seen[-1]) if seen else (0, 0)))


def _blind(chosen: Target, plan: Plan, folder: Path, is_over: threading.Event) -> Report:
    report = Report(chosen.name)
    began = time.monotonic()
    for data in blind.inputs(chosen, plan.seed):
        if report.found or is_over.is_set() or time.monotonic() - began > plan.seconds:
            break
        report.executions += 1
        if failure(chosen, data) is not None:
            path = folder / "found" / f"crash-{hashlib.sha256(data).hexdigest()[:16]}"
            path.write_bytes(data)
            report.found.append(path)
    report.seconds = time.monotonic() - began
    return report


def failure(chosen: Target, data: bytes) -> Exception | None:
    """What an input shows; ``None``: everything holds."""
    try:
        chosen.check(data)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is what was looked for
        return error
    return None


def search(chosen: Target, seconds: float, seed: int = 1) -> bytes | None:
    """An input that shows something, found blindly within that time."""
    end = time.monotonic() + seconds
    for data in islice(blind.inputs(chosen, seed), 1_000_000):
        if failure(chosen, data) is not None:
            return data
        if time.monotonic() > end:
            break
    return None


def _escaped(token: bytes) -> str:
    """As libFuzzer reads it."""
    return "".join(chr(byte) if 32 <= byte < 127 and byte not in b'\\"' else f"\\x{byte:02x}" for byte in token)
