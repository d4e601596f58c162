"""Memory of large bodies: kept while it is of use, and given back."""

import subprocess
import sys

import pytest

PROGRAM = """
import os
from polyport.gateway.heap import Heap

# What the look itself took from malloc could come to lie at the heap's end, and hold all before it.
statm = os.open("/proc/self/statm", os.O_RDONLY)

def resident():
    return int(os.pread(statm, 100, 0).split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20

heap = Heap()
before = resident()
pieces = [bytes(256 * 1024) for _ in range(400)]
for place in range(400):
    pieces[place] = b"x" * (256 * 1024)
held = resident() - before
pieces.clear()
kept = resident() - before
gave = heap.give_back()
print(held, kept, gave, resident() - before, heap.give_back())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_what_is_left_over_is_kept_until_it_is_given_back() -> None:
    """100 MB of pieces, freed: there for the next body at once, and gone with the next second's look."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    held, kept, gave, left, again = done.stdout.split()
    assert float(held) > 90
    assert float(kept) > 60
    assert gave == "True"
    assert float(left) < 20
    assert again == "False"
