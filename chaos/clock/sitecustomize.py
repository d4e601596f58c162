"""Loaded by each Python process of the server that is under test: its wall clock is put off by what a file says."""

import mmap
import os
import struct
import time


def _shift(path: str) -> None:
    with open(path, "rb") as file:  # noqa: PTH123  at the start of every process, pathlib would have to be loaded
        held = mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ)
    real, real_ns = time.time, time.time_ns

    def offset() -> float:
        return float(struct.unpack("d", held[:8])[0])

    def shifted() -> float:
        return real() + offset()

    def shifted_ns() -> int:
        return real_ns() + int(offset() * 1e9)

    time.time, time.time_ns = shifted, shifted_ns


if os.environ.get("CHAOS_CLOCK"):
    _shift(os.environ["CHAOS_CLOCK"])
