"""CreateModel, DescribeModel, ListModels, DeleteModel, and the rules of multi-container models."""

import dataclasses
import logging

import pytest

from api.harness import ACCOUNT, ARN, refusal
from polyport.api import app, containers
from polyport.domain.endpoints import Mode
from polyport.domain.instances import ContainerSpec, ModelSource

ROLE = f"arn:aws:iam::{ACCOUNT}:role/Role"
S3_SOURCE = {"S3Uri": "s3://bucket/model/", "S3DataType": "S3Prefix", "CompressionType": "None"}


def named(*hostnames, image="first:1"):
    return [{"Image": image, "ContainerHostname": hostname} for hostname in hostnames]


def unnamed(count):
    return [{"Image": "first:1"} for _ in range(count)]


# What comes back


def test_a_model_is_described_as_it_was_given(sagemaker):
    """Rule: every member is echoed, acted on or not; tags are not part of it."""
    given = {
        "ExecutionRoleArn": ROLE,
        "Containers": [
            {
                "Image": "first:1",
                "ContainerHostname": "a",
                "Mode": "SingleModel",
                "Environment": {"KEY": "value", "EMPTY": ""},
                "ModelDataUrl": "s3://bucket/model.tar.gz",
                "ContainerMetricsConfig": {"MetricsEndpoints": [{"MetricsEndpointPath": "/m"}]},
            },
            {
                "Image": "second:1",
                "ContainerHostname": "b",
                "ModelDataSource": {"S3DataSource": S3_SOURCE},
                "AdditionalModelDataSources": [{"ChannelName": "lora", "S3DataSource": S3_SOURCE}],
            },
        ],
        "InferenceExecutionConfig": {"Mode": "Direct"},
        "VpcConfig": {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]},
        "EnableNetworkIsolation": True,
    }
    arn = sagemaker.create_model(ModelName="Two-Models", Tags=[{"Key": "k", "Value": "v"}], **given)["ModelArn"]
    assert arn == f"{ARN}:model/two-models"
    answer = sagemaker.describe_model(ModelName="Two-Models")
    del answer["ResponseMetadata"]
    assert answer.pop("CreationTime").timestamp() == 1_700_000_001.0
    assert answer == {"ModelName": "Two-Models", "ModelArn": arn, **given}


def test_network_isolation_is_off_unless_asked_for(sagemaker):
    """Rule: DescribeModel says so."""
    sagemaker.create_model(ModelName="m", PrimaryContainer={"Image": "first:1"})
    assert sagemaker.describe_model(ModelName="m")["EnableNetworkIsolation"] is False


def test_network_isolation_is_refused_where_it_cannot_be_kept(plane, sagemaker):
    """Rule: never stored and ignored. Models that do not ask for it are fine."""
    context = dataclasses.replace(plane.context, why_no_network_isolation=lambda: "It needs bubblewrap.")
    plane.application = app.application(context, plane)
    image = {"Image": "first:1"}
    refused = refusal(sagemaker.create_model, ModelName="m", PrimaryContainer=image, EnableNetworkIsolation=True)
    assert refused == "It needs bubblewrap."
    assert sagemaker.list_models()["Models"] == []
    sagemaker.create_model(ModelName="m", PrimaryContainer=image, EnableNetworkIsolation=False)


def test_a_missing_model_is_a_validation_exception(sagemaker):
    """Rule: AWS's text, with the lower-case ARN, for describe and delete."""
    text = f'Could not find model "{ARN}:model/no-model".'
    assert refusal(sagemaker.describe_model, ModelName="No-Model") == text
    assert refusal(sagemaker.delete_model, ModelName="No-Model") == text


def test_a_name_is_taken_whatever_its_case(sagemaker, model):
    """Rule: the ARNs would be the same."""
    text = refusal(sagemaker.create_model, ModelName="ONE", PrimaryContainer={"Image": "first:1"})
    assert text == f'Cannot create already existing model "{ARN}:model/one".'


def test_a_deleted_model_is_gone_and_its_name_is_free(sagemaker, model):
    """Rule: also while a configuration names it."""
    sagemaker.delete_model(ModelName=model)
    assert "Could not find model" in refusal(sagemaker.describe_model, ModelName=model)
    sagemaker.create_model(ModelName=model, PrimaryContainer={"Image": "first:1"})


def test_regions_are_apart(wire, sagemaker, model):
    """Rule: the region that a call is signed for is the region of the resource."""
    elsewhere = wire.client(region="cn-north-1")
    assert refusal(elsewhere.describe_model, ModelName=model) == (
        f'Could not find model "arn:aws-cn:sagemaker:cn-north-1:{ACCOUNT}:model/one".'
    )


# Which containers


def test_primary_container_and_containers_exclude_each_other(sagemaker):
    """Rule: one of the two."""
    text = refusal(
        sagemaker.create_model, ModelName="m", PrimaryContainer={"Image": "first:1"}, Containers=named("a", "b")
    )
    assert text == "PrimaryContainer and Containers cannot be given together: give one of them."


@pytest.mark.parametrize("members", [{}, {"Containers": []}])
def test_a_model_has_at_least_one_container(sagemaker, members):
    """Rule: neither PrimaryContainer nor a container in Containers is refused."""
    assert "at least one container" in refusal(sagemaker.create_model, ModelName="m", **members)


def test_an_empty_list_beside_a_primary_container_is_nothing(sagemaker):
    """Rule: some clients always send the list."""
    sagemaker.create_model(ModelName="m", PrimaryContainer={"Image": "first:1"}, Containers=[])


def test_fifteen_containers_are_accepted(sagemaker):
    """Rule: the largest model there is."""
    sagemaker.create_model(ModelName="m", Containers=unnamed(15))


def test_sixteen_containers_are_refused(careless):
    """Rule: the service model's limit, in AWS's words."""
    text = refusal(careless.create_model, ModelName="m", Containers=unnamed(16))
    assert text.startswith("1 validation error detected: Value ")
    assert "at 'containers' failed to satisfy constraint: Member must have length less than or equal to 15" in text


def test_one_container_in_the_list_is_accepted(sagemaker):
    """Rule: a list of one is a pipeline, or a direct model, of one."""
    sagemaker.create_model(ModelName="serial", Containers=unnamed(1))
    sagemaker.create_model(ModelName="direct", Containers=named("a"), InferenceExecutionConfig={"Mode": "Direct"})


def test_an_image_must_be_given(sagemaker):
    """Rule: the service model does not require it; without one nothing can run."""
    text = refusal(sagemaker.create_model, ModelName="m", Containers=[{"Image": "first:1"}, {}])
    assert text == "Containers[1].Image must be given."


def test_model_packages_are_not_served(sagemaker):
    """Rule: what would make another model is refused, not ignored."""
    text = refusal(sagemaker.create_model, ModelName="m", PrimaryContainer={"ModelPackageName": "package"})
    assert text.startswith("PrimaryContainer.ModelPackageName is not supported")


def test_an_unknown_image_is_refused_with_the_known_ones(sagemaker):
    """Rule: a typing error shows now, not while deploying."""
    text = refusal(sagemaker.create_model, ModelName="m", PrimaryContainer={"Image": "frist:1"})
    assert text == 'ECR image "frist:1" is invalid. There is no image frist:1. Known: first:1, second:1, odd:1.'


def test_what_aws_would_not_like_about_an_image_is_logged(sagemaker, caplog):
    """Rule: a missing label is no error here."""
    sagemaker.create_model(ModelName="m", PrimaryContainer={"Image": "odd:1"})
    assert "image odd:1: no label" in caplog.text


# How they are called


def test_direct_needs_a_host_name_on_every_container(sagemaker):
    """Rule: calls name the container."""
    text = refusal(
        sagemaker.create_model,
        ModelName="m",
        Containers=[*named("a"), *unnamed(1)],
        InferenceExecutionConfig={"Mode": "Direct"},
    )
    assert text == "InferenceExecutionConfig.Mode Direct needs a ContainerHostname on every container."


def test_serial_takes_host_names_for_all_or_for_none(sagemaker):
    """Rule: a half-named pipeline is refused, also when Serial is the default."""
    text = refusal(sagemaker.create_model, ModelName="m", Containers=[*named("a"), *unnamed(1)])
    assert text == "ContainerHostname must be given for all containers or for none of them."
    sagemaker.create_model(ModelName="all", Containers=named("a", "b"), InferenceExecutionConfig={"Mode": "Serial"})
    sagemaker.create_model(ModelName="none", Containers=unnamed(2))


@pytest.mark.parametrize("mode", ["Direct", "Serial"])
def test_host_names_are_unique(sagemaker, mode):
    """Rule: a name identifies one container."""
    text = refusal(
        sagemaker.create_model,
        ModelName="m",
        Containers=named("a", "b", "a"),
        InferenceExecutionConfig={"Mode": mode},
    )
    assert text == 'ContainerHostname must be unique within a model; given more than once: "a".'


def test_direct_needs_the_list(sagemaker):
    """Rule: a primary container has no name to be called by; Serial makes no difference to it and is accepted."""
    one = {"ModelName": "m", "PrimaryContainer": {"Image": "first:1", "ContainerHostname": "a"}}
    text = refusal(sagemaker.create_model, **one, InferenceExecutionConfig={"Mode": "Direct"})
    assert text == "InferenceExecutionConfig.Mode Direct needs Containers, each with a ContainerHostname."
    sagemaker.create_model(**one, InferenceExecutionConfig={"Mode": "Serial"})


def test_unnamed_containers_are_numbered_when_deployed():
    """Rule: `container-1`, `container-2`, ... by position; the definition stays as given."""
    specs = containers.specify({"Containers": unnamed(3)})
    assert [spec.hostname for spec in specs] == ["container-1", "container-2", "container-3"]
    assert containers.mode_of({"Containers": unnamed(3)}) is Mode.SERIAL


def test_the_container_of_a_model_with_one_is_called_primary():
    """Rule: its host name is ignored."""
    model = {"PrimaryContainer": {"Image": "first:1", "ContainerHostname": "mine", "Environment": {"A": "b"}}}
    assert containers.specify(model) == (ContainerSpec("primary", "first:1", {"A": "b"}),)
    assert containers.mode_of(model) is Mode.SINGLE


@pytest.mark.parametrize("mode", ["Serial", "Direct"])
def test_a_list_of_one_keeps_its_mode(mode):
    """Rule: only PrimaryContainer makes a single-container model."""
    model = {"Containers": named("a"), "InferenceExecutionConfig": {"Mode": mode}}
    assert containers.mode_of(model) == mode
    assert containers.specify(model)[0].hostname == "a"


# Environment


def test_the_environment_of_all_containers_has_one_limit(sagemaker):
    """Rule: 32 KB over all maps, keys and values in UTF-8; exactly that is accepted."""
    values = {f"K{n:03}": "v" * 1020 for n in range(16)}
    fits = [{"Image": "first:1", "Environment": values}, {"Image": "first:1", "Environment": values}]
    sagemaker.create_model(ModelName="fits", Containers=fits)
    too_much = [fits[0], {"Image": "first:1", "Environment": {**values, "K000": "v" * 1019 + "ü"}}]
    text = refusal(sagemaker.create_model, ModelName="m", Containers=too_much)
    assert "32769 bytes" in text
    assert "at most 32768 bytes" in text


def test_an_environment_has_at_most_a_hundred_entries(careless):
    """Rule: the service model's limit."""
    values = {f"K{n}": "" for n in range(101)}
    text = refusal(careless.create_model, ModelName="m", PrimaryContainer={"Image": "first:1", "Environment": values})
    assert "at 'primaryContainer.environment' failed to satisfy constraint" in text


def test_an_environment_name_is_checked(careless):
    """Rule: the service model's pattern for keys."""
    container = {"Image": "first:1", "Environment": {"NOT-A-NAME": ""}}
    text = refusal(careless.create_model, ModelName="m", PrimaryContainer=container)
    assert "Map keys must satisfy constraint" in text


# Model data


def test_the_model_data_members_exclude_each_other(sagemaker):
    """Rule: one of ModelDataUrl and ModelDataSource."""
    container = {
        "Image": "first:1",
        "ModelDataUrl": "s3://bucket/model.tar.gz",
        "ModelDataSource": {"S3DataSource": S3_SOURCE},
    }
    text = refusal(sagemaker.create_model, ModelName="m", PrimaryContainer=container)
    assert text == ("PrimaryContainer: ModelDataUrl and ModelDataSource cannot be given together: give one of them.")


def test_all_model_data_is_looked_at(sagemaker, plane):
    """Rule: of every container, additional sources too."""
    sagemaker.create_model(
        ModelName="m",
        Containers=[
            {"Image": "first:1", "ModelDataUrl": "s3://bucket/a.tar.gz"},
            {
                "Image": "first:1",
                "ModelDataSource": {"S3DataSource": S3_SOURCE},
                "AdditionalModelDataSources": [
                    {"ChannelName": "lora", "S3DataSource": {**S3_SOURCE, "S3Uri": "s3://b/l/"}}
                ],
            },
        ],
    )
    assert plane.artifacts.asked == [
        ModelSource("s3://bucket/a.tar.gz"),
        ModelSource("s3://bucket/model/", "S3Prefix", "None"),
        ModelSource("s3://b/l/", "S3Prefix", "None"),
    ]


def test_missing_model_data_is_refused(sagemaker):
    """Rule: the beginning of AWS's text, then the reason; no model is made."""
    container = {"Image": "first:1", "ModelDataUrl": "s3://bucket/missing.tar.gz"}
    text = refusal(sagemaker.create_model, ModelName="m", PrimaryContainer=container)
    assert text.startswith("Could not access model data at s3://bucket/missing.tar.gz. ")
    assert text.endswith("it does not exist")
    assert "Could not find model" in refusal(sagemaker.describe_model, ModelName="m")


def test_model_data_may_be_a_folder_of_this_machine(sagemaker):
    """Rule: `file://` is an extension to the service model's pattern."""
    sagemaker.create_model(
        ModelName="m", PrimaryContainer={"Image": "first:1", "ModelDataUrl": "file:///models/a.tar.gz"}
    )


@pytest.mark.parametrize("url", ["http://127.0.0.1/a.tar.gz", "ftp://host/a", "model.tar.gz"])
def test_other_urls_are_refused(sagemaker, url):
    """Rule: the service model's pattern, in AWS's words."""
    container = {"Image": "first:1", "ModelDataUrl": url}
    text = refusal(sagemaker.create_model, ModelName="m", PrimaryContainer=container)
    assert text.startswith(
        f"1 validation error detected: Value '{url}' at 'primaryContainer.modelDataUrl' failed to satisfy constraint"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"S3Uri": "s3://bucket/model"}, "S3Uri must end in a slash"),
        ({"CompressionType": "Gzip"}, "CompressionType Gzip needs S3DataType S3Object"),
        ({"ManifestS3Uri": "s3://bucket/manifest"}, "ManifestS3Uri is not supported"),
        (
            {"HubAccessConfig": {"HubContentArn": "arn:aws:sagemaker:us-east-1:aws:hub-content/h/Model/m/1"}},
            "HubAccess",
        ),
    ],
    ids=["prefix without slash", "archive under a prefix", "manifest", "hub"],
)
def test_a_source_of_model_data_has_rules(careless, change, message):
    """Rule: the reference's layouts, and nothing that would be something else than what was asked for."""
    for container in (
        {"ModelDataSource": {"S3DataSource": S3_SOURCE | change}},
        {"AdditionalModelDataSources": [{"ChannelName": "c", "S3DataSource": S3_SOURCE | change}]},
    ):
        text = refusal(careless.create_model, ModelName="m", PrimaryContainer={"Image": "first:1", **container})
        assert message in text


def test_an_empty_source_of_model_data_is_refused(sagemaker):
    """Rule: S3DataSource is the only kind there is."""
    container = {"Image": "first:1", "ModelDataSource": {}}
    text = refusal(sagemaker.create_model, ModelName="m", PrimaryContainer=container)
    assert text == "PrimaryContainer.ModelDataSource.S3DataSource must be given."


def test_channels_are_unique(sagemaker):
    """Rule: each has a folder of its own."""
    twice = [{"ChannelName": "lora", "S3DataSource": S3_SOURCE}] * 2
    container = {"Image": "first:1", "AdditionalModelDataSources": twice}
    text = refusal(sagemaker.create_model, ModelName="m", PrimaryContainer=container)
    assert 'ChannelName "lora" is given more than once' in text


# What is not served, and what has no effect


def test_one_multi_model_container_is_not_served(sagemaker):
    """Rule: said clearly, in place of an endpoint that behaves otherwise."""
    container = {"Image": "first:1", "Mode": "MultiModel", "ModelDataUrl": "s3://bucket/models/"}
    text = refusal(sagemaker.create_model, ModelName="m", PrimaryContainer=container)
    assert text.startswith("PrimaryContainer.Mode MultiModel is not supported")


def test_two_multi_model_containers_are_refused_in_awss_words(sagemaker):
    """Rule: at most one in a pipeline."""
    containers = [{"Image": "first:1", "Mode": "MultiModel"}] * 2
    text = refusal(sagemaker.create_model, ModelName="m", Containers=containers)
    assert text == "More than one container in MultiModel mode is not supported with inference pipeline."


@pytest.mark.parametrize(
    ("access", "message"),
    [
        ({"RepositoryAccessMode": "Vpc"}, "RepositoryAccessMode Vpc needs VpcConfig"),
        (
            {
                "RepositoryAccessMode": "Platform",
                "RepositoryAuthConfig": {"RepositoryCredentialsProviderArn": "arn:aws:lambda:us-east-1:1:function:f"},
            },
            "RepositoryAuthConfig can be given with RepositoryAccessMode Vpc only",
        ),
    ],
    ids=["no network", "credentials for ECR"],
)
def test_a_private_registry_has_rules(sagemaker, access, message):
    """Rule: the reference's section 2.2."""
    container = {"Image": "first:1", "ImageConfig": access}
    assert message in refusal(sagemaker.create_model, ModelName="m", PrimaryContainer=container)


def test_members_without_effect_are_logged(sagemaker, caplog):
    """Rule: kept, echoed, and said to have no effect."""
    caplog.set_level(logging.INFO, "polyport")
    sagemaker.create_model(
        ModelName="m",
        ExecutionRoleArn=ROLE,
        Containers=[{"Image": "first:1", "ContainerMetricsConfig": {}}],
    )
    assert "Containers[0].ContainerMetricsConfig, ExecutionRoleArn" in caplog.text


# Lists


def test_models_are_listed_newest_first_ten_at_a_time(sagemaker):
    """Rule: the defaults of SortBy, SortOrder and MaxResults."""
    for n in range(12):
        sagemaker.create_model(ModelName=f"m{n}", PrimaryContainer={"Image": "first:1"})
    first = sagemaker.list_models()
    assert [model["ModelName"] for model in first["Models"]] == [f"m{n}" for n in range(11, 1, -1)]
    second = sagemaker.list_models(NextToken=first["NextToken"])
    assert [model["ModelName"] for model in second["Models"]] == ["m1", "m0"]
    assert "NextToken" not in second
    assert set(second["Models"][0]) == {"ModelName", "ModelArn", "CreationTime"}


def test_creation_times_bound_a_list(sagemaker):
    """Rule: "before" excludes the time, "after" includes it; a time may be taken from an answer."""
    for name in ("a", "b", "c"):
        sagemaker.create_model(ModelName=name, PrimaryContainer={"Image": "first:1"})
    middle = sagemaker.describe_model(ModelName="b")["CreationTime"]

    def listed(**members):
        return [model["ModelName"] for model in sagemaker.list_models(SortOrder="Ascending", **members)["Models"]]

    assert listed(CreationTimeAfter=middle) == ["b", "c"]
    assert listed(CreationTimeBefore=middle) == ["a"]
    assert listed(CreationTimeAfter=middle, CreationTimeBefore=middle) == []
    assert listed(SortBy="Name", NameContains="C") == ["c"]
