"""What the kernel says of processes, as the benchmark reads it."""

import os
import subprocess
import sys
import time

import pytest
from bench.processes import Memory, Stat

from bench import machine, processes


def stat_line(pid: int, name: str, parent: int, user: int, system: int, child_user: int, child_system: int) -> str:
    """A line as `/proc/PID/stat` has it, with unlike numbers around the fields that matter."""
    before = f"S {parent} 91 92 93 -1 4194304 100 200 300 400"
    return f"{pid} ({name}) {before} {user} {system} {child_user} {child_system} 20 0 1 0 5000 6000 7000"


@pytest.mark.parametrize("name", ["nginx", "a b", "x) S 1 (y", ")"])
def test_a_process_name_may_hold_anything(name: str) -> None:
    """Fields are counted from the last parenthesis: a name with blanks or parentheses does not shift them."""
    assert processes.parse_stat(stat_line(42, name, 7, 1, 20, 300, 4000)) == Stat(42, 7, 4321)


def test_memory_is_the_roll_up_in_bytes() -> None:
    """`smaps_rollup` counts in kB; other lines, also ones that begin alike, are left alone."""
    text = "5600-7ff [rollup]\nRss:   2048 kB\nPss:   1024 kB\nPss_Dirty:  99 kB\nRssFoo: x\n"
    assert processes.parse_memory(text) == Memory(rss=2048 * 1024, pss=1024 * 1024)


def test_a_tree_holds_children_of_children_and_nobody_else() -> None:
    """Whoever descends from the root belongs to it, in whatever order the kernel lists processes."""
    stats = [Stat(5, 4, 0), Stat(4, 2, 0), Stat(2, 1, 0), Stat(3, 1, 0), Stat(9, 8, 0), Stat(1, 0, 0)]
    assert set(processes.descendants(2, stats)) == {2, 4, 5}
    assert processes.descendants(9, stats) == [9]


def test_cpu_time_and_memory_of_a_real_process_are_seen() -> None:
    """A child that burns CPU is in this process's tree and shows CPU time and memory; once gone it shows none."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as child:
        try:
            until = time.monotonic() + 20
            while processes.cpu_seconds([child.pid]) < 0.1:
                assert time.monotonic() < until
            assert child.pid in processes.tree(os.getpid())
            assert processes.memory([child.pid]).rss > 1_000_000
        finally:
            child.kill()
    assert processes.cpu_seconds([child.pid]) == 0
    assert processes.memory([child.pid]) == Memory()
    assert processes.command_line(child.pid) == ""


@pytest.mark.parametrize(
    ("available", "client", "models", "system"),
    [
        ({0}, set(), set(), set()),
        ({0, 1}, {0}, {0}, {1}),
        ({2, 3, 5}, {2}, {3}, {5}),
        ({0, 1, 2, 3, 4}, {0}, {1}, {2, 3, 4}),
    ],
)
def test_the_system_under_test_has_cpus_of_its_own(
    available: set[int], client: set[int], models: set[int], system: set[int]
) -> None:
    """From two CPUs on, client and models never run where the system under test does."""
    assert machine.plan(available) == machine.Cpus(frozenset(client), frozenset(models), frozenset(system))
