"""What is done when an alarm changes its state: real sockets, real processes, real rows."""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from polyport import store
from polyport.domain.alarms import AlarmRow, AlarmState, Notice
from polyport.domain.names import Owner
from polyport.errors import StoreError
from polyport.server.actions import book, courier, messages
from polyport.server.actions.book import ActionError, Book
from polyport.server.actions.courier import Courier
from support.hooks import Hook

OWNER = Owner("123456789012", "us-east-1")
OTHER = Owner("210987654321", "us-east-1")
TOPIC = "arn:aws:sns:us-east-1:123456789012:on-call"
DEFINITION = {
    "AlarmName": "errors",
    "AlarmDescription": "too many",
    "MetricName": "Errors",
    "Namespace": "Mine",
    "Dimensions": [{"Name": "EndpointName", "Value": "demo"}],
    "Statistic": "Sum",
    "Period": 60,
    "Threshold": 5.0,
    "AlarmActions": [TOPIC],
    "ActionsEnabled": True,
}


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.close()


def alarm(state: AlarmState = AlarmState.ALARM, **members: Any) -> AlarmRow:
    definition = msgspec.json.encode(DEFINITION | members).decode()
    return AlarmRow(OWNER, "errors", state, 1_700_000_000.5, definition, 1_600_000_000.0, "7 is greater than 5")


class Desk:
    """A store with an alarm in it, a courier, and a clock."""

    def __init__(self, rows: store.Store, folder: Path, urls: tuple[str, ...]) -> None:
        self.rows = rows
        self.now = 1_700_000_001.0
        self.courier = Courier(rows.alarms, Book(folder / "actions.toml", OWNER.account, urls), lambda: self.now)

    async def change(self, **members: Any) -> None:
        """The alarm is defined so, and then fires."""
        row = alarm(AlarmState.OK, **members)
        await self.rows.alarms.define(row)
        await self.rows.alarms.put(row)
        await self.rows.alarms.judge(alarm(**members))

    async def carry(self, seconds: float = 0.0) -> list[str]:
        """Everything that is due so much later; what the history says of actions by then."""
        self.now += seconds
        await self.courier.look()
        await self.courier.settle()
        return [one.summary for one in await self.rows.alarms.history(OWNER, 0, 1e12) if one.kind == "Action"]


@pytest.fixture
def at_desk(tmp_path: Path) -> Callable[..., Any]:
    """Run something with a desk, and the operator's file as given."""

    def run(body: Callable[[Desk], Any], actions: str = "", urls: tuple[str, ...] = ()) -> Any:
        (tmp_path / "actions.toml").write_text(actions)

        async def main() -> Any:
            rows = store.Store(store.sqlite_url(tmp_path / "db"))
            await rows.open()
            try:
                return await body(Desk(rows, tmp_path, urls))
            finally:
                await rows.close()

        return asyncio.run(main())

    return run


def test_a_webhook_gets_the_alarm_as_a_topic_would_deliver_it(at_desk: Any, hook: Hook) -> None:
    """Rule: the members of CloudWatch's notification, by POST, with the operator's headers; the history says so."""

    async def body(desk: Desk) -> list[str]:
        await desk.change()
        return await desk.carry()

    file = f'[on-call]\nurl = "{hook.url}/in?key=hidden"\nheaders = {{ Authorization = "Bearer hidden" }}\n'
    assert at_desk(body, file) == [f"Successfully executed action {TOPIC}"]
    [(path, headers, told)] = hook.requests
    assert (path, headers["authorization"]) == ("/in?key=hidden", "Bearer hidden")
    assert headers["x-amz-sns-topic-arn"] == TOPIC
    assert (told["AlarmName"], told["NewStateValue"], told["OldStateValue"]) == ("errors", "ALARM", "OK")
    assert told["NewStateReason"] == "7 is greater than 5"
    assert (told["Region"], told["AWSAccountId"]) == ("us-east-1", "123456789012")
    assert told["AlarmArn"] == "arn:aws:cloudwatch:us-east-1:123456789012:alarm:errors"
    assert told["StateChangeTime"] == "2023-11-14T22:13:20.500+0000"
    assert told["Trigger"]["Dimensions"] == [{"name": "EndpointName", "value": "demo"}]
    assert told["Trigger"]["Statistic"] == "SUM"


def test_a_chat_program_gets_a_text(at_desk: Any, hook: Hook) -> None:
    """Rule: `format = "text"` sends what people read."""

    async def body(desk: Desk) -> None:
        await desk.change()
        await desk.carry()

    at_desk(body, f'[on-call]\nurl = "{hook.url}"\nformat = "text"\n')
    assert hook.requests[0][2] == {"text": 'ALARM: "errors" in us-east-1\n7 is greater than 5'}


def test_what_fails_is_tried_again_with_longer_and_longer_pauses(at_desk: Any, hook: Hook) -> None:
    """Rule: a refusal that may pass is met again after each of the pauses, under the same id, and then given up."""
    hook.statuses = [503]

    async def body(desk: Desk) -> list[list[str]]:
        await desk.change()
        found = [await desk.carry()]
        for pause in courier.PAUSES:
            await desk.carry(pause - 1)
            found.append(await desk.carry(1))
        await desk.carry(1000)
        return found

    *before, last = at_desk(body, f'[on-call]\nurl = "{hook.url}"\n')
    assert before == [[]] * len(courier.PAUSES)
    assert last == [f'Failed to execute action {TOPIC}. Received error: "127.0.0.1 answered 503."']
    assert len(hook.requests) == 1 + len(courier.PAUSES)
    assert len({headers["x-amz-sns-message-id"] for _, headers, _ in hook.requests}) == 1


@pytest.mark.parametrize("status", [302, 404])
def test_a_refusal_for_good_is_not_tried_again(at_desk: Any, hook: Hook, status: int) -> None:
    """Rule: nor is a redirect followed."""
    hook.statuses = [status]

    async def body(desk: Desk) -> list[str]:
        await desk.change()
        return await desk.carry()

    assert f"answered {status}." in at_desk(body, f'[on-call]\nurl = "{hook.url}"\n')[0]
    assert len(hook.requests) == 1


def test_an_action_survives_the_end_of_control(at_desk: Any, hook: Hook) -> None:
    """Rule: what was to be done is a row, written with the state; another control does it."""

    async def first(desk: Desk) -> None:
        await desk.change()

    async def second(desk: Desk) -> list[str]:
        return await desk.carry()

    at_desk(first)
    assert at_desk(second, f'[on-call]\nurl = "{hook.url}"\n') == [f"Successfully executed action {TOPIC}"]


def test_a_full_disk_does_not_repeat_what_was_done(at_desk: Any, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule: what cannot be written down is kept in mind, and written when it can be."""

    async def body(desk: Desk) -> list[list[str]]:
        async def refuse(*_: Any) -> None:
            raise StoreError("the disk is full")

        await desk.change()
        with monkeypatch.context() as full:
            full.setattr(desk.rows.alarms, "finish", refuse)
            before = [await desk.carry(), await desk.carry()]
        return [*before, await desk.carry()]

    done = [f"Successfully executed action {TOPIC}"]
    assert at_desk(body, f'[on-call]\nurl = "{hook.url}"\n') == [[], [], done]
    assert len(hook.requests) == 1


def test_an_action_that_nobody_named_fails_in_the_history(at_desk: Any) -> None:
    """Rule: as a topic that does not exist; other kinds of actions too."""
    odd = "arn:aws:automate:us-east-1:ec2:stop"

    async def body(desk: Desk) -> list[str]:
        await desk.change(AlarmActions=[TOPIC, odd])
        return await desk.carry()

    first, second = at_desk(body)
    assert "There is no action on-call: the operator names them in actions.toml." in first
    assert second.startswith(f"Failed to execute action {odd}")


SUPPRESSED = {
    "AlarmRule": "TRUE",
    "ActionsSuppressor": "deploying",
    "ActionsSuppressorWaitPeriod": 60,
    "ActionsSuppressorExtensionPeriod": 100,
}
DEPLOYING = AlarmRow(OWNER, "deploying", AlarmState.OK, 1_600_000_000.0)


@pytest.mark.parametrize(
    ("states", "calls"),
    [
        # Nobody suppresses: the wait alone.
        ([(50, None, 0), (11, None, 1)], 1),
        # The suppressor comes in time, stays, and leaves: then the extension.
        ([(30, "ALARM", 0), (1000, None, 0), (10, "OK", 0), (90, None, 0), (30, None, 1)], 1),
        # It comes back within the extension.
        ([(30, "ALARM", 0), (100, "OK", 0), (90, "ALARM", 0), (1000, None, 0)], 0),
        # It comes too late.
        ([(70, "ALARM", 0)], 0),
        ([(70, None, 1), (1, "ALARM", 1)], 1),
    ],
)
def test_a_suppressor_holds_actions_back(
    at_desk: Any, hook: Hook, states: list[tuple[float, str | None, int]], calls: int
) -> None:
    """Rule: while it is in ALARM, for a while before, and for a while after; then they are carried out."""

    async def body(desk: Desk) -> None:
        await desk.rows.alarms.put(DEPLOYING)
        await desk.change(**SUPPRESSED)
        assert await desk.carry() == []
        for seconds, state, done in states:
            desk.now += seconds
            if state is not None:
                await desk.rows.alarms.put(replace(DEPLOYING, state=AlarmState(state), changed_at=desk.now))
            assert len(await desk.carry()) == done

    at_desk(body, f'[on-call]\nurl = "{hook.url}"\n')
    assert len(hook.requests) == calls


def test_what_was_held_back_is_not_done_once_the_alarm_has_changed(at_desk: Any, hook: Hook) -> None:
    """Rule: nobody is told of what is over."""

    async def body(desk: Desk) -> list[str]:
        await desk.rows.alarms.put(DEPLOYING)
        await desk.change(**SUPPRESSED)
        await desk.carry(30)
        await desk.rows.alarms.put(replace(alarm(AlarmState.OK), changed_at=desk.now))
        return await desk.carry(1000)

    assert at_desk(body, f'[on-call]\nurl = "{hook.url}"\n') == []
    assert hook.requests == []


def test_disabled_actions_are_not_carried_out(at_desk: Any, hook: Hook) -> None:
    """Rule: ActionsEnabled is honoured, and a state that does not change does nothing."""

    async def body(desk: Desk) -> list[str]:
        await desk.change(ActionsEnabled=False)
        await desk.rows.alarms.put(alarm())
        return await desk.carry()

    assert at_desk(body, f'[on-call]\nurl = "{hook.url}"\n') == []


def test_a_command_gets_the_notification_and_nothing_of_the_server(
    at_desk: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule: JSON at stdin, a few variables, none of the server's secrets; its arguments are the operator's alone."""
    monkeypatch.setenv("SECRET", "hidden")
    program = (
        "import json, os, sys\n"
        "json.dump([json.load(sys.stdin), dict(os.environ), sys.argv[2:]], open(sys.argv[1], 'w'))"
    )
    command = json.dumps([sys.executable, "-c", program, str(tmp_path / "out"), "fixed"])

    async def body(desk: Desk) -> list[str]:
        await desk.change()
        return await desk.carry()

    assert at_desk(body, f"[on-call]\ncommand = {command}\n") == [f"Successfully executed action {TOPIC}"]
    told, environ, arguments = json.loads((tmp_path / "out").read_text())
    assert (told["AlarmName"], arguments) == ("errors", ["fixed"])
    assert environ["POLYPORT_ALARM_STATE"] == "ALARM"
    assert environ["POLYPORT_ALARM_OLD_STATE"] == "OK"
    assert "SECRET" not in environ


def test_a_command_that_fails_tells_the_log_why(at_desk: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Rule: those who see the alarm learn the status alone, and it is tried again."""
    program = "import sys; sys.stdin.close(); sys.exit('the pager is out')"

    async def body(desk: Desk) -> list[str]:
        await desk.change()
        await desk.carry()
        return await desk.carry(sum(courier.PAUSES))

    assert at_desk(body, f"[on-call]\ncommand = {json.dumps([sys.executable, '-c', program])}\n") == []
    assert "the pager is out" in caplog.text


def test_what_a_command_leaves_in_the_background_is_not_waited_for(at_desk: Any) -> None:
    """Rule: it is done when it ends, though something of it holds its output open, in a session of its own."""
    child = "[sys.executable, '-c', 'import time; time.sleep(5)']"
    program = f"import subprocess, sys; subprocess.Popen({child}, start_new_session=True)"
    command = json.dumps([sys.executable, "-c", program])

    async def body(desk: Desk) -> list[str]:
        await desk.change()
        return await desk.carry()

    found = at_desk(body, f"[on-call]\ncommand = {command}\ntimeout = 3.5\n")
    assert found == [f"Successfully executed action {TOPIC}"]


def test_what_takes_too_long_is_ended_with_all_it_started(at_desk: Any, tmp_path: Path) -> None:
    """Rule: a command's time is limited; its children end with it."""
    program = (
        "import os, subprocess, sys; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        "open(sys.argv[1], 'w').write(str(child.pid)); child.wait()"
    )
    command = json.dumps([sys.executable, "-c", program, str(tmp_path / "pid")])

    async def body(desk: Desk) -> None:
        await desk.change()
        await desk.carry()
        [errand] = await desk.rows.alarms.errands(desk.now + 1000, 10)
        assert errand.tries == 1

    at_desk(body, f"[on-call]\ncommand = {command}\ntimeout = 1.5\n")
    child = int((tmp_path / "pid").read_text())
    state = Path(f"/proc/{child}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_url_of_a_caller_needs_the_operators_leave(at_desk: Any, hook: Hook) -> None:
    """Rule: below what the setting names and nowhere else; the history shows no more of it than its host."""

    async def body(desk: Desk) -> list[str]:
        await desk.change(AlarmActions=[f"{hook.url}/services/hidden", f"{hook.url}/services/../admin"])
        return await desk.carry()

    refused, done = sorted(at_desk(body, urls=(f"{hook.url}/services/",)))
    assert done == "Successfully executed action http://127.0.0.1/..."
    assert "No alarm may call http://127.0.0.1/...: see the setting alarm_urls." in refused
    assert [path for path, _, _ in hook.requests] == ["/services/hidden"]


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com.evil.org/in/x",
        "https://hooks.example.com@evil.org/in/x",
        "https://hooks.example.com:8443/in/x",
        "http://hooks.example.com/in/x",
        "https://hooks.example.com/inside",
        "https://hooks.example.com/in/%2e%2e/x",
        "https://hooks.example.com/in/%252e%252e/x",
        "https://hooks.example.com/in/..\\x",
        "https://hooks.example.com/in/x y",
        "https://hooks.example.com/in/x\r\nHost: evil.org",
        "https://[hooks/",
    ],
)
def test_a_url_that_only_looks_allowed_is_not(tmp_path: Path, url: str) -> None:
    """Rule: scheme, host and port are the same, and the path goes nowhere else."""
    found = Book(tmp_path / "none", OWNER.account, ("https://hooks.example.com/in",))
    with pytest.raises(ActionError):
        found.find(url, OWNER)
    assert found.find("https://hooks.example.com/in/x", OWNER).url


def test_an_action_is_its_own_accounts(tmp_path: Path) -> None:
    """Rule: of the alarm's account and region; other accounts than the server's need to be named."""
    (tmp_path / "a.toml").write_text(
        '[on-call]\nurl = "http://x/"\n[shared]\nurl="http://x/"\naccounts=["210987654321"]\n'
    )
    found = Book(tmp_path / "a.toml", OWNER.account)
    assert found.find("arn:aws:lambda:us-east-1:123456789012:function:on-call:3", OWNER).url
    theirs = TOPIC.replace(OWNER.account, OTHER.account)
    assert found.find(theirs.replace("on-call", "shared"), OTHER).url
    for action, owner in ((TOPIC, OTHER), (theirs, OTHER), (TOPIC.replace("us-east-1", "eu-west-1"), OWNER)):
        with pytest.raises(ActionError):
            found.find(action, owner)


def test_the_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    """Rule: no restart; mistakes name the table and show nothing of it; a file that others may write is not used."""
    file = tmp_path / "a.toml"
    found = Book(file, OWNER.account)
    with pytest.raises(ActionError, match="There is no action"):
        found.find(TOPIC, OWNER)
    file.write_text('[on-call]\nurl = "http://one/hidden"\n')
    assert found.find(TOPIC, OWNER).url == "http://one/hidden"
    for wrong in (
        '[on-call]\nurl = "hidden"\n',
        "[on-call]\n",
        '[on-call]\nurl = "http://x/"\ncommand = ["hidden"]\n',
        "hidden",
    ):
        file.write_text(wrong)
        with pytest.raises(ActionError) as told:
            found.find(TOPIC, OWNER)
        assert "hidden" not in str(told.value)
    file.write_text('[on-call]\nurl = "http://two/"\n')
    assert found.find(TOPIC, OWNER).url == "http://two/"
    file.chmod(0o666)
    os.utime(file, (1, 1))
    with pytest.raises(ActionError, match="others than its owner"):
        found.find(TOPIC, OWNER)


def test_no_secret_of_a_url_is_in_a_message() -> None:
    """Rule: URLs that alarms give as actions are shown by scheme and host."""
    secret = "https://user:hidden@hooks.example.com/hidden?hidden"
    told = messages.message(Notice("1", secret, alarm(AlarmActions=[secret]), AlarmState.OK))
    assert told["AlarmActions"] == ["https://hooks.example.com/..."]
    assert "hidden" not in json.dumps([told, courier.told(Notice("1", secret, alarm(), AlarmState.OK), "x")])
    assert book.shown(TOPIC) == TOPIC


def test_a_composite_alarm_tells_its_rule() -> None:
    """Rule: in the place of a trigger."""
    row = replace(alarm(), definition='{"AlarmRule": "TRUE"}')
    told = messages.message(Notice("1", TOPIC, row, AlarmState.OK))
    assert (told["AlarmRule"], "Trigger" in told) == ("TRUE", False)
