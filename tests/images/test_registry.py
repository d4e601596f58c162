"""Images are built whole or not at all, shared by content, found by name, and removed only when nothing needs them."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from polyport.errors import ImageError
from polyport.images import environments
from polyport.images.records import ProcessImage, Step
from polyport.images.registry import Registry

ECR = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
LABEL = "com.amazonaws.sagemaker.capabilities.accept-bind-to-port"

Make = Callable[..., Path]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """An empty registry."""
    return Registry(tmp_path / "home")


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes the folder of an image: its program, requirements, further lines of `image.toml`."""

    def write(program: str = "print('hello')", requirements: str | None = None, more: str = "") -> Path:
        folder = tmp_path / f"folder-{len(list(tmp_path.glob('folder-*')))}"
        folder.mkdir()
        (folder / "serve.py").write_text(program)
        named = ""
        if requirements is not None:
            (folder / "requirements.txt").write_text(requirements)
            named = 'requirements = "requirements.txt"\n'
        (folder / "image.toml").write_text(f'entrypoint = ["python", "serve.py"]\n{named}{more}')
        return folder

    return write


def run(image: ProcessImage) -> str:
    """What the image prints when it is started as an engine starts it."""
    done = subprocess.run(
        image.command, cwd=image.folder, env=image.environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def leftovers(registry: Registry) -> dict[str, list[str]]:
    places = registry.places
    return {
        path.name: sorted(entry.name for entry in path.glob("*"))
        for path in (places.staging, places.contents, places.venvs)
    }


EMPTY: dict[str, list[str]] = {"staging": [], "content": [], "venvs": []}


def test_an_image_runs_with_its_own_python_and_serve_at_the_end(registry: Registry, make: Make) -> None:
    """Rule: `python` is the image's own, `serve` is appended, the environment is the image's and nothing else."""
    program = "import os, sys\nprint(sys.argv[1:], sys.prefix, os.environ['WORKERS'], 'HOME' in os.environ)"
    image = registry.build(make(program, more='[environment]\nWORKERS = "2"'), "iris")
    assert image.command == ("python", "serve.py", "serve")
    assert run(image) == f"['serve'] {image.venv} 2 False"
    assert image.environment["PATH"].startswith(f"{image.venv}/bin:")
    assert image.name == "iris:latest"
    assert image.size > 0
    assert abs(image.created_at - time.time()) < 60


def test_without_requirements_there_is_the_standard_library_alone(registry: Registry, make: Make) -> None:
    """Rule: nothing of the server's own environment is visible to an image."""
    program = "import importlib.util as u\nprint([u.find_spec(name) for name in ('pip', 'msgspec', 'uv')])"
    assert run(registry.build(make(program), "bare")) == "[None, None, None]"


def test_two_images_have_conflicting_versions_of_one_library(registry: Registry, make: Make) -> None:
    """Rule: that is the point."""
    program = "import six\nprint(six.__version__)"
    old = registry.build(make(program, "six==1.16.0"), "old")
    new = registry.build(make(program, "six==1.17.0"), "new")
    assert (run(old), run(new)) == ("1.16.0", "1.17.0")
    assert old.venv != new.venv
    compiled = list(old.venv.glob("lib/*/site-packages/__pycache__/six.*.pyc"))
    assert len(compiled) == 1
    assert "--hash=sha256:" in (old.folder.parent / "requirements.lock").read_text()


def test_the_same_lock_is_one_environment_and_the_same_content_one_image(registry: Registry, make: Make) -> None:
    """Rule: cached by content: other files share the environment, the same files share all."""
    first = registry.build(make("print(1)", "six==1.16.0"), "first")
    steps: list[Step] = []
    second = registry.build(make("print(2)", "# a comment\nsix == 1.16.0\n"), "second", steps.append)
    third = registry.build(make("print(1)", "six==1.16.0"), "third:1")
    assert first.venv == second.venv == third.venv
    assert "Installing packages" not in {step.name for step in steps}
    assert first.digest == third.digest != second.digest
    assert first.folder == third.folder
    assert [image.name for image in registry.list()] == ["first:latest", "second:latest", "third:1"]


def test_progress_only_grows_and_ends_at_one(registry: Registry, make: Make) -> None:
    """Rule: a progress bar can be drawn from it, and uv's lines shown beside."""
    steps: list[Step] = []
    registry.build(make(requirements="six==1.16.0"), "iris", steps.append)
    fractions = [step.fraction for step in steps]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    names = list(dict.fromkeys(step.name for step in steps))
    assert names == ["Reading", "Copying", "Resolving requirements", "Installing packages", "Compiling", "Done"]
    assert any("six==1.16.0" in step.detail for step in steps)


def test_a_rebuild_keeps_versions_that_fit_and_upgrade_does_not(registry: Registry, make: Make) -> None:
    """Rule: the same folder gives the same image tomorrow; new versions come when asked for, or when needed."""
    folder = make(requirements="six==1.16.0")
    pinned = registry.build(folder, "iris")
    (folder / "requirements.txt").write_text("six")
    kept = registry.build(folder, "iris")
    assert kept.venv == pinned.venv
    assert registry.build(folder, "iris", upgrade=True).venv != pinned.venv


def test_a_moved_tag_leaves_the_old_content_until_it_is_pruned(registry: Registry, make: Make) -> None:
    """Rule: endpoints run what they were created with: by digest it is found, tag or no tag, while it is in use."""
    old = registry.build(make("print(1)"), "iris")
    new = registry.build(make("print(2)"), "iris")
    assert registry.resolve("iris").digest == new.digest
    assert registry.resolve(old.reference).folder == old.folder
    assert old.reference == f"iris@{old.digest}"
    assert registry.prune(in_use=[old.reference]) == ()
    assert registry.prune() == (old.digest,)
    with pytest.raises(ImageError, match="There is no image"):
        registry.resolve(old.reference)
    assert run(registry.resolve("iris")) == "2"


def test_what_git_python_and_editors_leave_is_no_part_of_an_image(registry: Registry, make: Make) -> None:
    """Rule: `.venv`, `__pycache__` and `.git` are left out at any depth: with them or without, it is the same image."""
    folder = make()
    plain = registry.build(folder, "plain")
    for name in (".venv", "__pycache__", "package/.git", "package/__pycache__"):
        (folder / name).mkdir(parents=True)
        (folder / name / "x").write_text("x")
    (folder / "package/m.py").write_text("x = 1")
    cluttered = registry.build(folder, "cluttered")
    assert cluttered.digest != plain.digest
    for name in (".venv", "package/.git"):
        assert not (cluttered.folder / name).exists()
    assert not (cluttered.folder / "package/__pycache__/x").exists()


def test_names_contents_modes_and_links_make_the_digest(registry: Registry, make: Make) -> None:
    """Rule: any difference that a program could see is another image; times are not seen."""
    folder = make()
    seen = [registry.build(folder, "iris").digest]
    (folder / "serve.py").chmod(0o755)
    seen.append(registry.build(folder, "iris").digest)
    (folder / "link").symlink_to("serve.py")
    seen.append(registry.build(folder, "iris").digest)
    (folder / "empty").mkdir()
    seen.append(registry.build(folder, "iris").digest)
    os.utime(folder / "serve.py", (1, 1))
    assert len(set(seen)) == 4
    assert registry.build(folder, "iris").digest == seen[-1]


def test_the_files_of_an_image_are_read_only(registry: Registry, make: Make) -> None:
    """Rule: instances share an image; none may change it for the others."""
    image = registry.build(make(), "iris")
    modes = {path.stat().st_mode & 0o222 for path in [image.folder, *image.folder.rglob("*")]}
    assert modes == {0}


def _link(folder: Path, target: str) -> None:
    (folder / "link").symlink_to(target)


SPOILERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "link to outside": (lambda folder: _link(folder, "../x"), "leaves the folder"),
    "absolute link": (lambda folder: _link(folder, "/etc/passwd"), "leaves the folder"),
    "absolute link inside": (lambda folder: _link(folder, str(folder / "serve.py")), "leaves the folder"),
    "fifo": (lambda folder: os.mkfifo(folder / "pipe"), "neither a file nor a folder"),
    "bad manifest": (lambda folder: (folder / "image.toml").write_text("x = 1"), "unknown field"),
    "unknown package": (
        lambda folder: (folder / "requirements.txt").write_text("polyport-no-such-package==1"),
        "(?s)uv pip compile failed:.*polyport-no-such-package",
    ),
    "conflict": (lambda folder: (folder / "requirements.txt").write_text("six==1.16.0\nsix==1.17.0"), "unsatisfiable"),
    "nonsense": (lambda folder: (folder / "requirements.txt").write_text("six=1"), "uv pip compile failed"),
}


@pytest.mark.parametrize(("spoil", "reason"), SPOILERS.values(), ids=SPOILERS)
def test_a_build_that_fails_leaves_nothing(
    spoil: Callable[[Path], object], reason: str, registry: Registry, make: Make
) -> None:
    """Rule: the reason is said, in uv's own words where they are uv's, and the home is as it was before."""
    folder = make(requirements="six==1.16.0")
    spoil(folder)
    with pytest.raises(ImageError, match=reason):
        registry.build(folder, "iris")
    assert all(not names for names in leftovers(registry).values())
    assert registry.list() == ()


def test_a_failed_rebuild_leaves_the_tag_as_it_was(registry: Registry, make: Make) -> None:
    """Rule: until a build is whole, its name means what it meant."""
    folder = make("print(1)")
    registry.build(folder, "iris")
    (folder / "image.toml").write_text("entrypoint = []")
    with pytest.raises(ImageError):
        registry.build(folder, "iris")
    assert run(registry.resolve("iris")) == "1"


CHILD = """
import sys, time
from pathlib import Path
from polyport.images.registry import Registry
def progress(step):
    if step.name == sys.argv[3]:
        print("there", flush=True)
        time.sleep(60)
Registry(Path(sys.argv[1])).build(Path(sys.argv[2]), "iris", progress)
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("step", ["Resolving requirements", "Installing packages", "Compiling"])
def test_an_interrupted_build_leaves_nothing_half_made(
    step: str, end: signal.Signals, registry: Registry, make: Make, tmp_path: Path
) -> None:
    """Rule: killed at any step, the next build works and clears away what was left."""
    folder = make("import six\nprint(six.__version__)", "six==1.16.0")
    arguments = [sys.executable, "-c", CHILD, tmp_path / "home", folder, step]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "there\n"
        child.send_signal(end)
    assert registry.list() == ()
    assert leftovers(registry)["content"] == []
    if end == signal.SIGINT:
        assert leftovers(registry)["staging"] == []
    assert run(registry.build(folder, "iris")) == "1.16.0"
    assert leftovers(registry)["staging"] == []


def test_a_second_build_waits_for_the_first(registry: Registry, make: Make, tmp_path: Path) -> None:
    """Rule: any number of builds at a time, one after the other; names can be given meanwhile."""
    registry.build(make(), "known")
    inside, release = threading.Event(), threading.Event()

    def hold(step: Step) -> None:
        if step.name == "Copying":
            inside.set()
            release.wait(30)

    first = threading.Thread(target=registry.build, args=(make("print(1)"), "first", hold))
    first.start()
    assert inside.wait(30)
    Registry(tmp_path / "home").alias("x:*", "known")
    waiting = threading.Event()

    def note(step: Step) -> None:
        if step.name == "Waiting for another build":
            waiting.set()
            release.set()

    second = Registry(tmp_path / "home").build(make("print(2)"), "second", note)
    first.join()
    assert waiting.is_set()
    assert (run(registry.resolve("first")), run(second)) == ("1", "2")


def test_an_alias_lets_an_ecr_name_stay_in_the_users_code(registry: Registry, make: Make) -> None:
    """Rule: exact tags first, then the longest pattern; the answer is the image that the alias names."""
    registry.build(make("print(1)"), "iris")
    registry.build(make("print(2)"), "wine:2")
    registry.build(make("print(3)"), f"{ECR}/myimage1:exact")
    registry.alias(f"{ECR}/*", "iris")
    registry.alias(f"{ECR}/myimage1:*", "wine:2")
    assert registry.resolve(f"{ECR}/myimage1:mytag").name == "wine:2"
    assert registry.resolve(f"{ECR}/anything").name == "iris:latest"
    assert run(registry.resolve(f"{ECR}/myimage1:exact")) == "3"
    assert registry.aliases() == {f"{ECR}/*": "iris:latest", f"{ECR}/myimage1:*": "wine:2"}
    registry.unalias(f"{ECR}/*")
    with pytest.raises(ImageError, match="There is no image"):
        registry.resolve(f"{ECR}/anything")
    with pytest.raises(ImageError, match=r"There is no alias 'x'\. Known aliases"):
        registry.unalias("x")


def test_an_alias_may_be_for_a_name_that_no_image_could_have(registry: Registry, make: Make) -> None:
    """Rule: SageMaker takes any text without spaces; pinned to a digest, such a name is found again."""
    image = registry.build(make("print(1)"), "iris")
    registry.alias("MyImage*", "iris")
    registry.alias("Pinned", image.reference)
    assert registry.resolve("MyImage:V1").name == "iris:latest"
    again = registry.resolve(f"MyImage:V1@{image.digest}")
    assert (run(again), again.reference) == ("1", f"MyImage:V1@{image.digest}")
    assert registry.resolve("Pinned").digest == image.digest


def test_an_alias_for_nothing_is_refused(registry: Registry, make: Make) -> None:
    """Rule: a typing mistake shows at once, with what is known."""
    registry.build(make(), "iris")
    with pytest.raises(ImageError, match=r"There is no image 'irsi'\. Known images: iris:latest"):
        registry.alias("x", "irsi")
    assert registry.aliases() == {}


@pytest.mark.parametrize("name", ["nothing", "iris:2", "Not A Name", f"iris@sha256:{'0' * 64}"])
def test_an_unknown_image_is_refused_with_the_known_names(name: str, registry: Registry, make: Make) -> None:
    """Rule: the error tells what is known, how to build, and how to make an alias."""
    registry.build(make(), "iris")
    with pytest.raises(ImageError) as refusal:
        registry.resolve(name)
    text = str(refusal.value)
    assert f"There is no image {name!r}. Known images: iris:latest." in text
    assert f"polyport image alias '{name}' NAME" in text


def test_removing_keeps_what_others_need(registry: Registry, make: Make) -> None:
    """Rule: content goes with its last tag, an environment with its last image."""
    first = registry.build(make("print(1)"), "first")
    registry.build(make("print(2)"), "second")
    registry.build(make("print(1)"), "third")
    registry.remove("first")
    assert run(registry.resolve("third")) == "1"
    registry.remove("third")
    assert not first.folder.exists()
    assert run(registry.resolve("second")) == "2"
    registry.remove("second:latest")
    assert leftovers(registry) == EMPTY
    with pytest.raises(ImageError, match=r"There is no image 'second'\. Known images: none"):
        registry.remove("second")


def test_what_is_in_use_is_not_removed(registry: Registry, make: Make) -> None:
    """Rule: an endpoint's image, or an alias's, stays; force takes the names, never the content in use."""
    image = registry.build(make("print(1)"), "iris")
    registry.alias("x:*", "iris")
    with pytest.raises(ImageError, match="is what 'x:\\*' stands for"):
        registry.remove("iris")
    registry.unalias("x:*")
    with pytest.raises(ImageError, match="iris:latest is used by an endpoint"):
        registry.remove("iris", in_use=[image.digest])
    registry.alias("x:*", "iris")
    registry.remove("iris", in_use=[image.reference], force=True)
    assert (registry.list(), registry.aliases()) == ((), {})
    assert run(registry.resolve(image.reference)) == "1"


def test_an_image_that_aws_would_refuse_carries_a_warning(registry: Registry, make: Make) -> None:
    """Rule: the label is not needed here; its absence is said."""
    without = registry.build(make(), "without")
    labelled = registry.build(make(more=f'[labels]\n"{LABEL}" = "true"'), "labelled")
    assert LABEL in without.warnings[0]
    assert labelled.warnings == ()
    assert labelled.labels == {LABEL: "true"}


def test_a_damaged_file_is_named_and_a_build_mends_it(registry: Registry, make: Make) -> None:
    """Rule: a damaged image or index is an error that says where; building again repairs an image."""
    folder = make("print(1)")
    image = registry.build(folder, "iris")
    record = image.folder.parent / "image.json"
    record.write_text("{")
    with pytest.raises(ImageError, match=f"{record} is damaged"):
        registry.resolve("iris")
    assert run(registry.build(folder, "iris")) == "1"
    registry.places.index.write_text(json.dumps({"tags": []}))
    with pytest.raises(ImageError, match=r"index\.json is damaged"):
        registry.list()


def test_an_environment_whose_python_is_gone_is_made_again(registry: Registry, make: Make) -> None:
    """Rule: an upgrade of the system's Python is said clearly, and one build mends it."""
    folder = make("print(1)")
    image = registry.build(folder, "iris")
    python = image.venv / "bin" / "python"
    python.parent.chmod(0o755)
    python.unlink()
    python.symlink_to("/nowhere/python")
    with pytest.raises(ImageError, match="build iris:latest again"):
        registry.resolve("iris")
    assert run(registry.build(folder, "iris")) == "1"


def test_a_tag_is_a_name_and_not_a_digest(registry: Registry, make: Make) -> None:
    """Rule: a wrong tag is refused before anything is done."""
    for tag in (f"iris@sha256:{'0' * 64}", "IRIS", ""):
        with pytest.raises(ImageError):
            registry.build(make(), tag)
    assert not registry.places.root.exists()


def test_an_index_given_in_the_requirements_serves_both_steps(
    registry: Registry, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule: options of the requirements file hold for the installation too, and none is kept with the image."""
    sources = make(requirements="six==1.16.0")
    first = registry.build(sources, "first")
    (sources / "wheels").mkdir()
    folder = make(requirements="--find-links ./wheels\n--no-binary :none:\nsix==1.16.0")
    (folder / "wheels").mkdir()
    second = registry.build(folder, "second")
    assert second.venv == first.venv
    assert "wheels" not in (second.folder.parent / "requirements.lock").read_text()


def test_uv_gets_the_users_settings_but_not_the_servers_environment() -> None:
    """Rule: indexes and proxies pass; what would point uv at the server's own Python does not; no Python is fetched."""
    given = {
        "UV_INDEX_URL": "https://x",
        "HTTPS_PROXY": "http://p",
        "VIRTUAL_ENV": "/v",
        "UV_PYTHON_DOWNLOADS": "automatic",
    }
    found = environments._environment({**given, "PIP_CONFIG_FILE": "/dev/null"})
    assert (found["UV_INDEX_URL"], found["HTTPS_PROXY"]) == ("https://x", "http://p")
    assert "VIRTUAL_ENV" not in found
    assert found["UV_PYTHON_DOWNLOADS"] == "never"
