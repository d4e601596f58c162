"""AddTags, ListTags, DeleteTags, and tags given on creation."""

import pytest

from api.harness import ACCOUNT, ARN, refusal, variant

MODEL = f"{ARN}:model/one"


def tags(**values):
    return [{"Key": key, "Value": value} for key, value in values.items()]


def test_tags_may_be_given_on_creation(sagemaker, model):
    """Rule: of models, configurations and endpoints."""
    given = tags(team="a", Empty="")
    sagemaker.create_model(ModelName="m", PrimaryContainer={"Image": "first:1"}, Tags=given)
    sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant()], Tags=given)
    sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c", Tags=given)
    for resource in ("model/m", "endpoint-config/c", "endpoint/e"):
        answer = sagemaker.list_tags(ResourceArn=f"{ARN}:{resource}")
        assert sorted(answer["Tags"], key=str) == sorted(given, key=str)
        assert "NextToken" not in answer


def test_adding_answers_with_all_tags(sagemaker, model):
    """Rule: equal keys are overwritten, the others stay; keys keep their case."""
    sagemaker.add_tags(ResourceArn=MODEL, Tags=tags(a="1", b="1"))
    answer = sagemaker.add_tags(ResourceArn=MODEL, Tags=tags(b="2", B="3"))
    assert {tag["Key"]: tag["Value"] for tag in answer["Tags"]} == {"a": "1", "b": "2", "B": "3"}
    assert sagemaker.add_tags(ResourceArn=MODEL, Tags=[])["Tags"] == answer["Tags"]


def test_deleting_takes_keys_away(sagemaker, model):
    """Rule: keys that are not there are fine."""
    sagemaker.add_tags(ResourceArn=MODEL, Tags=tags(a="1", b="1"))
    sagemaker.delete_tags(ResourceArn=MODEL, TagKeys=["a", "unknown"])
    assert sagemaker.list_tags(ResourceArn=MODEL)["Tags"] == tags(b="1")


def test_the_name_in_an_arn_may_have_its_own_case(sagemaker, config):
    """Rule: ARNs are compared with lower-case names."""
    sagemaker.create_endpoint(EndpointName="Demo", EndpointConfigName=config)
    sagemaker.add_tags(ResourceArn=f"{ARN}:endpoint/Demo", Tags=tags(a="1"))
    assert sagemaker.list_tags(ResourceArn=f"{ARN}:endpoint/demo")["Tags"] == tags(a="1")


@pytest.mark.parametrize(
    ("arn", "message"),
    [
        (f"{ARN}:model/none", f'Could not find model "{ARN}:model/none".'),
        (f"{ARN}:endpoint-config/none", "Could not find endpoint configuration"),
        (f"{ARN}:endpoint/none", "Could not find endpoint "),
        (f"{ARN}:training-job/t", "Could not find resource"),
        (f"{ARN}:model", "Could not find resource"),
        (f"arn:aws:sagemaker:eu-west-1:{ACCOUNT}:model/one", "Could not find resource"),
        ("arn:aws:sagemaker:us-east-1:999999999999:model/one", "Could not find resource"),
        (f"arn:aws-cn:sagemaker:us-east-1:{ACCOUNT}:model/one", "Could not find resource"),
    ],
    ids=["model", "config", "endpoint", "kind", "no name", "region", "account", "partition"],
)
def test_there_must_be_such_a_resource(sagemaker, model, arn, message):
    """Rule: in this account and region, of a kind that there is, for all three operations."""
    assert message in refusal(sagemaker.add_tags, ResourceArn=arn, Tags=tags(a="1"))
    assert message in refusal(sagemaker.list_tags, ResourceArn=arn)
    assert message in refusal(sagemaker.delete_tags, ResourceArn=arn, TagKeys=["a"])


def test_a_malformed_arn_is_refused_in_awss_words(sagemaker):
    """Rule: the service model's pattern."""
    text = refusal(sagemaker.list_tags, ResourceArn="arn:aws:s3:::bucket")
    assert "at 'resourceArn' failed to satisfy constraint: Member must satisfy regular expression pattern" in text


@pytest.mark.parametrize("key", ["aws:name", "AWS:name"])
def test_reserved_keys_are_refused(sagemaker, model, key):
    """Rule: `aws:` belongs to AWS, on creation too."""
    given = [{"Key": key, "Value": ""}]
    text = f'Tag keys that start with "aws:" are reserved: "{key}".'
    assert refusal(sagemaker.add_tags, ResourceArn=MODEL, Tags=given) == text
    call = sagemaker.create_model
    assert refusal(call, ModelName="m", PrimaryContainer={"Image": "first:1"}, Tags=given) == text


def test_keys_are_unique_within_a_call(sagemaker, model):
    """Rule: two values for one key contradict each other."""
    text = refusal(sagemaker.add_tags, ResourceArn=MODEL, Tags=[*tags(a="1"), *tags(a="2")])
    assert text == 'Tag keys must be unique; given more than once: "a".'


def test_fifty_tags_are_the_most(sagemaker, careless, model):
    """Rule: over all calls, and in one call by the service model's limit; what is refused changes nothing."""
    sagemaker.add_tags(ResourceArn=MODEL, Tags=tags(**{f"k{n}": "" for n in range(49)}))
    text = refusal(sagemaker.add_tags, ResourceArn=MODEL, Tags=tags(x="", y=""))
    assert text.startswith("A resource can have at most 50 tags")
    assert len(sagemaker.list_tags(ResourceArn=MODEL)["Tags"]) == 49
    text = refusal(careless.add_tags, ResourceArn=MODEL, Tags=tags(**{f"k{n}": "" for n in range(51)}))
    assert "at 'tags' failed to satisfy constraint" in text


def test_the_list_of_tags_has_one_page(sagemaker, model):
    """Rule: the smallest page holds all that a resource can have; a token is none of ours."""
    sagemaker.add_tags(ResourceArn=MODEL, Tags=tags(**{f"k{n}": "" for n in range(50)}))
    pages = list(sagemaker.get_paginator("list_tags").paginate(ResourceArn=MODEL))
    assert [len(page["Tags"]) for page in pages] == [50]
    assert "NextToken" in refusal(sagemaker.list_tags, ResourceArn=MODEL, NextToken="made up")
