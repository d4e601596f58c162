"""What the reconciler needs from images and model data; `server` supplies it."""

from typing import Protocol

from polyport.domain.endpoints import Endpoint, Fleet, InstanceRow, Variant
from polyport.domain.instances import Image, Instance


class Preparer(Protocol):
    """Turns a row into something an engine can start. All verbs may be repeated."""

    async def resolve(self, variant: Variant) -> tuple[Image, ...]:
        """What the image names of the variant's containers stand for now. Raises `ImageError`."""

    async def prepare(self, endpoint: Endpoint, fleet: Fleet, row: InstanceRow) -> Instance:
        """Fetch what the instance needs onto this machine. Raises `ImageError` or `ArtifactError`."""

    def hints(self, variant: Variant) -> list[str]:
        """What is being fetched for the variant at this moment, in words for people; empty when nothing is."""
