# mypy: ignore-errors
"""Runs in MLServer's environment: a runtime with a handler of its own."""

from mlserver import MLModel
from mlserver.handlers import custom_handler


class Echo(MLModel):
    """JSON in, JSON out."""

    async def load(self) -> bool:
        """Nothing to load."""
        return True

    @custom_handler(rest_path="/echo")
    async def echo(self, body: dict) -> dict:
        """The model."""
        return body
