# mypy: ignore-errors
"""Runs in BentoML's environment: a front service that answers itself, or asks three others in turn."""

import bentoml

ONE = {
    "workers": 1,
    "metrics": {"enabled": False},
    "traffic": {"timeout": 60},
    "logging": {"access": {"enabled": False}},
}


class Stage:
    """Takes the instances and the marks so far, adds its own."""

    mark = ""

    @bentoml.api
    async def run(self, instances: list[list[float]], marks: str) -> dict:
        """The model."""
        return {"instances": instances, "marks": marks + self.mark}


@bentoml.service(**ONE)
class A(Stage):
    """First stage."""

    mark = "a"


@bentoml.service(**ONE)
class B(Stage):
    """Second stage."""

    mark = "b"


@bentoml.service(**ONE)
class C(Stage):
    """Third stage."""

    mark = "c"


@bentoml.service(**ONE)
class Front:
    """What clients call."""

    a = bentoml.depends(A)
    b = bentoml.depends(B)
    c = bentoml.depends(C)

    @bentoml.api
    async def echo(self, instances: list[list[float]]) -> dict:
        """The direct call."""
        return {"instances": instances}

    @bentoml.api
    async def chain(self, instances: list[list[float]]) -> dict:
        """What one stage answers is what the next one is asked."""
        found = await self.a.run(instances=instances, marks="")
        found = await self.b.run(**found)
        return await self.c.run(**found)
