"""Archives that are broken or hostile are refused, name the member, and leave nothing; honest ones arrive whole."""

import errno
import gzip
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from polyport.artifacts import archives, tree
from polyport.domain.instances import ModelSource
from polyport.errors import ArtifactError
from polyport.settings import Settings

Build = Callable[[Any, Any], bytes]
LINK, HARD = tarfile.SYMTYPE, tarfile.LNKTYPE


def _raw_header(name: bytes, size_field: bytes, kind: bytes) -> bytes:
    """A ustar header with any size field, its checksum right."""
    block = bytearray(512)
    block[0 : len(name)] = name
    block[100:108] = b"0000644\0"
    block[124:136] = size_field
    block[136:148] = b"00000000000\0"
    block[148:156] = b" " * 8
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def _many_folders(m: Any, p: Any) -> bytes:
    return p([m("/".join(["d"] * 101) + "/x", b"1")])


def _sparse(m: Any, p: Any) -> bytes:
    info, _ = m("holes")
    info.pax_headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.map": "0,1",
        "GNU.sparse.size": "9",
    }
    return p([(info, b"")])


def _huge_pax_header(m: Any, p: Any) -> bytes:
    return gzip.compress(_raw_header(b"x", b"%011o\0" % (64 * 1024**2), b"x") + b"0" * 1024**2)


def _many_pax_headers(m: Any, p: Any) -> bytes:
    record = b"12 comment=a\n".replace(b"12", b"13")
    one = _raw_header(b"x", b"%011o\0" % len(record), b"x") + record.ljust(512, b"\0")
    return gzip.compress(one * 5000)


def _digits_in_pax_header(m: Any, p: Any) -> bytes:
    return gzip.compress(_raw_header(b"x", b"%011o\0" % 20000, b"x") + b"1" * 20480)


def _negative_size(m: Any, p: Any) -> bytes:
    good = p([m("a", b"1" * 600)])
    return gzip.compress(gzip.decompress(good)[:1536] + _raw_header(b"n", b"\xff" * 11 + b"\x00", b"0") + bytes(1024))


def _damaged_middle(m: Any, p: Any) -> bytes:
    plain = bytearray(gzip.decompress(p([m("a", b"1"), m("b", b"2")])))
    plain[1024 + 150] ^= 0xFF
    return gzip.compress(bytes(plain))


def _wrong_checksum(m: Any, p: Any) -> bytes:
    packed = bytearray(p([m("a", b"1")]))
    packed[-8] ^= 0xFF
    return bytes(packed)


def _nul_in_name(m: Any, p: Any) -> bytes:
    info, content = m("plain", b"1")
    info.pax_headers = {"path": "a\0b"}
    return p([(info, content)])


HOSTILE: dict[str, tuple[Build, str]] = {
    "absolute name": (lambda m, p: p([m("/etc/x", b"1")]), "'/etc/x': an absolute name"),
    "dot dot": (lambda m, p: p([m("../x", b"1")]), "'../x': the name '..'"),
    "dot dot inside": (lambda m, p: p([m("a/../../x", b"1")]), "the name '..'"),
    "dot dot in a folder": (lambda m, p: p([m("a/..", kind=tarfile.DIRTYPE)]), "the name '..'"),
    "NUL": (_nul_in_name, "NUL"),
    "long name": (lambda m, p: p([m("n" * 256, b"1")]), "a name of more than 255 bytes"),
    "long name in bytes": (lambda m, p: p([m("é" * 128, b"1")]), "a name of more than 255 bytes"),
    "long path": (lambda m, p: p([m("/".join(["d" * 200] * 6), b"1")]), "a path of more than 1024 bytes"),
    "deep path": (_many_folders, "more than 100 folders deep"),
    "blank name": (lambda m, p: p([m("a/ ", b"1")]), "an empty name"),
    "character device": (lambda m, p: p([m("tty", kind=tarfile.CHRTYPE)]), "'tty': a character device"),
    "block device": (lambda m, p: p([m("sda", kind=tarfile.BLKTYPE)]), "'sda': a block device"),
    "FIFO": (lambda m, p: p([m("pipe", kind=tarfile.FIFOTYPE)]), "'pipe': a FIFO"),
    "unknown type": (lambda m, p: p([m("odd", kind=b"V")]), "'odd': a member of an unknown type"),
    "sparse file": (_sparse, "sparse"),
    "file then folder": (lambda m, p: p([m("a", b"1"), m("a/b", b"2")]), "'a' is there twice"),
    "folder then file": (lambda m, p: p([m("a/b", b"1"), m("a", b"2")]), "'a': it is there twice"),
    "file and link": (lambda m, p: p([m("a", b"1"), m("a", kind=LINK, target="b")]), "'a': it is there twice"),
    "link twice": (lambda m, p: p([m("a", kind=LINK, target="b")] * 2), "'a': it is there twice"),
    "link to absolute": (lambda m, p: p([m("l", kind=LINK, target="/etc")]), "'l': a link to '/etc'"),
    "link to nothing": (lambda m, p: p([m("l", kind=LINK)]), "'l': a link to ''"),
    "link to outside": (lambda m, p: p([m("a/l", kind=LINK, target="../../x")]), "leaves the archive"),
    "file through a link": (
        lambda m, p: p([m("l", kind=LINK, target="."), m("l/x", b"1")]),
        "'l': it is there twice",
    ),
    "link below a link": (
        lambda m, p: p([m("a", kind=LINK, target="."), m("a/b", kind=LINK, target="..")]),
        "'a' is there twice",
    ),
    "link through a link": (
        lambda m, p: p([m("d/e/x", b"1"), m("l", kind=LINK, target="d/e"), m("k", kind=LINK, target="l/../../x")]),
        "'k': a link to 'l/../../x', which goes through the link 'l'",
    ),
    "link over a long path": (lambda m, p: p([m("l", kind=LINK, target="a/" * 600 + "x")]), "more than 1024 bytes"),
    "hard link to outside": (lambda m, p: p([m("h", kind=HARD, target="../x")]), "'h': the name '..'"),
    "hard link to absolute": (lambda m, p: p([m("h", kind=HARD, target="/etc/passwd")]), "'h': an absolute name"),
    "hard link to a link": (
        lambda m, p: p([m("l", kind=LINK, target="x"), m("h", kind=HARD, target="l")]),
        "'h': a hard link to 'l', which is not a file of this archive",
    ),
    "hard link to a folder": (
        lambda m, p: p([m("d", kind=tarfile.DIRTYPE), m("h", kind=HARD, target="d")]),
        "not a file of this archive",
    ),
    "bomb in one file": (lambda m, p: p([m("zeros", bytes(1_000_001))]), "more than 1000000 bytes"),
    "bomb in many files": (lambda m, p: p([m(f"z{i}", bytes(100_000)) for i in range(11)]), "more than 1000000 bytes"),
    "huge extended header": (_huge_pax_header, "header of more than"),
    "many extended headers": (_many_pax_headers, "header of more than"),
    "digits for quadratic parsers": (_digits_in_pax_header, "malformed header"),
    "negative size": (_negative_size, "'n': a negative size"),
    "damaged header": (_damaged_middle, "a header in the middle cannot be read"),
    "damaged checksum": (_wrong_checksum, "damaged or truncated"),
    "truncated compression": (lambda m, p: p([m("a", os.urandom(9000))])[:-900], "damaged or truncated"),
    "truncated tar": (
        lambda m, p: gzip.compress(gzip.decompress(p([m("a", b"1" * 9000)]))[:5000]),
        "'a': the archive ends within this file",
    ),
    "rubbish after it": (lambda m, p: p([m("a", b"1")]) + b"rubbish", "damaged or truncated"),
    "zeros after it": (
        lambda m, p: gzip.compress(gzip.decompress(p([m("a", b"1")])) + bytes(archives.MAX_PADDING * 2)),
        "follow the end of the archive",
    ),
    "endless empty streams": (lambda m, p: gzip.compress(b"") * 120_000, "more than 2048576 bytes"),
    "gzip but no tar": (lambda m, p: gzip.compress(b"weights" * 1000), "holds no tar archive"),
    "not gzip": (lambda m, p: b"\x80\x04pickle", "not gzip-compressed; expected a .tar.gz"),
    "empty file": (lambda m, p: b"", "it is empty"),
}


@pytest.mark.parametrize(("build", "reason"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_archive_is_refused_and_leaves_nothing(
    build: Build, reason: str, member: Any, pack: Any, put: Any, obtain: Any, leftovers: Any, tmp_path: Path
) -> None:
    """Rule: what is refused says which member and why, and nothing of it stays, inside or outside of the cache."""
    url = put("model.tar.gz", build(member, pack))
    before = sorted(path for path in tmp_path.rglob("*") if "cache" not in path.parts)
    with pytest.raises(ArtifactError) as refusal:
        obtain(ModelSource(url))
    assert str(refusal.value).startswith("Model data s3://models/model.tar.gz: ")
    assert reason in str(refusal.value)
    assert leftovers() == []
    assert sorted(path for path in tmp_path.rglob("*") if "cache" not in path.parts) == before


def test_too_many_members_are_refused(
    member: Any, pack: Any, put: Any, obtain: Any, leftovers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule: the number of members is bounded, as each costs an inode however small it is."""
    monkeypatch.setattr(archives, "MAX_MEMBERS", 10)
    with pytest.raises(ArtifactError, match="more than 10 members"):
        obtain(ModelSource(put("m.tar.gz", pack([member(f"f{i}") for i in range(11)]))))
    assert leftovers() == []


def test_a_full_disk_is_said_and_leaves_nothing(
    member: Any, pack: Any, put: Any, obtain: Any, leftovers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule: no space left on the device is an error like any other, with the half-made folder gone."""

    def write(descriptor: int, chunk: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tree, "_write", write)
    with pytest.raises(ArtifactError, match="the disk is full"):
        obtain(ModelSource(put("m.tar.gz", pack([member("a", b"1")]))))
    assert leftovers() == []


def test_a_nearly_full_disk_is_left_alone(
    member: Any, pack: Any, put: Any, obtain: Any, leftovers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule: some space stays free for the database and the logs: a model that would take it is refused before."""
    monkeypatch.setattr(tree, "RESERVE", 2**62)
    with pytest.raises(ArtifactError, match="too full"):
        obtain(ModelSource(put("m.tar.gz", pack([member("a", b"1")]))))
    assert leftovers() == []


def test_an_honest_archive_is_unpacked_read_only(member: Any, pack: Any, put: Any, obtain: Any) -> None:
    """Rule: files, folders, links and hard links arrive; files are 0444 (0555 when executable), folders 0555."""
    members = [
        member("./"),
        member("./model/weights.bin", b"w" * 70_000),
        member("./model/run", b"#!/bin/sh\n", mode=0o4755),
        member("./model/again", kind=HARD, target="./model/weights.bin"),
        member("./latest", kind=LINK, target="model/weights.bin"),
        member("./model/up", kind=LINK, target="../latest"),
        member("./empty", kind=tarfile.DIRTYPE),
    ]
    members[0][0].type = tarfile.DIRTYPE
    folder = obtain(ModelSource(put("m.tar.gz", pack(members))))
    assert (folder / "model/weights.bin").read_bytes() == b"w" * 70_000
    assert (folder / "model/up").read_bytes() == (folder / "model/again").read_bytes() == b"w" * 70_000
    assert (folder / "latest").readlink() == Path("model/weights.bin")
    modes = {name: stat.S_IMODE((folder / name).stat().st_mode) for name in (".", "empty", "model/run", "model/again")}
    assert modes == {".": 0o555, "empty": 0o555, "model/run": 0o555, "model/again": 0o444}


def test_the_later_of_two_files_with_one_name_wins(member: Any, pack: Any, put: Any, obtain: Any) -> None:
    """Rule: an appended archive means what tar says it means."""
    folder = obtain(ModelSource(put("m.tar.gz", pack([member("a", b"old"), member("a", b"new")]))))
    assert (folder / "a").read_bytes() == b"new"


def test_an_archive_in_several_gzip_streams_is_one_archive(member: Any, pack: Any, put: Any, obtain: Any) -> None:
    """Rule: parallel compressors write several streams in a row; they are read as one."""
    plain = gzip.decompress(pack([member("a", b"1" * 5000)]))
    packed = gzip.compress(plain[:700]) + gzip.compress(plain[700:])
    assert (obtain(ModelSource(put("m.tar.gz", packed))) / "a").read_bytes() == b"1" * 5000


NAME = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
    lambda name: name.strip() and name not in {".", ".."}
)
TREES = st.recursive(st.binary(max_size=2000), lambda below: st.dictionaries(NAME, below, max_size=4), max_leaves=12)


def _write(root: Path, content: Any) -> None:
    if isinstance(content, bytes):
        root.write_bytes(content)
        return
    root.mkdir()
    for name, below in content.items():
        _write(root / name, below)


def _read(root: Path) -> Any:
    return {path.name: _read(path) for path in root.iterdir()} if root.is_dir() else root.read_bytes()


@hypothesis_settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.dictionaries(NAME, TREES, max_size=4), form=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
def test_any_tree_that_tar_packs_comes_out_as_it_was(
    content: Any, form: int, tmp_path_factory: pytest.TempPathFactory, obtain: Any
) -> None:
    """Rule: packing with Python's own tarfile and fetching gives back every name and every byte."""
    base = tmp_path_factory.mktemp("round")
    _write(base / "tree", content)
    with tarfile.open(base / "m.tar.gz", "w:gz", format=form) as archive:
        archive.add(base / "tree", arcname=".")
    home = Settings(home=base / "home")
    folder = obtain(ModelSource(f"file://{base}/m.tar.gz"), home)
    assert _read(folder) == content
    tree.discard(folder)
    assert not folder.exists()
