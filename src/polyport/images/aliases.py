"""Names that stand for others, whatever the engine: one file for process images and for those of a daemon."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from polyport.errors import ImageError
from polyport.images import records, references
from polyport.images.places import Places
from polyport.images.records import Index


class Aliases:
    """The aliases of one home."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def all(self) -> dict[str, str]:
        """Pattern to image name."""
        return dict(sorted(read_index(self._places).aliases.items()))

    def target(self, name: str) -> str | None:
        """What the name stands for: the longest pattern that matches counts."""
        aliases = read_index(self._places).aliases
        pattern = references.best_match(name, aliases)
        return None if pattern is None else aliases[pattern]

    def put(self, pattern: str, name: str, check: Callable[[Index], None] = lambda _: None) -> None:
        """Lets all names that match ``pattern`` stand for ``name``. An alias of the same pattern is replaced.

        ``check`` may raise `ImageError`; nothing is removed meanwhile.
        """
        references.check_pattern(pattern)
        with changing_index(self._places) as index:
            check(index)
            index.aliases[pattern] = name if references.pinned(name) else references.parse(name).tagged

    def remove(self, pattern: str) -> None:
        """Raises `ImageError` when there is no such alias."""
        with changing_index(self._places) as index:
            if index.aliases.pop(pattern, None) is None:
                known = ", ".join(sorted(index.aliases)) or "none"
                raise ImageError(f"There is no alias {pattern!r}. Known aliases: {known}.")


def read_index(places: Places) -> Index:
    """As it is now; empty when there is none."""
    return records.read(places.index, Index) or Index()


@contextmanager
def changing_index(places: Places) -> Iterator[Index]:
    """The index, written when the block ends well."""
    with places.changing():
        index = read_index(places)
        yield index
        records.write(places.index, index)
