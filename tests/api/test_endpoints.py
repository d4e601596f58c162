"""The life of endpoints as the API sees it; the tests play the reconciler."""

import pytest
from botocore.exceptions import WaiterError
from msgspec.structs import replace

from api.harness import ARN, deployment, refusal, variant
from polyport.api import endpoints
from polyport.domain.endpoints import Mode, Status
from polyport.errors import StaleWrite

DEMO = f"{ARN}:endpoint/demo"
CANARY = {
    "BlueGreenUpdatePolicy": {
        "TrafficRoutingConfiguration": {
            "Type": "CANARY",
            "WaitIntervalInSeconds": 60,
            "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 30},
        }
    }
}
IN_PROGRESS = f'Cannot update in-progress endpoint "{DEMO}".'


@pytest.fixture
def in_service(plane, endpoint):
    """An endpoint at rest."""
    plane.settle(endpoint)
    return endpoint


@pytest.fixture
def make_config(sagemaker, model):
    """Makes configurations of one or more variants."""

    def make(name, *variants):
        sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=list(variants) or [variant()])
        return name

    return make


def resize(sagemaker, *wishes):
    return sagemaker.update_endpoint_weights_and_capacities(
        EndpointName="Demo", DesiredWeightsAndCapacities=list(wishes)
    )


# Creation


def test_a_new_endpoint_holds_copies_of_what_it_was_made_from(plane, sagemaker, endpoint, config, model):
    """Rule: deleting or remaking model and configuration does not touch it."""
    wanted = plane.endpoint(endpoint).wanted
    sagemaker.delete_model(ModelName=model)
    sagemaker.delete_endpoint_config(EndpointConfigName=config)
    [copy] = plane.endpoint(endpoint).wanted.variants
    assert plane.endpoint(endpoint).wanted == wanted
    assert (wanted.revision, wanted.config_name) == (1, config)
    assert (copy.name, copy.model_name, copy.mode) == ("AllTraffic", model, Mode.DIRECT)
    assert [(spec.hostname, spec.image) for spec in copy.containers] == [("a", "first:1"), ("b", "second:1")]
    assert (copy.instance_count, copy.weight, copy.instance_type) == (1, 1.0, "ml.m5.xlarge")
    assert (copy.startup_timeout, copy.download_timeout, copy.network_isolation) == (None, None, False)


def test_all_that_a_variant_runs_by_is_copied(plane, sagemaker, make_config):
    """Rule: counts, weights, strategies, time-outs and isolation act."""
    sagemaker.create_model(ModelName="alone", PrimaryContainer={"Image": "first:1"}, EnableNetworkIsolation=True)
    members = {
        "InitialInstanceCount": 3,
        "InitialVariantWeight": 0.25,
        "RoutingConfig": {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"},
        "ContainerStartupHealthCheckTimeoutInSeconds": 61,
        "ModelDataDownloadTimeoutInSeconds": 62,
    }
    make_config("full", variant("v", "alone", **members))
    sagemaker.create_endpoint(EndpointName="Full", EndpointConfigName="full")
    [copy] = plane.endpoint("Full").wanted.variants
    assert (copy.mode, copy.instance_count, copy.weight) == (Mode.SINGLE, 3, 0.25)
    assert (copy.routing_strategy, copy.network_isolation) == ("LEAST_OUTSTANDING_REQUESTS", True)
    assert (copy.startup_timeout, copy.download_timeout) == (61, 62)


def test_a_config_must_exist(sagemaker, in_service):
    """Rule: AWS's text, for creation and update."""
    text = f'Could not find endpoint configuration "{ARN}:endpoint-config/none".'
    assert refusal(sagemaker.create_endpoint, EndpointName="e", EndpointConfigName="None") == text
    assert refusal(sagemaker.update_endpoint, EndpointName="Demo", EndpointConfigName="None") == text


def test_the_models_of_a_config_must_still_exist(sagemaker, config, model):
    """Rule: an endpoint is never made of half of what it needs."""
    sagemaker.delete_model(ModelName=model)
    text = refusal(sagemaker.create_endpoint, EndpointName="e", EndpointConfigName=config)
    assert text == f'Could not find model "{ARN}:model/one".'
    assert sagemaker.list_endpoints()["Endpoints"] == []


def test_a_name_is_taken_whatever_its_case_also_while_deleting(plane, sagemaker, in_service, config):
    """Rule: until the last of the old endpoint is gone."""
    text = f'Cannot create already existing endpoint "{DEMO}".'
    assert refusal(sagemaker.create_endpoint, EndpointName="DEMO", EndpointConfigName=config) == text
    sagemaker.delete_endpoint(EndpointName="Demo")
    assert refusal(sagemaker.create_endpoint, EndpointName="Demo", EndpointConfigName=config) == text
    plane.remove("Demo")
    sagemaker.create_endpoint(EndpointName="DEMO", EndpointConfigName=config)


def test_two_endpoints_of_one_name_in_turn_have_different_ids(plane, sagemaker, in_service, config):
    """Rule: what is left of the first is never taken for the second's."""
    first = plane.endpoint("Demo").id
    plane.remove("Demo")
    sagemaker.create_endpoint(EndpointName="Demo", EndpointConfigName=config)
    assert plane.endpoint("Demo").id != first


def test_a_slip_of_the_finger_does_not_fill_the_machine(plane, sagemaker, in_service, make_config):
    """Rule: counts have a limit, told with AWS's code for quotas, wherever they are given."""
    make_config("huge", variant(InitialInstanceCount=2_000_000))
    code = "ResourceLimitExceeded"
    create, update = sagemaker.create_endpoint, sagemaker.update_endpoint
    assert "limit is 100 Instances" in refusal(create, code, EndpointName="e", EndpointConfigName="huge")
    assert "limit is 100 Instances" in refusal(update, code, EndpointName="Demo", EndpointConfigName="huge")
    wish = {"VariantName": "AllTraffic", "DesiredInstanceCount": 101}
    text = refusal(
        sagemaker.update_endpoint_weights_and_capacities,
        code,
        EndpointName="Demo",
        DesiredWeightsAndCapacities=[wish],
    )
    assert text == "Polyport's limit is 100 Instances for a variant; variant AllTraffic asks for 101 Instances."


# What each status allows


@pytest.mark.parametrize(
    "status", [Status.CREATING, Status.UPDATING, Status.ROLLING_BACK, Status.SYSTEM_UPDATING], ids=str
)
def test_an_endpoint_on_its_way_is_left_alone(plane, sagemaker, in_service, config, status):
    """Rule: update, resize and deletion are refused with the same words."""
    plane.put("Demo", status=status)
    assert refusal(sagemaker.update_endpoint, EndpointName="Demo", EndpointConfigName=config) == IN_PROGRESS
    assert refusal(sagemaker.delete_endpoint, EndpointName="Demo") == IN_PROGRESS
    wish = {"VariantName": "AllTraffic", "DesiredWeight": 2}
    text = refusal(
        sagemaker.update_endpoint_weights_and_capacities, EndpointName="Demo", DesiredWeightsAndCapacities=[wish]
    )
    assert text == IN_PROGRESS


def test_an_update_counts_as_begun_at_once(plane, sagemaker, in_service, make_config):
    """Rule: whoever looks right after the call sees Updating, and a second update is refused."""
    make_config("next")
    assert sagemaker.update_endpoint(EndpointName="Demo", EndpointConfigName="next")["EndpointArn"] == DEMO
    assert sagemaker.describe_endpoint(EndpointName="Demo")["EndpointStatus"] == "Updating"
    assert refusal(sagemaker.update_endpoint, EndpointName="Demo", EndpointConfigName="next") == IN_PROGRESS


def test_a_failed_endpoint_can_only_be_deleted(plane, sagemaker, endpoint, config):
    """Rule: SageMaker's."""
    plane.fail(endpoint)
    text = refusal(sagemaker.update_endpoint, EndpointName="Demo", EndpointConfigName=config)
    assert text == f'Cannot update failed endpoint "{DEMO}": it can only be deleted.'
    sagemaker.delete_endpoint(EndpointName="Demo")
    assert sagemaker.describe_endpoint(EndpointName="Demo")["EndpointStatus"] == "Deleting"


def test_an_endpoint_that_is_being_deleted_takes_no_update(plane, sagemaker, in_service, config):
    """Rule: the deletion stands; asking for it again is no error and changes nothing."""
    sagemaker.delete_endpoint(EndpointName="Demo")
    row = plane.endpoint("Demo")
    assert refusal(sagemaker.update_endpoint, EndpointName="Demo", EndpointConfigName=config) == IN_PROGRESS
    sagemaker.delete_endpoint(EndpointName="Demo")
    assert plane.endpoint("Demo") == row


def test_a_missing_endpoint_is_a_validation_exception(sagemaker, config):
    """Rule: AWS's text for every operation; waiters go by the code."""
    text = f'Could not find endpoint "{DEMO}".'
    wish = {"VariantName": "v", "DesiredWeight": 1}
    assert refusal(sagemaker.describe_endpoint, EndpointName="Demo") == text
    assert refusal(sagemaker.delete_endpoint, EndpointName="Demo") == text
    assert refusal(sagemaker.update_endpoint, EndpointName="Demo", EndpointConfigName="c") == text
    resized = sagemaker.update_endpoint_weights_and_capacities
    assert refusal(resized, EndpointName="Demo", DesiredWeightsAndCapacities=[wish]) == text


def test_botocores_waiters_understand_what_they_see(plane, sagemaker, endpoint):
    """Rule: in service ends one waiter well; failure and absence end it badly; absence ends the other well."""
    once = {"Delay": 0, "MaxAttempts": 1}
    in_service, deleted = sagemaker.get_waiter("endpoint_in_service"), sagemaker.get_waiter("endpoint_deleted")
    plane.settle(endpoint)
    in_service.wait(EndpointName="Demo", WaiterConfig=once)
    plane.fail(endpoint)
    with pytest.raises(WaiterError, match="terminal failure"):
        in_service.wait(EndpointName="Demo", WaiterConfig=once)
    plane.remove(endpoint)
    deleted.wait(EndpointName="Demo", WaiterConfig=once)
    with pytest.raises(WaiterError, match="service error code: ValidationException"):
        in_service.wait(EndpointName="Demo", WaiterConfig=once)


# Updates


def test_an_update_asks_for_a_revision_that_never_was(plane, sagemaker, in_service, make_config):
    """Rule: a new deployment is never taken for one that was rolled back."""
    make_config("bad")
    seen = [plane.endpoint("Demo").wanted.revision]
    for _ in range(2):
        sagemaker.update_endpoint(EndpointName="Demo", EndpointConfigName="bad")
        seen.append(plane.endpoint("Demo").wanted.revision)
        plane.roll_back("Demo")
        resize(sagemaker, {"VariantName": "AllTraffic", "DesiredWeight": 2})
        plane.settle("Demo")
    assert plane.endpoint("Demo").wanted.revision == 1
    assert len(set(seen)) == len(seen)


def test_an_update_takes_counts_and_weights_from_the_new_config(plane, sagemaker, in_service, make_config):
    """Rule: unless they are to be retained."""
    resize(sagemaker, {"VariantName": "AllTraffic", "DesiredWeight": 7, "DesiredInstanceCount": 4})
    plane.settle("Demo")
    make_config("next", variant(InitialInstanceCount=2, InitialVariantWeight=3))
    sagemaker.update_endpoint(EndpointName="Demo", EndpointConfigName="next")
    [copy] = plane.endpoint("Demo").wanted.variants
    assert (copy.instance_count, copy.weight) == (2, 3)


@pytest.mark.parametrize(
    ("excluded", "expected"),
    [
        ([], (4, 7)),
        (["DesiredInstanceCount"], (2, 7)),
        (["DesiredWeight"], (4, 3)),
        (["DesiredWeight", "DesiredInstanceCount", "DataCaptureConfig"], (2, 3)),
    ],
    ids=["nothing excluded", "count excluded", "weight excluded", "all excluded"],
)
def test_variants_of_the_same_name_can_keep_what_they_have(
    plane, sagemaker, in_service, make_config, excluded, expected
):
    """Rule: RetainAllVariantProperties, less ExcludeRetainedVariantProperties; new variants are as configured."""
    resize(sagemaker, {"VariantName": "AllTraffic", "DesiredWeight": 7, "DesiredInstanceCount": 4})
    plane.settle("Demo")
    make_config("next", variant(InitialInstanceCount=2, InitialVariantWeight=3), variant("new", InitialInstanceCount=5))
    sagemaker.update_endpoint(
        EndpointName="Demo",
        EndpointConfigName="next",
        RetainAllVariantProperties=True,
        ExcludeRetainedVariantProperties=[{"VariantPropertyType": kind} for kind in excluded],
    )
    kept, new = plane.endpoint("Demo").wanted.variants
    assert (kept.instance_count, kept.weight) == expected
    assert (new.instance_count, new.weight) == (5, 1)


def test_what_is_retained_is_what_runs(plane, sagemaker, in_service, make_config):
    """Rule: not the counts of an update that was rolled back."""
    make_config("bad", variant(InitialInstanceCount=9))
    sagemaker.update_endpoint(EndpointName="Demo", EndpointConfigName="bad")
    plane.roll_back("Demo")
    sagemaker.update_endpoint(EndpointName="Demo", EndpointConfigName="bad", RetainAllVariantProperties=True)
    assert plane.endpoint("Demo").wanted.variants[0].instance_count == 1


def test_the_deployment_config_can_be_retained(plane, sagemaker, config, make_config):
    """Rule: that of the creation or the last update, unless the call brings its own or wants none."""

    def last():
        plane.settle("Demo")
        return sagemaker.describe_endpoint(EndpointName="Demo").get("LastDeploymentConfig")

    sagemaker.create_endpoint(EndpointName="Demo", EndpointConfigName=config, DeploymentConfig=CANARY)
    assert last() == CANARY
    update = {"EndpointName": "Demo", "EndpointConfigName": config}
    sagemaker.update_endpoint(**update, RetainDeploymentConfig=True)
    assert last() == CANARY
    resize(sagemaker, {"VariantName": "AllTraffic", "DesiredWeight": 2})
    assert last() == CANARY
    alarms = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "a"}]}}
    sagemaker.update_endpoint(**update, RetainDeploymentConfig=True, DeploymentConfig=alarms)
    assert last() == alarms
    sagemaker.update_endpoint(**update)
    assert last() is None


def rolling(value):
    size = {"Type": "CAPACITY_PERCENT", "Value": value}
    return {"RollingUpdatePolicy": {"MaximumBatchSize": size, "WaitIntervalInSeconds": 0}}


def routing(**members):
    return {
        "BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": {"WaitIntervalInSeconds": 0, **members}},
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (CANARY | rolling(20), "BlueGreenUpdatePolicy or RollingUpdatePolicy, not both"),
        (routing(Type="CANARY"), "Type CANARY needs CanarySize"),
        (routing(Type="LINEAR"), "Type LINEAR needs LinearStepSize"),
        (
            routing(Type="ALL_AT_ONCE", CanarySize={"Type": "INSTANCE_COUNT", "Value": 1}),
            "CanarySize can be given with Type CANARY only",
        ),
        (
            routing(Type="CANARY", CanarySize={"Type": "CAPACITY_PERCENT", "Value": 51}),
            "CanarySize: Value must be between 1 and 50 percent",
        ),
        (
            routing(Type="LINEAR", LinearStepSize={"Type": "CAPACITY_PERCENT", "Value": 9}),
            "LinearStepSize: Value must be between 10 and 50 percent",
        ),
        (rolling(4), "MaximumBatchSize: Value must be between 5 and 50 percent"),
    ],
    ids=["both policies", "canary", "linear", "all at once", "large canary", "small step", "small batch"],
)
def test_a_deployment_config_has_rules(sagemaker, in_service, config, given, message):
    """Rule: section 4.6 of the reference, on creation and update."""
    for call, name in ((sagemaker.create_endpoint, "e"), (sagemaker.update_endpoint, "Demo")):
        assert message in refusal(call, EndpointName=name, EndpointConfigName=config, DeploymentConfig=given)


# Weights and counts


def test_weights_and_counts_change_and_the_rest_stays(plane, sagemaker, make_config):
    """Rule: the deployment stays the same; what is not named keeps what it has."""
    make_config("two", variant("a", InitialVariantWeight=1), variant("b", InitialVariantWeight=2))
    sagemaker.create_endpoint(EndpointName="Demo", EndpointConfigName="two", DeploymentConfig=CANARY)
    plane.settle("Demo")
    before = plane.endpoint("Demo").wanted
    resize(sagemaker, {"VariantName": "a", "DesiredWeight": 0.5}, {"VariantName": "b", "DesiredInstanceCount": 0})
    wanted = plane.endpoint("Demo").wanted
    first, second = wanted.variants
    assert (first.weight, first.instance_count) == (0.5, 1)
    assert (second.weight, second.instance_count) == (2, 0)
    assert replace(wanted, variants=before.variants) == before


def test_unknown_variants_are_refused_in_the_known_words(sagemaker, in_service):
    """Rule: nothing changes when one of them is unknown."""
    wishes = [{"VariantName": "AllTraffic", "DesiredWeight": 2}, {"VariantName": "nobody", "DesiredWeight": 1}]
    call = sagemaker.update_endpoint_weights_and_capacities
    text = refusal(call, EndpointName="Demo", DesiredWeightsAndCapacities=wishes)
    assert text == 'The variant name(s) "nobody" is/are not present within endpoint configuration "config".'
    assert sagemaker.describe_endpoint(EndpointName="Demo")["EndpointStatus"] == "InService"


def test_a_variant_is_resized_once_a_call(sagemaker, in_service):
    """Rule: two wishes for one variant contradict each other."""
    wishes = [{"VariantName": "AllTraffic", "DesiredWeight": n} for n in (1, 2)]
    call = sagemaker.update_endpoint_weights_and_capacities
    text = refusal(call, EndpointName="Demo", DesiredWeightsAndCapacities=wishes)
    assert 'given more than once: "AllTraffic"' in text


def test_serverless_wishes_are_not_served(sagemaker, in_service):
    """Rule: there are no serverless variants."""
    wish = {"VariantName": "AllTraffic", "ServerlessUpdateConfig": {"MaxConcurrency": 1}}
    call = sagemaker.update_endpoint_weights_and_capacities
    text = refusal(call, EndpointName="Demo", DesiredWeightsAndCapacities=[wish])
    assert text.startswith("ServerlessUpdateConfig is not supported")


def test_a_resize_after_a_rolled_back_update_is_of_what_runs(plane, sagemaker, in_service, make_config):
    """Rule: the old configuration's variants, under the old revision and name."""
    make_config("bad", variant("other"))
    sagemaker.update_endpoint(EndpointName="Demo", EndpointConfigName="bad")
    plane.roll_back("Demo")
    resize(sagemaker, {"VariantName": "AllTraffic", "DesiredInstanceCount": 2})
    wanted = plane.endpoint("Demo").wanted
    assert (wanted.revision, wanted.config_name) == (1, "config")
    assert [(copy.name, copy.instance_count) for copy in wanted.variants] == [("AllTraffic", 2)]


# Races with the reconciler


def test_a_lost_race_is_run_again_on_the_row_as_it_is(plane, sagemaker, in_service, monkeypatch):
    """Rule: a write between reading and writing is seen, never overwritten; here it makes the deletion a refusal."""
    real, intruders = plane.store.want, [Status.IN_SERVICE, Status.IN_SERVICE]

    async def want(endpoint, wanted, now):
        if intruders:
            state = replace(endpoint.state, status=intruders.pop(), failure_reason=f"note {len(intruders)}")
            await plane.store.advance(endpoint, state, now)
        return await real(endpoint, wanted, now)

    monkeypatch.setattr(plane.store, "want", want)
    sagemaker.delete_endpoint(EndpointName="Demo")
    assert plane.endpoint("Demo").state.failure_reason == "note 0"
    assert plane.endpoint("Demo").wanted.deleted
    assert intruders == []


def test_a_lost_race_may_end_in_a_refusal(plane, sagemaker, in_service, monkeypatch):
    """Rule: the decision is made again, not only the write."""

    async def want(endpoint, wanted, now):
        await plane.store.advance(endpoint, replace(endpoint.state, status=Status.SYSTEM_UPDATING), now)
        raise StaleWrite

    monkeypatch.setattr(plane.store, "want", want)
    assert refusal(sagemaker.delete_endpoint, EndpointName="Demo") == IN_PROGRESS
    assert not plane.endpoint("Demo").wanted.deleted


def test_races_do_not_go_on_for_ever(plane, sagemaker, in_service, monkeypatch):
    """Rule: whoever loses every time is told to come again, with a code that SDKs retry."""
    calls = []

    async def want(*_):
        calls.append(1)
        raise StaleWrite

    monkeypatch.setattr(plane.store, "want", want)
    assert refusal(sagemaker.delete_endpoint, "ThrottlingException", EndpointName="Demo") == "Rate exceeded"
    assert len(calls) == endpoints.MAX_RACES


# Lists


def test_endpoints_are_listed_by_shown_status(plane, sagemaker, config):
    """Rule: filter and order go by what DescribeEndpoint shows; every item has its five members."""
    for name in ("d", "a", "c", "b"):
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config)
    plane.settle("a")
    plane.settle("b")
    plane.fail("c")
    sagemaker.delete_endpoint(EndpointName="b")

    def listed(**members):
        return [item["EndpointName"] for item in sagemaker.list_endpoints(**members)["Endpoints"]]

    assert listed(StatusEquals="InService") == ["a"]
    assert listed(StatusEquals="Deleting") == ["b"]
    assert listed(SortBy="Status", SortOrder="Ascending") == ["d", "b", "c", "a"]
    [item] = sagemaker.list_endpoints(StatusEquals="Failed")["Endpoints"]
    assert set(item) == {"EndpointName", "EndpointArn", "CreationTime", "LastModifiedTime", "EndpointStatus"}
    assert item["LastModifiedTime"] > item["CreationTime"]
    assert listed(LastModifiedTimeAfter=item["LastModifiedTime"]) == ["b", "c"]
    assert listed(LastModifiedTimeBefore=item["LastModifiedTime"]) == ["a", "d"]


def test_a_token_is_good_for_its_own_listing_alone(wire, sagemaker, config):
    """Rule: other filters, another owner, another operation or a damaged token are refused."""
    for n in range(3):
        sagemaker.create_endpoint(EndpointName=f"e{n}", EndpointConfigName=config)
    token = sagemaker.list_endpoints(MaxResults=1)["NextToken"]
    assert len(sagemaker.list_endpoints(MaxResults=5, NextToken=token)["Endpoints"]) == 2
    for client, operation, members in (
        (sagemaker, "list_endpoints", {"NameContains": "e"}),
        (sagemaker, "list_models", {}),
        (wire.client(region="eu-west-1"), "list_endpoints", {}),
    ):
        assert "NextToken" in refusal(getattr(client, operation), NextToken=token, **members)
    assert "NextToken" in refusal(sagemaker.list_endpoints, NextToken=token[:-2])
    assert "NextToken" in refusal(sagemaker.list_endpoints, NextToken="made up")


# DescribeEndpoint


def test_a_new_endpoint_shows_what_is_coming(plane, sagemaker, endpoint):
    """Rule: before and after the reconciler begins: variants without capacity, and the pending deployment."""
    plane.live.doing = {"AllTraffic": [("Creating", "Launching 1 instance(s).", 8.0)]}
    begun = deployment(plane.endpoint(endpoint))
    for _ in ("not seen yet", "begun"):
        answer = sagemaker.describe_endpoint(EndpointName="Demo")
        assert answer["EndpointStatus"] == "Creating"
        [shown], [coming] = answer["ProductionVariants"], answer["PendingDeploymentSummary"]["ProductionVariants"]
        assert (shown["CurrentInstanceCount"], shown["DesiredInstanceCount"]) == (0, 1)
        assert (shown["CurrentWeight"], shown["DesiredWeight"]) == (0, 1)
        assert (coming["InstanceType"], coming["DesiredInstanceCount"]) == ("ml.m5.xlarge", 1)
        for one in (shown, coming):
            assert one["VariantStatus"][0]["StatusMessage"] == "Launching 1 instance(s)."
        assert answer["PendingDeploymentSummary"]["EndpointConfigName"] == "config"
        plane.put(endpoint, pending=begun)
    assert coming["CurrentInstanceCount"] == 1
    assert answer["PendingDeploymentSummary"]["StartTime"].timestamp() == 7.0


def test_an_endpoint_at_rest_is_described_in_full(plane, sagemaker, in_service):
    """Rule: counts of those that can take calls, weights, images one per container, strategy; no leftovers."""
    plane.live.healthy = {"AllTraffic": 1}
    answer = sagemaker.describe_endpoint(EndpointName="Demo")
    [shown] = answer["ProductionVariants"]
    assert [image["SpecifiedImage"] for image in shown["DeployedImages"]] == ["first:1", "second:1"]
    assert shown["DeployedImages"][0]["ResolvedImage"] == "first:1@sha256:0"
    assert shown["DeployedImages"][0]["ResolutionTime"].timestamp() == 6.0
    del shown["DeployedImages"]
    assert shown == {
        "VariantName": "AllTraffic",
        "CurrentWeight": 1.0,
        "DesiredWeight": 1.0,
        "CurrentInstanceCount": 1,
        "DesiredInstanceCount": 1,
        "RoutingConfig": {"RoutingStrategy": "RANDOM"},
    }
    assert set(answer) == {
        "EndpointName",
        "EndpointArn",
        "EndpointConfigName",
        "EndpointStatus",
        "CreationTime",
        "LastModifiedTime",
        "ProductionVariants",
        "ResponseMetadata",
    }


def test_an_update_shows_old_and_new_apart(plane, sagemaker, in_service, make_config):
    """Rule: the old variants with what leaves, the pending summary with what comes; the old config's name stays."""
    make_config("next", variant("new", InitialInstanceCount=2))
    sagemaker.update_endpoint(EndpointName="Demo", EndpointConfigName="next")
    plane.live.healthy = {"AllTraffic": 1}
    plane.live.doing = {
        "new": [("Updating", "Launching 2 instance(s).", 8.0)],
        "AllTraffic": [("Deleting", "Terminating 1 instance(s).", 9.0)],
    }
    for _ in ("not seen yet", "begun"):
        answer = sagemaker.describe_endpoint(EndpointName="Demo")
        assert (answer["EndpointStatus"], answer["EndpointConfigName"]) == ("Updating", "config")
        [old], [new] = answer["ProductionVariants"], answer["PendingDeploymentSummary"]["ProductionVariants"]
        assert (old["VariantName"], old["DesiredInstanceCount"], old["CurrentInstanceCount"]) == ("AllTraffic", 1, 1)
        assert [status["Status"] for status in old["VariantStatus"]] == ["Deleting"]
        assert (new["VariantName"], new["DesiredInstanceCount"]) == ("new", 2)
        assert [status["Status"] for status in new["VariantStatus"]] == ["Updating"]
        assert answer["PendingDeploymentSummary"]["EndpointConfigName"] == "next"
        plane.put("Demo", status=Status.UPDATING, pending=deployment(plane.endpoint("Demo")))


def test_no_pending_deployment_is_shown_once_the_new_one_serves(plane, sagemaker, in_service, make_config):
    """Rule: while the old fleet drains the status is Updating still, but nothing is pending."""
    make_config("next")
    sagemaker.update_endpoint(EndpointName="Demo", EndpointConfigName="next")
    plane.put("Demo", status=Status.UPDATING, active=deployment(plane.endpoint("Demo")))
    answer = sagemaker.describe_endpoint(EndpointName="Demo")
    assert (answer["EndpointStatus"], answer["EndpointConfigName"]) == ("Updating", "next")
    assert "PendingDeploymentSummary" not in answer


def test_a_resize_shows_desired_values_at_once_and_no_pending_deployment(plane, sagemaker, in_service):
    """Rule: counts differ until it is done, weights until it has begun; activity shows on the variant itself."""
    plane.live.healthy = {"AllTraffic": 1}
    plane.live.doing = {"AllTraffic": [("Updating", "Scaling out desired instance count to 3.", 8.0)]}
    resize(sagemaker, {"VariantName": "AllTraffic", "DesiredWeight": 9, "DesiredInstanceCount": 3})
    for current in (1, 9):
        answer = sagemaker.describe_endpoint(EndpointName="Demo")
        assert answer["EndpointStatus"] == "Updating"
        [shown] = answer["ProductionVariants"]
        assert (shown["CurrentWeight"], shown["DesiredWeight"]) == (current, 9)
        assert (shown["CurrentInstanceCount"], shown["DesiredInstanceCount"]) == (1, 3)
        assert shown["VariantStatus"][0]["StatusMessage"] == "Scaling out desired instance count to 3."
        assert "PendingDeploymentSummary" not in answer
        plane.put("Demo", status=Status.UPDATING, pending=deployment(plane.endpoint("Demo")))


@pytest.mark.parametrize("status", [Status.ROLLING_BACK, Status.IN_SERVICE], ids=str)
def test_after_a_failed_resize_what_runs_is_what_is_desired(plane, sagemaker, in_service, status):
    """Rule: a wish that was given up is not shown as one; the reason is."""
    resize(sagemaker, {"VariantName": "AllTraffic", "DesiredInstanceCount": 3})
    plane.roll_back("Demo", "no room")
    if status is Status.ROLLING_BACK:
        plane.put("Demo", status=status, settled=1)
    answer = sagemaker.describe_endpoint(EndpointName="Demo")
    assert (answer["EndpointStatus"], answer["FailureReason"]) == (status, "no room")
    assert answer["ProductionVariants"][0]["DesiredInstanceCount"] == 1


def test_after_a_rolled_back_update_the_old_config_is_shown_with_the_reason(plane, sagemaker, in_service, make_config):
    """Rule: clients that only look at the status see success; the reason tells more."""
    make_config("bad", variant("other"))
    sagemaker.update_endpoint(EndpointName="Demo", EndpointConfigName="bad")
    plane.roll_back("Demo", "exited with code 3")
    answer = sagemaker.describe_endpoint(EndpointName="Demo")
    assert (answer["EndpointStatus"], answer["EndpointConfigName"]) == ("InService", "config")
    assert answer["FailureReason"] == "exited with code 3"
    assert [shown["VariantName"] for shown in answer["ProductionVariants"]] == ["AllTraffic"]
    assert "PendingDeploymentSummary" not in answer


def test_a_failure_reason_fits_its_shape(plane, sagemaker, endpoint):
    """Rule: at most 1024 characters."""
    plane.fail(endpoint, "x" * 2000)
    answer = sagemaker.describe_endpoint(EndpointName="Demo")
    assert answer["FailureReason"] == "x" * 1024
    assert answer["ProductionVariants"][0]["CurrentInstanceCount"] == 0


def test_at_most_five_activities_are_shown(plane, sagemaker, in_service):
    """Rule: the shape's limit."""
    plane.live.doing = {"AllTraffic": [("Deleting", f"{n}", 8.0) for n in range(7)]}
    [shown] = sagemaker.describe_endpoint(EndpointName="Demo")["ProductionVariants"]
    assert len(shown["VariantStatus"]) == 5
