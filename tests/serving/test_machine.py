"""What is told of the machine's disk and GPUs."""

import asyncio
from pathlib import Path

import pytest

from polyport.server import machine
from polyport.server.machine import Gpus, GpuWatch


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `nvidia-smi` that a test writes; the only program there is."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    return tmp_path / "nvidia-smi"


def write(program: Path, script: str) -> None:
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_gpus_are_added_up(program: Path) -> None:
    """100 for each GPU; what one does not tell counts as nothing."""
    write(program, 'test "$1" = --query-gpu=utilization.gpu,memory.used,memory.total || exit 1\n'
          'echo "40, 1000, 4000"; echo "90, 3000, 4000"; echo "[N/A], 0, [N/A]"')  # fmt: skip
    assert asyncio.run(GpuWatch().look()) == Gpus(130.0, 100.0)


def test_without_the_program_there_is_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nor a word in the log."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert asyncio.run(GpuWatch().look()) is None


@pytest.mark.parametrize("script", ["exit 9", "echo 'No devices were found'", "sleep 600", "true"])
def test_a_program_that_fails_is_left_alone_for_a_while(
    program: Path, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that hangs, as it does while a driver is stuck."""
    monkeypatch.setattr(machine, "LIMIT", 0.5)
    count = program.with_name("count")
    write(program, f"echo x >> {count}; {script}")

    async def main() -> None:
        watch = GpuWatch()
        for _ in range(machine.REST + 1):
            assert await watch.look() is None
        assert count.read_text() == "x\n"
        write(program, 'echo "1, 1, 1"')
        assert await watch.look() == Gpus(1.0, 100.0)

    asyncio.run(main())


def test_the_disk_is_told_in_percent(tmp_path: Path) -> None:
    """None of what cannot be asked."""
    found = machine.disk_used(tmp_path)
    assert found is not None
    assert 0 <= found <= 100
    assert machine.disk_used(tmp_path / "nowhere") is None
