"""Images are found on this machine, else pulled, as the settings say: with a real Podman and a registry on loopback."""

import asyncio
import base64
import json
import logging
import os
import time
from pathlib import Path

import pytest

from polyport.errors import ImageError
from polyport.images.daemon.faults import DaemonAway
from polyport.images.daemon.library import Library, Unseen
from polyport.images.daemon.values import DaemonImage
from polyport.images.records import BIND_LABEL, Step
from polyport.settings import Settings
from support import daemons
from support.distribution import Registry

LABELS = {BIND_LABEL: "true"}


def log_in(folder: Path, registry: Registry, password: str | None = None) -> None:
    """As `docker login` writes it."""
    auth = base64.b64encode(f"{registry.store.user}:{password or registry.store.password}".encode()).decode()
    (folder / ".docker").mkdir(exist_ok=True)
    (folder / ".docker" / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": auth}}}))


def asked(registry: Registry, what: str = "manifests") -> int:
    return sum(what in line for line in registry.store.requests)


def test_an_image_is_pulled_once_and_pinned(open_library, registry: Registry, run) -> None:
    """Rule: local first. What it stood for is its digest in its own repository, which the daemon finds it by."""
    digest = registry.store.add("once/model", "1", Labels=LABELS)
    name = f"{registry.host}/once/model:1"

    async def test() -> None:
        async with open_library() as library:
            assert isinstance(await library.check(name), Unseen)
            image = await library.resolve(name)
            assert image.reference == f"{registry.host}/once/model@{digest}"
            assert image.warnings == ()
            before = asked(registry)
            assert await library.resolve(name) == image
            assert (await library.resolve(image.reference)).id == image.id
            assert isinstance(await library.check(name), DaemonImage)
            assert asked(registry) == before

    run(test())


def test_always_asks_the_registry_and_missing_does_not(open_library, registry: Registry, run) -> None:
    """A tag that moved: `missing` stays with what is here, `always` takes the new one; a digest cannot move."""
    name = f"{registry.host}/moving/model:1"
    first = registry.store.add("moving/model", "1", size=100)

    async def test() -> None:
        async with open_library() as library:
            pinned = (await library.resolve(name)).reference
        second = registry.store.add("moving/model", "1", size=200)
        async with open_library() as library:
            assert (await library.resolve(name)).digest == first
        async with open_library(image_pull="always") as library:
            assert (await library.resolve(name)).digest == second
            before = asked(registry)
            # An instance of the earlier deployment may be started again: its image is still found.
            assert (await library.resolve(pinned)).digest == first
            await library.ensure(pinned)
            assert asked(registry) == before

    run(test())


def test_never_refuses_what_is_not_here(open_library, registry: Registry, run) -> None:
    """With the names that are known, and without a word to the registry."""
    registry.store.add("never/here", "1")
    registry.store.add("never/model", "1")

    async def test() -> None:
        async with open_library() as library:
            await library.resolve(f"{registry.host}/never/here:1")
        before = len(registry.store.requests)
        async with open_library(image_pull="never") as library:
            await library.resolve(f"{registry.host}/never/here:1")
            for look in (library.check, library.resolve):
                with pytest.raises(ImageError, match=r"image_pull is never\. Known images: .*never/here:1"):
                    await look(f"{registry.host}/never/model:1")
        assert len(registry.store.requests) == before

    run(test())


def test_names_that_no_image_can_have_are_refused_at_once(open_library, registry: Registry, run) -> None:
    """Rule: nothing that a user writes becomes a path of the daemon's API."""

    async def test() -> None:
        async with open_library() as library:
            for name in ("Upper/Case", "../containers", "a b", "x?all=1", "sha256:../x", ""):
                with pytest.raises(ImageError, match="is not an image name"):
                    await library.check(name)
                with pytest.raises(ImageError, match="is not an image name"):
                    await library.resolve(name)

    run(test())


def test_an_alias_leads_to_another_image(open_library, registry: Registry, run) -> None:
    """The names of a registry may stay in the user's code; an image that really has the name goes first."""
    registry.store.add("alias/model", "1", size=300)
    registry.store.add("alias/own", "1", size=400)
    target, own = f"{registry.host}/alias/model:1", f"{registry.host}/alias/own:1"

    async def test() -> None:
        async with open_library() as library:
            await library.alias("*.dkr.ecr.*/Odd_Name:*", target)
            await library.alias(f"{registry.host}/alias/own*", target)
            odd = "123456789012.dkr.ecr.us-east-1.amazonaws.com/Odd_Name:3"
            assert isinstance(await library.check(odd), Unseen)
            assert (await library.resolve(odd)).name == target
            assert (await library.check(odd)).name == target
            # Not here yet: the alias counts. Once it is, it is itself.
            assert (await library.resolve(own)).name == target
            await library.pull(own)
            assert (await library.resolve(own)).name == own

    run(test())


def test_a_list_of_architectures_gives_ours(open_library, registry: Registry, run) -> None:
    """One name for several machines."""
    registry.store.add_list("many/model", "1", "s390x", "amd64", "arm64")

    async def test() -> None:
        async with open_library() as library:
            image = await library.resolve(f"{registry.host}/many/model:1")
            assert image.architecture == await library._daemon_architecture()
            assert await library.inspect(image.reference) is not None

    run(test())


def test_another_architecture_is_refused_unless_it_is_asked_for(open_library, registry: Registry, run) -> None:
    """Rule: it would fail with "exec format error" much later. A daemon that emulates one is told so by a setting."""
    registry.store.add("foreign/model", "1", architecture="s390x")
    registry.store.add_list("foreign/list", "1", "s390x", "ppc64le")

    async def test() -> None:
        async with open_library() as library:
            with pytest.raises(ImageError, match=r'foreign/model:1" is for linux/s390x, and the daemon runs linux/'):
                await library.resolve(f"{registry.host}/foreign/model:1")
            with pytest.raises(ImageError, match="is not there for this machine's architecture"):
                await library.resolve(f"{registry.host}/foreign/list:1")
        async with open_library(image_platform="linux/s390x") as library:
            assert (await library.resolve(f"{registry.host}/foreign/list:1")).architecture == "s390x"

    run(test())


def test_an_image_that_is_nowhere(open_library, registry: Registry, run) -> None:
    """Its own text: the name, tag or digest is not there."""
    registry.store.add("some/model", "1")

    async def test() -> None:
        async with open_library() as library:
            for name in ("none/model:1", "some/model:2", f"some/model@sha256:{'0' * 64}"):
                with pytest.raises(ImageError, match=rf'"{registry.host}/{name}" was not found'):
                    await library.resolve(f"{registry.host}/{name}")

    run(test())


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_a_private_image_needs_who_is_logged_in(
    open_library, registry: Registry, run, auth: str, tmp_path: Path
) -> None:
    """Nobody, the wrong password, the right one; the password is in no error and no log."""
    registry.store.auth = auth
    registry.store.add(f"private/{auth}", "1")
    name = f"{registry.host}/private/{auth}:1"

    async def test() -> None:
        async with open_library() as library:
            with pytest.raises(ImageError, match=f"was denied by registry {registry.host}.*docker login"):
                await library.resolve(name)
            log_in(tmp_path, registry, "wr0ng-word")
            with pytest.raises(ImageError, match="was denied") as refused:
                await library.resolve(name)
            assert "wr0ng-word" not in str(refused.value)
            assert refused.value.__cause__ is None
            log_in(tmp_path, registry)
            await library.resolve(name)

    run(test())


def test_a_helper_gives_the_password(open_library, registry: Registry, run, tmp_path: Path) -> None:
    """As with ECR. One that fails is named in the error."""
    registry.store.auth = "basic"
    registry.store.add("helped/model", "1")
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text(json.dumps({"credHelpers": {registry.host: "test"}}))
    helper = tmp_path / "docker-credential-test"
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}

    def write(body: str) -> None:
        helper.write_text(f"#!/bin/sh\n{body}\n")
        helper.chmod(0o755)

    async def test() -> None:
        async with open_library(environ) as library:
            write("exit 7")
            with pytest.raises(ImageError, match="docker-credential-test failed with exit status 7"):
                await library.resolve(f"{registry.host}/helped/model:1")
            word = registry.store.password
            write(f'read s; [ $s = {registry.host} ] && echo \'{{"Username": "somebody", "Secret": "{word}"}}\'')
            await library.resolve(f"{registry.host}/helped/model:1")

    run(test())


def test_progress_is_told_while_a_pull_goes_on(open_library, registry: Registry, run) -> None:
    """In bytes, growing, under the name as given and under its alias; nothing is told once it is over."""
    registry.store.add("slow/model", "1", size=2_000_000)
    registry.store.pause = 0.15
    name = f"{registry.host}/slow/model:1"
    steps: list[Step] = []

    async def test() -> None:
        async with open_library() as library:
            library.aliases.put("slow-one", name)
            pulling = asyncio.create_task(library.resolve("slow-one", steps.append))
            seen = set()
            while not pulling.done():
                seen.add(library.describe_pull("slow-one"))
                await asyncio.sleep(0.05)
            await pulling
            assert any("of 2.0 MB" in text for text in seen), seen
            assert library.describe_pull("slow-one") == library.describe_pull(name) == ""
        fractions = [step.fraction for step in steps]
        assert fractions == sorted(fractions)
        assert 0 < fractions[len(fractions) // 2] < 1

    run(test())


def test_one_pull_serves_all_who_wait(open_library, registry: Registry, run) -> None:
    """Ten deployments of one image are one download; one that is given up does not end it for the others, the last
    one does."""
    registry.store.add("shared/model", "1", size=1_000_000)
    registry.store.add("shared/left", "1", size=10_000_000)
    registry.store.pause = 0.05
    name, left = f"{registry.host}/shared/model:1", f"{registry.host}/shared/left:1"

    async def test() -> None:
        async with open_library() as library:
            waiting = [asyncio.create_task(library.resolve(name)) for _ in range(10)]
            await asyncio.sleep(0.3)
            waiting[0].cancel()
            images = await asyncio.gather(*waiting[1:])
            assert len({image.id for image in images}) == 1
            assert asked(registry, "shared/model/manifests/1") <= 2
            lone = asyncio.create_task(library.resolve(left))
            await asyncio.sleep(0.5)
            lone.cancel()
            await asyncio.gather(lone, return_exceptions=True)
            assert library.describe_pull(left) == ""
            # Whoever comes then starts anew.
            registry.store.pause = 0
            assert (await library.resolve(left)).size >= 10_000_000

    run(test())


def test_a_registry_that_is_slow_is_given_up_in_time(open_library, registry: Registry, run) -> None:
    """The setting `image_pull_timeout` is for the pull as a whole."""
    registry.store.add("slowest/model", "1", size=5_000_000)
    registry.store.pause = 0.5

    async def test() -> None:
        async with open_library(image_pull_timeout=1.5) as library:
            begun = time.monotonic()
            with pytest.raises(ImageError, match=r"could not be pulled from registry .* within 1\.5 s"):
                await library.resolve(f"{registry.host}/slowest/model:1")
            assert time.monotonic() - begun < 4

    run(test())


def test_a_registry_that_breaks_off(open_library, registry: Registry, run) -> None:
    """Nothing half-made stays behind as an image."""
    registry.store.add("cut/model", "1", size=2_000_000)
    registry.store.cut_after = 500_000

    async def test() -> None:
        async with open_library() as library:
            with pytest.raises(ImageError, match=f"Registry {registry.host} could not be reached"):
                await library.resolve(f"{registry.host}/cut/model:1")
            assert await library.inspect(f"{registry.host}/cut/model:1") is None

    run(test())


def test_a_registry_that_answers_500(open_library, registry: Registry, run) -> None:
    """It is the registry's fault, and its words are told."""
    registry.store.status = 500

    async def test() -> None:
        async with open_library() as library:
            with pytest.raises(ImageError, match=r"could not be reached for image .*500"):
                await library.resolve(f"{registry.host}/any/model:1")

    run(test())


def test_no_registry_at_all(open_library, run) -> None:
    """Connection refused, after the daemon's own tries."""

    async def test() -> None:
        async with open_library() as library:
            with pytest.raises(ImageError, match=r"Registry 127\.0\.0\.1:1 could not be reached"):
                await library.resolve("127.0.0.1:1/any/model:1")

    run(test())


def test_an_image_that_went_is_pulled_again_by_its_digest(
    open_library, daemon: daemons.Daemon, registry: Registry, run
) -> None:
    """Somebody cleaned up while an endpoint was stopped: `ensure` brings back exactly what was deployed."""
    digest = registry.store.add("gone/model", "1")
    name = f"{registry.host}/gone/model:1"

    async def test() -> None:
        async with open_library() as library:
            reference = (await library.resolve(name)).reference
            daemon.cli("rmi", name)
            assert await library.inspect(reference) is None
            registry.store.add("gone/model", "1", size=77)
            await library.ensure(reference)
            assert (await library.resolve(reference)).digest == digest
            daemon.cli("rmi", "--force", (await library.resolve(reference)).id)
        async with open_library(image_pull="never") as library:
            with pytest.raises(ImageError, match="is no longer on this machine"):
                await library.ensure(reference)

    run(test())


def test_what_aws_would_refuse_is_a_warning(open_library, registry: Registry, run) -> None:
    """The label that is missing, and a port that is fixed."""
    registry.store.add("odd/fixed", "1", ExposedPorts={"8080/tcp": {}})
    registry.store.add("odd/plain", "1", ExposedPorts={"8080/tcp": {}, "8081/tcp": {}})
    registry.store.add("odd/fine", "1", ExposedPorts={"8080/tcp": {}}, Labels=LABELS)

    async def test() -> None:
        async with open_library() as library:
            [fixed] = (await library.resolve(f"{registry.host}/odd/fixed:1")).warnings
            assert BIND_LABEL in fixed
            assert "port 8080 only" in fixed
            [plain] = (await library.resolve(f"{registry.host}/odd/plain:1")).warnings
            assert "8080" not in plain
            assert (await library.resolve(f"{registry.host}/odd/fine:1")).warnings == ()

    run(test())


def test_users_images_are_neither_listed_nor_removed(open_library, registry: Registry, run) -> None:
    """Rule: only what Polyport built or an alias names is ours to show and to remove; what an endpoint uses stays."""
    registry.store.add("theirs/model", "1")
    name = f"{registry.host}/theirs/model:1"

    async def test() -> None:
        async with open_library() as library:
            image = await library.resolve(name)
            assert name not in [each.name for each in await library.shown()]
            with pytest.raises(ImageError, match="was not built by Polyport"):
                await library.remove(name, force=True)
            await library.alias("ours", name)
            assert name in [each.name for each in await library.shown()]
            with pytest.raises(ImageError, match="is what 'ours' stands for"):
                await library.remove(name)
            with pytest.raises(ImageError, match="is used by an endpoint"):
                await library.remove(name, in_use={image.reference}, force=True)
            await library.remove(name, force=True)
            assert await library.inspect(name) is None
            assert library.aliases.all() == {}
            with pytest.raises(ImageError, match="There is no image"):
                await library.remove(name)

    run(test())


def test_a_daemon_that_is_away_is_said_to_be(tmp_path: Path, run, caplog: pytest.LogCaptureFixture) -> None:
    """CreateModel goes on, as the deployment will find out; whoever needs the image hears that trying again helps."""
    import aiodocker

    async def test() -> None:
        client = aiodocker.Docker(f"unix://{tmp_path}/nobody.sock")

        async def connect() -> aiodocker.Docker:
            return client

        library = Library(connect, Settings(home=tmp_path))
        with caplog.at_level(logging.WARNING):
            assert isinstance(await library.check("some/model:1"), Unseen)
        assert "does not answer" in caplog.text
        with pytest.raises(ImageError, match="is not an image name"):
            await library.check("Not A Name")
        with pytest.raises(DaemonAway):
            await library.resolve("some/model:1")
        await client.close()

    run(test())
