# mypy: ignore-errors
"""Runs in KServe's environment: one stage of the chain; MARK is what it adds, IS_LAST ends it."""

import os

import kserve

MARK, IS_LAST = os.environ["MARK"], bool(os.environ["IS_LAST"])


class Echo(kserve.Model):
    """The direct call."""

    def __init__(self):
        super().__init__("echo")
        self.ready = True

    async def predict(self, payload, *_, **__):
        """The model."""
        return payload


class Stage(kserve.Model):
    """Adds its mark on the way in; without a following stage it is the predictor, which answers."""

    def __init__(self):
        super().__init__("chain")
        self.ready = True

    async def preprocess(self, payload, *_, **__):
        """What a transformer is for."""
        return {"instances": payload["instances"], "marks": payload.get("marks", "") + MARK}

    async def predict(self, payload, headers=None, response_headers=None):
        """The predictor's answer, or the call to it."""
        if IS_LAST:
            return payload
        return await super().predict(payload, headers, response_headers)


if __name__ == "__main__":
    kserve.ModelServer().start([Echo(), Stage()])
