"""CreateEndpointConfig, DescribeEndpointConfig, ListEndpointConfigs, DeleteEndpointConfig."""

import logging

import pytest

from api.harness import ARN, refusal, variant


def test_a_config_is_described_as_it_was_given(sagemaker, model):
    """Rule: every member is echoed, and the default weight filled in."""
    given = {
        "ProductionVariants": [
            variant("a", InitialVariantWeight=0.5, ContainerStartupHealthCheckTimeoutInSeconds=60),
            variant("b", VolumeSizeInGB=5, RoutingConfig={"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"}),
        ],
        "KmsKeyId": "key",
        "DataCaptureConfig": {
            "InitialSamplingPercentage": 10,
            "DestinationS3Uri": "s3://bucket/captured",
            "CaptureOptions": [{"CaptureMode": "Input"}],
        },
    }
    arn = sagemaker.create_endpoint_config(EndpointConfigName="My-Config", **given)["EndpointConfigArn"]
    assert arn == f"{ARN}:endpoint-config/my-config"
    answer = sagemaker.describe_endpoint_config(EndpointConfigName="My-Config")
    del answer["ResponseMetadata"], answer["CreationTime"]
    given["ProductionVariants"][1]["InitialVariantWeight"] = 1.0
    assert answer == {"EndpointConfigName": "My-Config", "EndpointConfigArn": arn, **given}


def test_a_missing_config_is_a_validation_exception(sagemaker):
    """Rule: AWS's text, with the lower-case ARN, for describe and delete."""
    text = f'Could not find endpoint configuration "{ARN}:endpoint-config/none".'
    assert refusal(sagemaker.describe_endpoint_config, EndpointConfigName="None") == text
    assert refusal(sagemaker.delete_endpoint_config, EndpointConfigName="None") == text


def test_a_name_is_taken_whatever_its_case(sagemaker, config):
    """Rule: the ARNs would be the same."""
    text = refusal(sagemaker.create_endpoint_config, EndpointConfigName="CONFIG", ProductionVariants=[variant()])
    assert text == f'Cannot create already existing endpoint configuration "{ARN}:endpoint-config/config".'


def test_the_model_must_exist(sagemaker, model):
    """Rule: of every variant, now."""
    variants = [variant("a"), variant("b", "Gone")]
    text = refusal(sagemaker.create_endpoint_config, EndpointConfigName="c", ProductionVariants=variants)
    assert text == f'Could not find model "{ARN}:model/gone".'


def test_a_config_in_use_may_be_deleted(sagemaker, endpoint, config):
    """Rule: the endpoint keeps its copy; SDKs delete the configuration before the endpoint."""
    sagemaker.delete_endpoint_config(EndpointConfigName=config)
    assert sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointConfigName"] == config
    assert "Could not find" in refusal(sagemaker.describe_endpoint_config, EndpointConfigName=config)


def test_variant_names_are_unique(sagemaker, model):
    """Rule: calls and metrics name the variant."""
    variants = [variant("a"), variant("a")]
    text = refusal(sagemaker.create_endpoint_config, EndpointConfigName="c", ProductionVariants=variants)
    assert text == 'VariantName must be unique within an endpoint configuration; given more than once: "a".'


def test_ten_variants_are_the_most(careless, model):
    """Rule: the service model's limit."""
    variants = [variant(f"v{n}") for n in range(11)]
    text = refusal(careless.create_endpoint_config, EndpointConfigName="c", ProductionVariants=variants)
    assert "at 'productionVariants' failed to satisfy constraint: Member must have length less than" in text
    careless.create_endpoint_config(EndpointConfigName="c", ProductionVariants=variants[:10])


@pytest.mark.parametrize("member", ["InitialInstanceCount", "InstanceType"])
def test_a_variant_needs_a_count_and_a_type(sagemaker, model, member):
    """Rule: outside the shape, which does not require them."""
    broken = variant()
    del broken[member]
    text = refusal(sagemaker.create_endpoint_config, EndpointConfigName="c", ProductionVariants=[broken])
    assert text == f"ProductionVariants[0].{member} must be given."


def test_an_unknown_instance_type_is_refused_in_awss_words(sagemaker, model):
    """Rule: the enum comes from the service model."""
    broken = variant(InstanceType="ml.t3.medium.extra")
    text = refusal(sagemaker.create_endpoint_config, EndpointConfigName="c", ProductionVariants=[variant("a"), broken])
    assert text.startswith(
        "1 validation error detected: Value 'ml.t3.medium.extra' at 'productionVariants.2.member.instanceType' "
        "failed to satisfy constraint: Member must satisfy enum value set: ["
    )


def test_instance_pools_stand_in_for_a_type(sagemaker, model):
    """Rule: one of the two; a pool may not change the model."""
    pools = [{"InstanceType": "ml.m5.xlarge", "Priority": 1}]
    both = variant(InstancePools=pools)
    text = refusal(sagemaker.create_endpoint_config, EndpointConfigName="c", ProductionVariants=[both])
    assert "InstanceType and InstancePools cannot be given together" in text
    pooled = {member: value for member, value in both.items() if member != "InstanceType"}
    override = pooled | {"InstancePools": [{**pools[0], "ModelNameOverride": "other"}]}
    text = refusal(sagemaker.create_endpoint_config, EndpointConfigName="c", ProductionVariants=[override])
    assert "InstancePools with ModelNameOverride is not supported" in text
    sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[pooled])


def test_prefix_aware_routing_needs_its_members(sagemaker, model):
    """Rule: both of them."""
    routing = {"RoutingStrategy": "PREFIX_AWARE", "PrefixAwareRoutingConfig": {"PrefixLength": 1024}}
    broken = variant(RoutingConfig=routing)
    text = refusal(sagemaker.create_endpoint_config, EndpointConfigName="c", ProductionVariants=[broken])
    assert "needs PrefixAwareRoutingConfig with PrefixLength and ConcurrencyThreshold" in text


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            {"ProductionVariants": [variant(ServerlessConfig={"MemorySizeInMB": 1024, "MaxConcurrency": 1})]},
            "ProductionVariants[0].ServerlessConfig is not supported",
        ),
        (
            {"ProductionVariants": [{"VariantName": "v", "InstanceType": "ml.m5.xlarge", "InitialInstanceCount": 1}]},
            "ProductionVariants[0] without ModelName is not supported: Polyport does not serve inference components",
        ),
        (
            {"AsyncInferenceConfig": {"OutputConfig": {"S3OutputPath": "s3://bucket/out"}}},
            "AsyncInferenceConfig is not supported: Polyport does not serve asynchronous endpoints.",
        ),
    ],
    ids=["serverless", "inference components", "asynchronous"],
)
def test_other_kinds_of_endpoints_are_not_served(sagemaker, model, members, message):
    """Rule: refused clearly, in place of an endpoint that is something else."""
    request = {"ProductionVariants": [variant()]} | members
    assert message in refusal(sagemaker.create_endpoint_config, EndpointConfigName="c", **request)


def test_members_without_effect_are_logged(sagemaker, model, caplog):
    """Rule: kept, echoed, and said to have no effect; what is acted on is not named."""
    caplog.set_level(logging.INFO, "polyport")
    sagemaker.create_endpoint_config(
        EndpointConfigName="c",
        KmsKeyId="key",
        ProductionVariants=[
            variant("a", VolumeSizeInGB=5),
            variant("b", RoutingConfig={"RoutingStrategy": "KV_AWARE"}),
            variant("c", RoutingConfig={"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"}),
        ],
    )
    assert (
        "KmsKeyId, ProductionVariants[0].InstanceType, ProductionVariants[0].VolumeSizeInGB, "
        "ProductionVariants[1].InstanceType, ProductionVariants[1].RoutingConfig.RoutingStrategy, "
        "ProductionVariants[2].InstanceType" in caplog.text
    )


def test_configs_are_listed(sagemaker, model):
    """Rule: filters, orders and tokens as for models."""
    for name in ("b", "A", "c"):
        sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant()])
    first = sagemaker.list_endpoint_configs(SortBy="Name", SortOrder="Ascending", MaxResults=2)
    assert [item["EndpointConfigName"] for item in first["EndpointConfigs"]] == ["A", "b"]
    assert set(first["EndpointConfigs"][0]) == {"EndpointConfigName", "EndpointConfigArn", "CreationTime"}
    rest = sagemaker.list_endpoint_configs(SortBy="Name", SortOrder="Ascending", NextToken=first["NextToken"])
    assert [item["EndpointConfigName"] for item in rest["EndpointConfigs"]] == ["c"]
    pages = sagemaker.get_paginator("list_endpoint_configs").paginate(PaginationConfig={"PageSize": 1})
    assert [item["EndpointConfigName"] for page in pages for item in page["EndpointConfigs"]] == ["c", "A", "b"]
