"""The application: which calls reach an operation, and what all others are told."""

import asyncio
import json
import socket
import threading

import boto3
import pytest
import uvicorn
from botocore.config import Config
from botocore.exceptions import ClientError

from api.harness import ACCOUNT, ARN, refusal
from polyport.api import app, ineffective
from polyport.api.operations import OPERATIONS
from polyport.aws import service
from polyport.domain.access import AccessTable
from polyport.errors import DiskFull, StoreError

JSON = [(b"content-type", b"application/x-amz-json-1.1")]


def target(operation):
    return [*JSON, (b"x-amz-target", f"SageMaker.{operation}".encode())]


def test_all_operations_are_served_and_exist():
    """Rule: the tables name operations of the service models."""
    counts = {name: len(table) for name, table in OPERATIONS.items()}
    assert counts == {"sagemaker": 20, "sts": 3, "cloudwatch": 15, "logs": 8}
    assert all(service.load(name).operation(operation) for name, table in OPERATIONS.items() for operation in table)


def test_an_unsigned_call_is_about_the_default_region(plane):
    """Rule: curl needs no signature; the answer is JSON 1.1 with a request id."""
    body = json.dumps({"ModelName": "m", "PrimaryContainer": {"Image": "first:1"}}).encode()
    status, headers, answer = plane.answer("POST", "/", target("CreateModel"), body)
    assert (status, json.loads(answer)) == (200, {"ModelArn": f"{ARN}:model/m"})
    assert headers["content-type"] == "application/x-amz-json-1.1"
    assert len(headers["x-amzn-requestid"]) == 36
    assert headers["content-length"] == str(len(answer))


def test_operations_without_output_answer_with_nothing(plane, model):
    """Rule: 200 and an empty body."""
    status, headers, answer = plane.answer("POST", "/", target("DeleteModel"), b'{"ModelName": "one"}')
    assert (status, headers["content-length"], answer) == (200, "0", b"")


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b"{", "SerializationException", "not valid JSON"),
        (b"\xff\xfe", "SerializationException", "not valid JSON"),
        (b"[]", "SerializationException", "must be a JSON object"),
        (b'{"ModelName": 5}', "SerializationException", "modelName"),
        (b'{"ModelName": "m", "Colour": "red"}', "ValidationException", "'Colour'"),
        (b"{}", "ValidationException", "Value null at 'modelName'"),
    ],
    ids=["malformed", "no text", "no object", "wrong type", "unknown member", "missing member"],
)
def test_bad_bodies_get_their_errors(plane, body, code, message):
    """Rule: 400, AWS-shaped, with a request id, and nothing is made."""
    status, headers, answer = plane.answer("POST", "/", target("CreateModel"), body)
    told = json.loads(answer)
    assert (status, told["__type"], headers["x-amzn-errortype"]) == (400, code, code)
    assert message in told["message"]
    assert headers["x-amzn-requestid"]


def test_all_violations_come_in_one_message(careless):
    """Rule: AWS's wording, counted and joined."""
    text = refusal(
        careless.create_endpoint_config,
        EndpointConfigName="no_underscore",
        ProductionVariants=[{"VariantName": "v", "InitialInstanceCount": 0}],
    )
    assert text.startswith("2 validation errors detected: Value 'no_underscore' at 'endpointConfigName' failed")
    assert text.split("; ")[1].startswith("Value '0' at 'productionVariants.1.member.initialInstanceCount' failed")


def test_other_operations_are_told_what_is_served(sagemaker):
    """Rule: the code of an unknown operation, and the list of the known."""
    text = refusal(sagemaker.list_training_jobs, "UnknownOperationException")
    assert "does not serve ListTrainingJobs" in text
    assert "CreateEndpoint, DescribeEndpoint" in text


def test_an_operation_must_be_posted(plane):
    """Rule: nothing happens on GET, whatever its headers say."""
    status, _, answer = plane.answer("GET", "/", target("ListModels"), b"{}")
    assert (status, json.loads(answer)["__type"]) == (400, "UnknownOperationException")


@pytest.mark.parametrize(
    ("client", "call", "arguments", "message"),
    [
        ("s3", "list_buckets", {}, "AWS_ENDPOINT_URL_S3"),
        ("s3", "get_object", {"Bucket": "bucket", "Key": "key"}, "AWS_ENDPOINT_URL_S3"),
        ("sts", "get_federation_token", {"Name": "none"}, "of STS"),
        ("sns", "list_topics", {}, "AWS_ENDPOINT_URL_SNS"),
        ("dynamodb", "list_tables", {}, "AWS_ENDPOINT_URL_DYNAMODB"),
        ("lambda", "list_functions", {}, "AWS_ENDPOINT_URL_LAMBDA"),
        ("ec2", "describe_instances", {}, "AWS_ENDPOINT_URL_EC2"),
        ("cloudwatch", "list_dashboards", {}, "of CloudWatch"),
    ],
)
def test_calls_of_other_services_are_told_where_they_belong(wire, client, call, arguments, message):
    """Rule: in the protocol of that service, so that the client raises its own kind of error with a request id."""
    with pytest.raises(ClientError) as refused:
        getattr(wire.client(client), call)(**arguments)
    error = refused.value.response
    assert error["Error"]["Code"] in {"UnknownOperationException", "InvalidAction", "NotImplemented"}
    assert message in error["Error"]["Message"]
    assert "It serves CreateModel" in error["Error"]["Message"]
    assert error["ResponseMetadata"]["RequestId"]


def test_a_malformed_signature_is_refused(plane):
    """Rule: whose call it is must be clear."""
    headers = [*target("ListModels"), (b"authorization", b"AWS4-HMAC-SHA256 Credential=nonsense")]
    status, _, answer = plane.answer("POST", "/", headers, b"{}")
    assert (status, json.loads(answer)["__type"]) == (400, "IncompleteSignatureException")


def test_a_body_has_a_limit(plane):
    """Rule: 1 MiB is read, one byte more is not, however it is cut into pieces."""
    filler = b'{"ModelName": "m"' + b" " * (app.MAX_BODY - 18) + b"}"
    assert len(filler) == app.MAX_BODY
    _, _, answer = plane.answer("POST", "/", target("DescribeModel"), filler)
    assert "Could not find model" in json.loads(answer)["message"]
    status, _, answer = plane.answer("POST", "/", target("DescribeModel"), [filler, b" "])
    assert (status, json.loads(answer)["__type"]) == (413, "RequestEntityTooLargeException")


def test_a_client_that_goes_away_leaves_no_trace(plane):
    """Rule: half a request does nothing and raises nothing."""
    body = b'{"ModelName": "m", "PrimaryContainer": {"Image": "first:1"}}'
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "query_string": b"",
        "headers": target("CreateModel"),
    }
    messages = [{"type": "http.request", "body": body, "more_body": True}, {"type": "http.disconnect"}]

    async def receive():
        return messages.pop(0)

    async def send(message):
        raise AssertionError(message)

    plane.run(plane.application(scope, receive, send))
    _, _, answer = plane.answer("POST", "/", target("DescribeModel"), b'{"ModelName": "m"}')
    assert "Could not find model" in json.loads(answer)["message"]


def test_our_mistakes_show_a_request_id_and_no_more(plane, sagemaker, monkeypatch, caplog):
    """Rule: the stack trace is in the log, never in an answer."""

    async def broken(*_):
        raise KeyError("secret detail")

    monkeypatch.setattr(plane.store, "get_model", broken)
    text = refusal(sagemaker.describe_model, "InternalFailure", 500, ModelName="m")
    assert "secret detail" not in text
    [record] = [record for record in caplog.records if record.exc_info]
    assert record.getMessage().split()[1] in text


def test_an_unusable_database_is_a_503(plane, sagemaker, monkeypatch, caplog):
    """Rule: clients may try again; what is wrong with it is for the log."""

    async def broken(*_):
        raise StoreError("the file is damaged")

    monkeypatch.setattr(plane.store, "get_model", broken)
    text = refusal(sagemaker.describe_model, "ServiceUnavailable", 503, ModelName="m")
    assert "damaged" not in text
    assert "the file is damaged" in caplog.text


def test_a_full_disk_is_a_503_that_says_that_nothing_was_changed(plane, sagemaker, monkeypatch):
    """Rule: who is told so may simply try again."""

    async def full(*_):
        raise DiskFull("no room")

    monkeypatch.setattr(plane.store, "add_model", full)
    request = {"ModelName": "m", "PrimaryContainer": {"Image": "first:1"}}
    text = refusal(sagemaker.create_model, "ServiceUnavailable", 503, **request)
    assert "is full. Nothing was changed" in text


@pytest.mark.parametrize(("ready", "status"), [(True, 200), (False, 503)])
def test_health_is_told_in_json(plane, ready, status):
    """Rule: 200 once everything is ready, 503 before, with the facts."""
    plane.ready = (ready, {"status": "x", "workers": 2})
    answered, headers, body = plane.answer("GET", "/healthz")
    assert (answered, json.loads(body)) == (status, {"status": "x", "workers": 2})
    assert headers["content-type"] == "application/json"
    assert headers["x-amzn-requestid"]


def test_a_visitor_gets_a_word_of_help(plane):
    """Rule: a browser or curl at the root sees how to go on, with the address that it used."""
    status, headers, body = plane.answer("GET", "/", [(b"host", b"box:7070")])
    assert (status, headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert b"export AWS_ENDPOINT_URL=http://box:7070" in body
    status, headers, nothing = plane.answer("HEAD", "/", [(b"host", b"box:7070")])
    assert (status, headers["content-length"], nothing) == (200, str(len(body)), b"")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/favicon.ico"), ("OPTIONS", "/"), ("POST", "/"), ("PUT", "/a/b")]
)
def test_any_other_request_is_refused_clearly(plane, method, path):
    """Rule: whatever it is, an error with a request id that says what is served."""
    status, headers, body = plane.answer(method, path)
    assert status == 404
    assert headers["x-amzn-errortype"] == "UnknownOperationException"
    assert headers["x-amzn-requestid"]
    assert f"does not serve {method} {path}" in json.loads(body)["Message"]


def test_what_has_no_effect_is_found_in_all_requests():
    """Rule: paths of given members alone; a deployment configuration acts in a later version."""
    assert ineffective.without_effect({"Containers": [{"Image": "i", "Environment": {}}]}) == []
    primary = {"PrimaryContainer": {"ContainerHostname": "h"}, "InferenceExecutionConfig": {"Mode": "Serial"}}
    assert ineffective.without_effect(primary) == ["InferenceExecutionConfig", "PrimaryContainer.ContainerHostname"]
    source = {"ModelDataSource": {"S3DataSource": {"ETag": "e"}}}
    assert ineffective.without_effect({"Containers": [{}, source]}) == [
        "Containers[1].ModelDataSource.S3DataSource.ETag"
    ]


def test_unmodified_boto3_over_a_real_socket(plane):
    """Rule: the same, through uvicorn and HTTP, in the account that the access table names."""
    plane.gate.take(AccessTable(is_open=True, account="999999999999"))
    application = app.application(plane.context, plane)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(application, log_level="error", lifespan="off"))
        server.install_signal_handlers = lambda: None
        thread = threading.Thread(target=plane.run, args=(server.serve([listening]),))
        thread.start()
        try:
            client = boto3.client(
                "sagemaker",
                "eu-west-1",
                endpoint_url=f"http://127.0.0.1:{listening.getsockname()[1]}",
                aws_access_key_id="a",
                aws_secret_access_key="s",
                config=Config(retries={"total_max_attempts": 1}),
            )
            answer = client.create_model(ModelName="M", PrimaryContainer={"Image": "first:1"})
            assert answer["ModelArn"] == "arn:aws:sagemaker:eu-west-1:999999999999:model/m"
            assert "date" in answer["ResponseMetadata"]["HTTPHeaders"]
            assert client.describe_model(ModelName="M")["PrimaryContainer"] == {"Image": "first:1"}
            assert ACCOUNT not in refusal(client.describe_model, ModelName="none")
            client.close()
        finally:
            server.should_exit = True
            thread.join(20)
    assert not thread.is_alive()
    assert asyncio.all_tasks(plane.loop) == set()
