"""Shadow variants with boto3 against a running server and real processes: copies arrive, and nobody else notices."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import botocore
import pytest
from botocore.exceptions import ClientError

from support.calls import SteadyCaller
from support.server import Server, call, create_config, wait_for, wait_for_status

#: Notes each body that it gets, and then does what the file ``behaviour`` says.
SPY = """
import http.server, os, signal, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer(200, b"")
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open("seen", "ab") as file:
            file.write(body + b"\\n")
        behaviour = open("behaviour").read() if os.path.exists("behaviour") else ""
        if behaviour == "hang":
            time.sleep(600)
        if behaviour == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        self.answer(500 if behaviour == "fail" else 200, b"from the shadow")
    def log_message(self, *arguments):
        pass

http.server.ThreadingHTTPServer.daemon_threads = True
http.server.ThreadingHTTPServer.request_queue_size = 128
port = int(os.environ["SAGEMAKER_BIND_TO_PORT"])
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def shadowed_config(server: Server, name: str, share: float, count: int = 1) -> None:
    """A configuration of the models ``now`` and, as its shadow, ``next``."""
    settings = {"InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    shadow = {"VariantName": "Shadow", "ModelName": "next", **settings, "InitialInstanceCount": count}
    server.client("sagemaker").create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[{"VariantName": "AllTraffic", "ModelName": "now", **settings}],
        ShadowProductionVariants=[{**shadow, "InitialVariantWeight": share}],
    )


def create_models(server: Server) -> None:
    """``now`` and ``next``."""
    create_config(server, "now", {"Image": "first:1"}, mode="Single")
    create_config(server, "next", {"Image": server.image("spy:1", SPY)}, mode="Single")


def create_shadowed(server: Server, share: float) -> None:
    """The endpoint ``pair``, in service."""
    sagemaker = server.client("sagemaker")
    create_models(server)
    shadowed_config(server, "pair", share)
    sagemaker.create_endpoint(EndpointName="pair", EndpointConfigName="pair")
    wait_for_status(sagemaker, "pair", "InService")


def seen(server: Server) -> list[bytes]:
    """The bodies that shadows got, all instances together."""
    files = server.home.glob("run/instances/*/containers/*/work/seen")
    return [line for file in files for line in file.read_bytes().splitlines()]


def behave(server: Server, how: str) -> None:
    """From now on, the shadow does that."""
    [file] = server.home.glob("run/instances/*/containers/*/work/seen")
    (file.parent / "behaviour").write_text(how)


def logged(path: Path) -> list[dict[str, Any]]:
    """The lines of the access log that are of copies."""
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [line for line in lines if line.get("shadow")]


@pytest.mark.slow
def test_a_shadow_gets_copies_of_its_share_of_the_calls(make_server: Callable[..., Server]) -> None:
    """Of 400 calls 100, give or take six standard deviations, each as it was sent; the caller is answered by the
    production variant alone. DescribeEndpoint and the access log tell of both."""
    server = make_server(access_log="access.jsonl").start()
    runtime = server.client("sagemaker-runtime")
    create_shadowed(server, 0.25)
    sent = [b"call %d" % number for number in range(400)]
    answers = [call(runtime, "pair", body) for body in sent]
    assert answers == [body + b"|first,text/csv" for body in sent]
    wait_for(lambda: len(seen(server)) >= 48, "copies to arrive")
    described = server.client("sagemaker").describe_endpoint(EndpointName="pair")
    [shadow] = described["ShadowProductionVariants"]
    assert (shadow["VariantName"], shadow["CurrentInstanceCount"], shadow["CurrentWeight"]) == ("Shadow", 1, 0.25)
    assert server.stop() == 0
    copies = logged(server.home / "access.jsonl")
    assert 48 <= len(copies) <= 152
    assert {(line["variant"], line["status"]) for line in copies} == {("Shadow", 200)}


def test_copies_are_what_was_sent_also_large_and_streamed_ones(server: Server) -> None:
    """Bodies that pass through before they are whole, and calls that answer as streams."""
    runtime = server.client("sagemaker-runtime", signature_version=botocore.UNSIGNED)
    create_shadowed(server, 1.0)
    bodies = [b"small", b"x" * 5_000_000, b"streamed"]
    call(runtime, "pair", bodies[0])
    call(runtime, "pair", bodies[1])
    streamed = runtime.invoke_endpoint_with_response_stream(EndpointName="pair", Body=bodies[2])
    parts = [event["PayloadPart"]["Bytes"] for event in streamed["Body"]]
    assert b"".join(parts).startswith(b"streamed|first")
    wait_for(lambda: sorted(seen(server)) == sorted(bodies), "all copies to arrive")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["fail", "hang", "die"])
def test_a_shadow_in_trouble_changes_nothing_for_callers(make_server: Callable[..., Server], how: str) -> None:
    """Its errors, its silence and its death are counted in the log. Answers, and the production variant's own errors,
    are what they were."""
    server = make_server(shadow_max_calls=8).start()
    sagemaker, runtime = server.client("sagemaker"), server.client("sagemaker-runtime")
    create_shadowed(server, 1.0)
    call(runtime, "pair")
    wait_for(lambda: seen(server), "the first copy")
    behave(server, how)
    answers = {call(runtime, "pair") for _ in range(100)}
    assert answers == {b"x|first,text/csv"}
    with pytest.raises(ClientError) as refused:
        call(runtime, "pair", b"status 500")
    assert refused.value.response["OriginalStatusCode"] == 500
    assert refused.value.response["OriginalMessage"] == "said first"
    described = sagemaker.describe_endpoint(EndpointName="pair")
    assert described["EndpointStatus"] == "InService"
    assert server.stop() == 0
    counted = {"fail": "failed (ModelError: ", "die": "failed (ModelError: ", "hang": "calls not copied (no room: "}
    assert counted[how] in server.log()


def test_updates_add_and_remove_a_shadow_and_no_call_fails(server: Server) -> None:
    """Its fleet is started beside the others and drained as they are; its share can be changed in between."""
    sagemaker, runtime = server.client("sagemaker"), server.client("sagemaker-runtime")
    create_models(server)
    shadowed_config(server, "pair", 1.0, count=2)
    sagemaker.create_endpoint(EndpointName="pair", EndpointConfigName="now")
    wait_for_status(sagemaker, "pair", "InService")
    with SteadyCaller(lambda: call(runtime, "pair"), threads=2) as caller:
        sagemaker.update_endpoint(EndpointName="pair", EndpointConfigName="pair")
        described = wait_for_status(sagemaker, "pair", "InService")
        assert [one["CurrentInstanceCount"] for one in described["ShadowProductionVariants"]] == [2]
        wait_for(lambda: len(seen(server)) > 20, "copies to arrive")
        wish = {"VariantName": "Shadow", "DesiredWeight": 0.0, "DesiredInstanceCount": 1}
        sagemaker.update_endpoint_weights_and_capacities(EndpointName="pair", DesiredWeightsAndCapacities=[wish])
        wait_for_status(sagemaker, "pair", "InService")
        before, answered = len(seen(server)), len(caller.answers)
        wait_for(lambda: len(caller.answers) > answered + 50, "more calls")
        assert len(seen(server)) <= before, "a share of 0 gets no copies"
        sagemaker.update_endpoint(EndpointName="pair", EndpointConfigName="now")
        described = wait_for_status(sagemaker, "pair", "InService")
    assert caller.failures == []
    assert set(caller.answers) == {b"x|first,text/csv"}
    assert "ShadowProductionVariants" not in described
    assert len(list((server.home / "run" / "instances").iterdir())) == 1


@pytest.mark.slow
def test_a_shadow_that_becomes_the_production_variant_answers(server: Server) -> None:
    """The end of a trial: one update makes the shadow's model the production variant's; no call fails."""
    sagemaker, runtime = server.client("sagemaker"), server.client("sagemaker-runtime")
    create_models(server)
    shadowed_config(server, "pair", 0.5)
    sagemaker.create_endpoint(EndpointName="pair", EndpointConfigName="pair")
    wait_for_status(sagemaker, "pair", "InService")
    settings = {"InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    sagemaker.create_endpoint_config(
        EndpointConfigName="promoted",
        ProductionVariants=[{"VariantName": "Shadow", "ModelName": "next", **settings}],
    )
    with SteadyCaller(lambda: call(runtime, "pair"), threads=2) as caller:
        sagemaker.update_endpoint(EndpointName="pair", EndpointConfigName="promoted")
        described = wait_for_status(sagemaker, "pair", "InService")
    assert caller.failures == []
    assert [one["VariantName"] for one in described["ProductionVariants"]] == ["Shadow"]
    assert "ShadowProductionVariants" not in described
    assert call(runtime, "pair") == b"from the shadow"
