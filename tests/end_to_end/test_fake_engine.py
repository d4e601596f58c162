"""`--engine fake`: the whole API without images or model data, for tests of one's own deployment code."""

from collections.abc import Callable

from support.server import Server, call, create_endpoint, wait_for_status, wait_until_gone


def test_the_fake_engine_takes_any_image_and_answers(make_server: Callable[..., Server]) -> None:
    """Every image name is known, no model data is fetched, and a call gets its own body back."""
    server = make_server(engine="fake").start()
    sagemaker = server.client("sagemaker")
    image = "123456789012.dkr.ecr.us-east-1.amazonaws.com/anything:1"
    containers = [{"Image": image, "ModelDataUrl": "s3://nowhere/model.tar.gz"}] * 2
    create_endpoint(server, "pretend", *containers)
    [variant] = wait_for_status(sagemaker, "pretend", "InService")["ProductionVariants"]
    assert [deployed["SpecifiedImage"] for deployed in variant["DeployedImages"]] == [image, image]
    assert b"hello" in call(server.client("sagemaker-runtime"), "pretend", b"hello")
    sagemaker.delete_endpoint(EndpointName="pretend")
    wait_until_gone(sagemaker, "pretend")
