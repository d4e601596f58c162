"""What malloc (glibc's; elsewhere nothing happens) does with the memory of large bodies.

Left alone it asks the kernel for each of their pieces anew and gives it back at once, and a third of the time goes to
page faults. So it keeps what it has, and is told once a second to give back what was left over.
"""

import ctypes

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
#: Bytes: larger pieces are still asked for one by one.
LARGEST = 1024 * 1024
#: Bytes at the heap's end that are kept in any case, and from which on it is worth giving back.
KEPT = 2 * 1024 * 1024
WORTH = 8 * 1024 * 1024
#: No more is ever kept than the largest of bodies and a few of their kind.
MOST = 256 * 1024 * 1024


class _Info(ctypes.Structure):
    """glibc's ``struct mallinfo2``; ``keepcost`` are the bytes at the heap's end that nobody uses."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks"),
            "keepcost",
        )
    )


class Heap:
    """This process's. Made once, at its start."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None)
        self._libc = libc if all(hasattr(libc, name) for name in ("mallopt", "mallinfo2", "malloc_trim")) else None
        if self._libc is not None:
            self._libc.mallinfo2.restype = _Info
            self._libc.malloc_trim.argtypes = (ctypes.c_size_t,)
            self._libc.mallopt(M_MMAP_THRESHOLD, LARGEST)
            self._libc.mallopt(M_TRIM_THRESHOLD, MOST)

    def give_back(self) -> bool:
        """What is left over goes back to the kernel, if it is worth it. Says whether it was."""
        if self._libc is None or self._libc.mallinfo2().keepcost < WORTH:
            return False
        return bool(self._libc.malloc_trim(KEPT))
