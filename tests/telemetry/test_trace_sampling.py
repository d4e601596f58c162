"""Which calls are traced."""

import pytest
from opentelemetry.sdk.trace import sampling as reference

from polyport.errors import UsageError
from polyport.telemetry.traces import context, sampling, setup
from polyport.telemetry.traces.context import Context
from polyport.telemetry.traces.sampling import Sampler

RECORDS, DOES_NOT = Context(1, 1, 1), Context(1, 1, 0)
#: The half of it that decides is as large as it can be.
LAST = 2**128 - 1


def test_without_a_word_all_calls_are_traced_but_those_whose_caller_does_not_record() -> None:
    """As OpenTelemetry's default is."""
    sampler = sampling.choose(None, {})
    assert sampler.takes(LAST, None)
    assert sampler.takes(LAST, RECORDS)
    assert not sampler.takes(LAST, DOES_NOT)


@pytest.mark.parametrize(
    ("name", "argument", "expected"),
    [
        ("always_on", "", Sampler(1.0, heeds_caller=False)),
        ("always_off", "", Sampler(0.0, heeds_caller=False)),
        ("traceidratio", "0.25", Sampler(0.25, heeds_caller=False)),
        ("parentbased_always_on", "0.25", Sampler(1.0)),
        ("parentbased_always_off", "", Sampler(0.0)),
        ("parentbased_traceidratio", "0.25", Sampler(0.25)),
        ("PARENTBASED_TRACEIDRATIO", "", Sampler(1.0)),
    ],
)
def test_the_usual_variables_choose(name: str, argument: str, expected: Sampler) -> None:
    """OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG, all samplers that OpenTelemetry's specification has for all."""
    assert sampling.choose(None, {"OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": argument}) == expected


def test_the_setting_goes_before_the_variables() -> None:
    """As every setting does."""
    assert sampling.choose(0.5, {"OTEL_TRACES_SAMPLER": "always_off"}) == Sampler(0.5)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_all_who_trace_a_share_agree_about_each_trace(share: float) -> None:
    """The same traces are taken as OpenTelemetry's own sampler takes."""
    sampler, other = Sampler(share), reference.TraceIdRatioBased(share)
    for trace_id in (*(context.new_trace_id() for _ in range(300)), 1 << 64, LAST):
        expected = other.should_sample(None, trace_id, "").decision is reference.Decision.RECORD_AND_SAMPLE
        assert sampler.takes(trace_id, None) is expected


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_TRACES_SAMPLER": "jaeger_remote"},
        {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "many"},
        {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "1.5"},
        {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "nan"},
    ],
)
def test_what_is_not_known_is_told_at_the_start(variables: dict[str, str]) -> None:
    """With the name of the variable."""
    with pytest.raises(UsageError, match="OTEL_TRACES_SAMPLER"):
        setup.find(None, variables)


def test_opentelemetrys_own_switch_turns_traces_off() -> None:
    """Whatever the settings say."""
    assert setup.find(1.0, {"OTEL_SDK_DISABLED": "True"}) is None


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("", ""),
        ("http://collector:4318", "http://collector:4318/v1/traces"),
        ("https://collector/", "https://collector/v1/traces"),
        ("https://collector/otlp/v1/traces", "https://collector/otlp/v1/traces"),
    ],
)
def test_a_collectors_address_needs_no_path(endpoint: str, expected: str) -> None:
    """The usual one is added; nothing stays nothing, which leaves it to the variables."""
    assert setup.whole_url(endpoint) == expected
