"""The images of one home: built, named, found, removed."""

import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from polyport.errors import ImageError
from polyport.images import environments, manifest, records, references
from polyport.images.aliases import Aliases, changing_index, read_index
from polyport.images.builds import Build
from polyport.images.places import Places
from polyport.images.records import Index, ProcessImage, Progress, Record, Step

#: The values that the registry gives are reached through it.
__all__ = ["ProcessImage", "Progress", "Registry", "Step"]


class Registry:
    """Builds images, and finds them by name. Any number of processes may use one home at the same time."""

    def __init__(self, home: Path) -> None:
        self.places = Places(home)
        self._aliases = Aliases(self.places)

    def build(
        self, folder: Path, tag: str, progress: Progress = lambda _: None, *, upgrade: bool = False
    ) -> ProcessImage:
        """Makes the folder an image named ``tag``. The same content again is the same image, and takes no time.

        Versions that the tag's earlier build resolved stay as long as they fit the requirements; ``upgrade`` resolves
        anew. Raises `ImageError`; the tag is then what it was before.
        """
        reference = references.parse(tag)
        if reference.digest:
            raise ImageError(f"{tag!r}: a tag is NAME or NAME:TAG; the digest comes from the content")
        folder = folder.absolute()
        with _explained(), self.places.building(lambda: progress(Step("Waiting for another build", 0.0))) as held:
            progress(Step("Reading", 0.0))
            found = manifest.read(folder)
            self.places.prepare()
            previous = "" if upgrade else self._previous_lock(reference)
            with self.places.stage() as stage:
                digest = Build(self.places, stage, folder, found, progress, held).run(previous)
            with changing_index(self.places) as index:
                index.tags[reference.tagged] = digest
            progress(Step("Done", 1.0))
        return self._load(reference.tagged, digest)

    def list(self) -> tuple[ProcessImage, ...]:
        """All tagged images by name."""
        return tuple(self._load(name, digest) for name, digest in sorted(read_index(self.places).tags.items()))

    def resolve(self, name: str) -> ProcessImage:
        """The image of that name: an exact tag, or a digest that is here (tagged or not), or else an alias, the longest
        pattern first. Raises `ImageError` naming what is known."""
        index = read_index(self.places)
        found = self._exact(index, name)
        if found is None:
            pattern = references.best_match(name, index.aliases)
            found = None if pattern is None else self._exact(index, index.aliases[pattern])
        if found is None:
            raise ImageError(_unknown(name, index))
        return self._load(*found)

    def remove(self, name: str, *, in_use: Iterable[str] = (), force: bool = False) -> None:
        """Takes the tag away; content and environments that nothing else needs go too.

        ``in_use`` are digests (or ``...@sha256:...``) that endpoints run. Raises `ImageError` when the tag is unknown,
        the last one of an image in use, or the target of an alias; ``force`` removes the tag and its aliases, and still
        keeps content that is in use.
        """
        busy = _digests(in_use)
        tag = references.parse(name).tagged
        with _explained(), changing_index(self.places) as index:
            if tag not in index.tags:
                raise ImageError(_unknown(name, index))
            aliases = [pattern for pattern, target in index.aliases.items() if target == tag]
            if aliases and not force:
                raise ImageError(f"{tag} is what {', '.join(map(repr, aliases))} stands for; remove the alias first")
            digest = index.tags.pop(tag)
            if digest in busy and digest not in index.tags.values() and not force:
                raise ImageError(f"{tag} is used by an endpoint")
            for pattern in aliases:
                del index.aliases[pattern]
        self._clear({digest} - busy)

    def prune(self, in_use: Iterable[str] = ()) -> tuple[str, ...]:
        """Removes the content that lost its tag to a later build and is not ``in_use``; returns the digests."""
        if not self.places.contents.is_dir():
            return ()
        here = {f"sha256:{path.name}" for path in self.places.contents.iterdir()}
        return self._clear(here - _digests(in_use))

    def alias(self, pattern: str, name: str) -> None:
        """Lets all names that match ``pattern`` (``*``, ``?``, ``[...]``) stand for the image ``name``, which must be
        there. An alias of the same pattern is replaced."""

        def check(index: Index) -> None:
            if self._exact(index, name) is None:
                raise ImageError(_unknown(name, index))

        with _explained():
            self._aliases.put(pattern, name, check)

    def aliases(self) -> dict[str, str]:
        """Pattern to image name."""
        return self._aliases.all()

    def unalias(self, pattern: str) -> None:
        """Raises `ImageError` when there is no such alias."""
        with _explained():
            self._aliases.remove(pattern)

    def _exact(self, index: Index, name: str) -> tuple[str, str] | None:
        """(name, digest) if it is here. A name that no image can have may still match an alias."""
        pinned = references.pinned(name)
        if pinned:
            return (name, pinned[1]) if self.places.content(pinned[1]).is_dir() else None
        try:
            tagged = references.parse(name).tagged
        except ImageError:
            return None
        digest = index.tags.get(tagged)
        return None if digest is None else (tagged, digest)

    def _load(self, name: str, digest: str) -> ProcessImage:
        path = self.places.content(digest) / records.FILE_NAME
        record = records.read(path, Record)
        if record is None:
            raise ImageError(f"{path} is missing: build {name} again")
        venv = self.places.venvs / record.venv
        if not environments.is_usable(venv):
            raise ImageError(f"{venv} is missing, or the Python that it was made with: build {name} again")
        return ProcessImage(
            name=name,
            digest=digest,
            folder=path.parent / "files",
            venv=venv,
            command=(*record.entrypoint, "serve"),
            environment={**environments.variables(venv), **record.environment},
            labels=record.labels,
            created_at=record.created_at,
            size=record.size,
        )

    def _content(self, digest: str) -> Path:
        return self.places.contents / digest.removeprefix("sha256:")

    def _previous_lock(self, reference: references.Reference) -> str:
        digest = read_index(self.places).tags.get(reference.tagged)
        try:
            return (self.places.content(digest) / "requirements.lock").read_text(encoding="utf-8") if digest else ""
        except FileNotFoundError:
            return ""

    def _clear(self, candidates: set[str]) -> tuple[str, ...]:
        """Deletes those of the candidates that have no tag, then environments without an image. While a build runs they
        stay, as it may be about to use them; the next `prune` or `remove` comes by again."""
        with _explained(), self.places.clearing() as alone:
            if not alone:
                return ()
            tagged = set(read_index(self.places).tags.values())
            gone = tuple(digest for digest in sorted(candidates - tagged) if self.places.content(digest).is_dir())
            for digest in gone:
                self.places.throw_away(self.places.content(digest))
            needed = {record.venv for record in self._records()}
            for venv in self.places.venvs.glob("*"):
                if venv.name not in needed:
                    self.places.throw_away(venv)
            return gone

    def _records(self) -> Iterator[Record]:
        for path in self.places.contents.glob(f"*/{records.FILE_NAME}"):
            record = records.read(path, Record)
            if record is not None:
                yield record


def _digests(given: Iterable[str]) -> set[str]:
    return {text.rpartition("@")[2] for text in given}


def _unknown(name: str, index: Index) -> str:
    known = ", ".join(sorted(index.tags)) or "none"
    return (
        f"There is no image {name!r}. Known images: {known}. Build it with `polyport image build DIR --tag NAME`, "
        f"or let this name stand for another with `polyport image alias '{name}' NAME`."
    )


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        raise ImageError("the disk is full" if full else f"{error.filename}: {error.strerror}") from error
