# mypy: ignore-errors
"""Runs in Ray's environment: a front that answers itself, or asks three deployments in turn."""

import signal
import sys

import ray
from ray import serve
from starlette.responses import Response

ONE = {"num_replicas": 1, "max_ongoing_requests": 100, "ray_actor_options": {"num_cpus": 0}}


@serve.deployment(**ONE)
class Stage:
    """Bytes in, bytes and a mark out."""

    def __init__(self, mark):
        self.mark = mark

    async def run(self, body):
        """The model."""
        return body + self.mark


@serve.deployment(**ONE)
class Front:
    """What clients call."""

    def __init__(self, *stages):
        self.stages = stages

    async def __call__(self, request):
        """The chain passes each answer on without waiting for it here: the next call awaits it."""
        body = await request.body()
        if request.url.path == "/chain":
            for stage in self.stages:
                body = stage.run.remote(body)
            body = await body
        return Response(body, media_type="application/json")


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(
        http_options={"host": "127.0.0.1", "port": int(sys.argv[1])}, logging_config={"enable_access_log": False}
    )
    serve.run(Front.bind(*(Stage.options(name=f"stage-{mark}").bind(mark.encode()) for mark in "abc")))
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
