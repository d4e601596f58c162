"""`polyport key`, `user`, `role` and `policy` as a user runs them, on a home of the test's own."""

import fcntl
import io
import json
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cli.running import Done, Run, printed, refused, told
from support.people import ACCOUNT, OTHER, arn

ENDPOINT = arn("pair")
#: SageMaker's documented policy for one container of an endpoint.
ONE_CONTAINER = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "OnlyFirst",
            "Effect": "Allow",
            "Action": "sagemaker:InvokeEndpoint",
            "Resource": ENDPOINT,
            "Condition": {"StringLike": {"sagemaker:TargetContainerHostname": ["first*"]}},
        }
    ],
}
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}],
}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, Any], Path]:
    """Writes a file: an object as JSON, a text as it is."""

    def make(name: str, content: Any) -> Path:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content, indent=2))
        return path

    return make


def made(polyport: Run, user: str, *options: object) -> tuple[str, str]:
    """A new key of that user: its id and its secret."""
    found = json.loads(printed(polyport("key", "create", "--user", user, "--json", *options)))
    return found["key"], found["secret"]


def listed(polyport: Run, what: str, *options: object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(printed(polyport(what, "list", "--json", *options)))
    return found


def files(folder: Path) -> Iterator[tuple[Path, bytes]]:
    return ((path, path.read_bytes()) for path in folder.rglob("*") if path.is_file())


def revise(home: Path, revision: str) -> None:
    """As if another version had written the database."""
    with closing(sqlite3.connect(home / "polyport.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))


# --- keys


def test_a_new_key_is_printed_fit_for_eval(polyport: Run, home: Path) -> None:
    """Standard output is for the shell alone; what people should know is on standard error."""
    done = polyport("key", "create", "--user", "alice", "--policy", "AdministratorAccess")
    shown = ["bash", "-c", f'eval "{printed(done)}"; echo "$AWS_ACCESS_KEY_ID $AWS_SECRET_ACCESS_KEY"']
    key, secret = subprocess.run(shown, capture_output=True, text=True, check=True).stdout.split()
    assert done.out == f"export AWS_ACCESS_KEY_ID={key}\nexport AWS_SECRET_ACCESS_KEY={secret}\n"
    assert (key[:4], len(key), len(secret)) == ("AKIA", 20, 40)
    assert told(done) == [f"A key of user alice in account {ACCOUNT}. Its secret cannot be shown again."]
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_a_home_is_made_by_the_first_command(polyport: Run, tmp_path: Path) -> None:
    """Keys may be made before a server ever ran there."""
    made(polyport, "alice", "--home", tmp_path / "new" / "home")
    assert [row["user"] for row in listed(polyport, "key", "--home", tmp_path / "new" / "home")] == ["alice"]
    assert listed(polyport, "key") == []


def test_a_user_without_a_policy_is_told_of(polyport: Run) -> None:
    """Nothing is allowed without a policy, and the command that changes this is named."""
    done = polyport("key", "create", "--user", "bob")
    assert told(done)[1] == (
        "bob has no policy yet and may do nothing. "
        "Attach one: polyport policy put --user bob FILE (or AdministratorAccess)"
    )
    printed(polyport("policy", "put", "AdministratorAccess", "--user", "bob"))
    assert len(told(polyport("key", "create", "--user", "bob"))) == 1


def test_a_users_next_key_replaces_neither_user_nor_policies(polyport: Run) -> None:
    """A user has several keys while they are rotated; a policy that is given once more is replaced."""
    first, _ = made(polyport, "alice", "--policy", "AdministratorAccess")
    [before] = listed(polyport, "user")
    second, _ = made(polyport, "alice", "--policy", "AdministratorAccess")
    [after] = listed(polyport, "user")
    assert after == before | {"keys": [first, second]}
    assert after["policies"] == ["AdministratorAccess"]


def test_no_secret_is_at_rest_or_in_a_list(polyport: Run, home: Path) -> None:
    """Secrets are encrypted in the database and shown once; only their owner can read the key to them."""
    secrets = [made(polyport, name)[1] for name in ("alice", "bob")]
    key = listed(polyport, "key")[0]["key"]
    secrets.append(json.loads(printed(polyport("key", "rotate", key, "--json")))["secret"])
    found = dict(files(home))
    assert home / "polyport.db" in found
    assert [path for path, content in found.items() for secret in secrets if secret.encode() in content] == []
    lists = [polyport(what, "list", *form) for what in ("key", "user", "role", "policy") for form in ((), ("--json",))]
    assert [done for done in lists for secret in secrets if secret in printed(done) + done.err] == []
    assert stat.S_IMODE((home / "secret.key").stat().st_mode) == 0o600


def test_keys_are_listed_whole(polyport: Run) -> None:
    """Also where the output is no terminal and 80 columns would not do; times are UTC."""
    key, _ = made(polyport, "somebody-with-a-rather-long-name")
    printed(polyport("key", "rotate", key, "--grace", 3600))
    first, second = listed(polyport, "key")
    assert first["key"] == key
    assert (first["status"], second["status"]) == ("Active", "Active")
    ends = datetime.fromisoformat(first["expires"])
    assert timedelta(minutes=59) < ends - datetime.now(UTC) < timedelta(minutes=61)
    assert second["expires"] == ""
    _, *lines = printed(polyport("key", "list")).splitlines()
    assert [line.split() for line in lines] == [[value for value in row.values() if value] for row in (first, second)]


def test_a_key_is_disabled_enabled_and_deleted(polyport: Run) -> None:
    """Each says what it did, to people only."""
    key, _ = made(polyport, "alice")
    made(polyport, "bob")
    for command, status in (("disable", "Inactive"), ("enable", "Active")):
        done = polyport("key", command, key)
        assert (printed(done), told(done)) == ("", [f"{key} is {command}d."])
        assert listed(polyport, "key")[0]["status"] == status
    assert told(polyport("key", "delete", key)) == [f"{key} is deleted."]
    assert [row["user"] for row in listed(polyport, "key")] == ["bob"]


@pytest.mark.parametrize("command", ["disable", "enable", "delete", "rotate"])
def test_an_unknown_key_is_refused(polyport: Run, command: str) -> None:
    """And where to look is said."""
    made(polyport, "alice")
    assert refused(polyport("key", command, "AKIANOBODY")) == "There is no key AKIANOBODY. See polyport key list."
    assert len(listed(polyport, "key")) == 1


def test_the_last_key_is_deleted_only_by_force(polyport: Run) -> None:
    """Without any key a server is open, or nobody's: that must be meant."""
    key, _ = made(polyport, "alice")
    text = refused(polyport("key", "delete", key))
    assert text.startswith(f"{key} is the last key. Without any key, a server on a loopback address accepts any ")
    assert "--force" in text
    assert told(polyport("key", "delete", key, "--force")) == [f"{key} is deleted."]
    assert listed(polyport, "key") == []


def test_a_rotated_key_ends_at_once_or_after_its_grace(polyport: Run) -> None:
    """The new one is of the same user and account."""
    key, _ = made(polyport, "alice", "--account", OTHER)
    done = polyport("key", "rotate", key)
    assert done.out.startswith("export AWS_ACCESS_KEY_ID=AKIA")
    assert told(done)[-1] == f"{key} is disabled."
    old, new = listed(polyport, "key")
    assert (old["status"], old["expires"], new["status"]) == ("Inactive", "", "Active")
    assert (new["user"], new["account"]) == ("alice", OTHER)
    done = polyport("key", "rotate", new["key"], "--grace", 600)
    assert told(done)[-1] == f"{new['key']} works for 600 more seconds."
    assert [row["status"] for row in listed(polyport, "key")] == ["Inactive", "Active", "Active"]


def test_a_rotation_lengthens_no_key_s_life(polyport: Run, home: Path) -> None:
    """A grace is for a key in use: not for one that is disabled or expired, and a second one counts from the first."""
    key, _ = made(polyport, "alice")
    printed(polyport("key", "disable", key))
    assert told(polyport("key", "rotate", key, "--grace", 600))[-1] == f"{key} is disabled."
    second = listed(polyport, "key")[1]["key"]
    printed(polyport("key", "rotate", second, "--grace", 60))
    ends = listed(polyport, "key")[1]["expires"]
    printed(polyport("key", "rotate", second, "--grace", 6000))
    assert listed(polyport, "key")[1]["expires"] == ends
    with closing(sqlite3.connect(home / "polyport.db")) as connection, connection:
        connection.execute("UPDATE access_keys SET expires_at = 1 WHERE id = ?", (second,))
    assert told(polyport("key", "rotate", second, "--grace", 600))[-1] == f"{second} is disabled."
    assert listed(polyport, "key")[1]["status"] == "Inactive"


def test_the_first_key_closes_a_running_server_and_says_so(polyport: Run, home: Path) -> None:
    """Whoever used it without a key should not be surprised."""
    printed(polyport("key", "list"))
    with held(home):
        done = polyport("key", "create", "--user", "alice", "--policy", "AdministratorAccess")
        assert told(done)[1:] == [
            "This is the first key: from now on the running server refuses calls that are not signed with a key."
        ]
        assert len(told(polyport("key", "create", "--user", "alice"))) == 1


# --- names and accounts


@pytest.mark.parametrize("name", ["", "a b", "a/b", "x" * 65, "[red]", "ünal", "a\n"])
def test_a_name_that_iam_would_refuse_is_refused(polyport: Run, write: Callable[[str, Any], Path], name: str) -> None:
    """A name becomes part of ARNs, by which policies go."""
    text = f"A name has 1 to 64 letters, digits or _+=,.@- : {name!r} has not."
    trust = write("trust.json", TRUST)
    assert refused(polyport("key", "create", "--user", name)) == text
    assert refused(polyport("role", "create", name, "--trust", trust)) == text
    assert refused(polyport("policy", "put", "AdministratorAccess", "--user", name)) == text


@pytest.mark.parametrize("account", ["1", "12345678901x", "1234567890123", "١٢٣٤٥٦٧٨٩٠١٢"])
def test_an_account_has_twelve_digits(polyport: Run, account: str) -> None:
    """Rule: of ASCII."""
    text = refused(polyport("key", "create", "--user", "alice", "--account", account))
    assert text == f"An AWS account has 12 digits: {account!r} has not."
    assert listed(polyport, "user") == []


def test_accounts_separate_users_of_one_name(polyport: Run) -> None:
    """What is done to the one is not done to the other."""
    made(polyport, "alice")
    made(polyport, "alice", "--account", OTHER)
    printed(polyport("policy", "put", "AdministratorAccess", "--user", "alice", "--account", OTHER))
    assert [(row["account"], row["policies"]) for row in listed(polyport, "user")] == [
        (ACCOUNT, []),
        (OTHER, ["AdministratorAccess"]),
    ]
    printed(polyport("user", "delete", "alice", "--account", OTHER))
    [left] = listed(polyport, "user")
    assert left["arn"] == f"arn:aws:iam::{ACCOUNT}:user/alice"


# --- users and roles


def test_a_user_goes_with_its_keys_and_policies(polyport: Run) -> None:
    """Nothing is left that a new user of the name would inherit."""
    made(polyport, "alice")
    made(polyport, "bob", "--policy", "AdministratorAccess")
    done = polyport("user", "delete", "bob")
    assert (printed(done), told(done)) == ("", ["The user bob is deleted."])
    assert [row["user"] for row in listed(polyport, "key")] == ["alice"]
    assert listed(polyport, "policy") == []
    assert refused(polyport("user", "delete", "bob")) == "There is no user bob. See polyport user list."


def test_the_user_with_the_last_keys_goes_only_by_force(polyport: Run) -> None:
    """As the last key does."""
    made(polyport, "alice")
    made(polyport, "alice")
    text = refused(polyport("user", "delete", "alice"))
    assert text.startswith("The only keys are those of alice. ")
    assert len(listed(polyport, "key")) == 2
    printed(polyport("user", "delete", "alice", "--force"))
    assert listed(polyport, "key") == []


def test_a_role_is_made_listed_and_deleted(polyport: Run, write: Callable[[str, Any], Path]) -> None:
    """Its ARN is what AssumeRole wants, and is all that is printed."""
    options = ("--trust", write("trust.json", TRUST), "--policy", write("calls.json", ONE_CONTAINER))
    done = polyport("role", "create", "batch", *options, "--max-session", 7200)
    assert (printed(done), done.err) == (f"arn:aws:iam::{ACCOUNT}:role/batch\n", "")
    [row] = listed(polyport, "role")
    assert (row["name"], row["policies"], row["max_session"], row["trust"]) == ("batch", ["calls"], 7200, TRUST)
    assert row["id"].startswith("AROA")
    assert printed(polyport("role", "list")).splitlines()[1].split() == ["batch", row["arn"], "calls"]
    assert refused(polyport("role", "create", "batch", *options)) == (
        "There is a role batch already: polyport role delete batch"
    )
    assert told(polyport("role", "delete", "batch")) == ["The role batch is deleted."]
    assert refused(polyport("role", "delete", "batch")) == "There is no role batch. See polyport role list."
    assert listed(polyport, "policy") == []


def test_a_role_needs_a_trust_policy(polyport: Run, write: Callable[[str, Any], Path]) -> None:
    """None given, another kind of policy, and the built-in one, which trusts nobody."""
    done = polyport("role", "create", "batch")
    assert done.status == 2
    assert "--trust" in done.err
    text = refused(polyport("role", "create", "batch", "--trust", write("calls.json", ONE_CONTAINER)))
    assert "is no valid policy: Statement[0]" in text
    text = refused(polyport("role", "create", "batch", "--trust", "AdministratorAccess"))
    assert text.startswith("There is no file AdministratorAccess.")
    assert listed(polyport, "role") == []


@pytest.mark.parametrize("seconds", [3599, 43201])
def test_a_session_lasts_as_long_as_iam_lets_it(polyport: Run, write: Callable[[str, Any], Path], seconds: int) -> None:
    """One to twelve hours."""
    done = polyport("role", "create", "batch", "--trust", write("trust.json", TRUST), "--max-session", seconds)
    assert (done.status, listed(polyport, "role")) == (2, [])


# --- policies


def test_policies_are_put_listed_and_deleted(
    polyport: Run, write: Callable[[str, Any], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a file, by its name or another, and from standard input; the text stays as it was given."""
    made(polyport, "alice")
    file = write("calls.json", ONE_CONTAINER)
    assert told(polyport("policy", "put", file, "--user", "alice")) == ["Policy calls is attached to alice."]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(file.read_bytes())))
    assert told(polyport("policy", "put", "-", "--user", "alice", "--name", "two")) == [
        "Policy two is attached to alice."
    ]
    found = listed(polyport, "policy", "--user", "alice")
    assert [(row["kind"], row["of"], row["name"]) for row in found] == [
        ("user", "alice", "calls"),
        ("user", "alice", "two"),
    ]
    assert found[0]["document"] == ONE_CONTAINER
    assert printed(polyport("policy", "list")).splitlines()[1].split() == ["calls", "user", "alice", ACCOUNT]
    assert told(polyport("policy", "delete", "two", "--user", "alice")) == ["Policy two of alice is deleted."]
    assert refused(polyport("policy", "delete", "two", "--user", "alice")) == (
        "alice has no policy two. See polyport policy list."
    )


@pytest.mark.parametrize(
    "command", [("put", "AdministratorAccess"), ("delete", "one"), ("simulate", "--action", "a:b")]
)
@pytest.mark.parametrize("whose", [(), ("--user", "alice", "--role", "batch")])
def test_a_policy_is_a_users_or_a_roles(polyport: Run, command: tuple[str, ...], whose: tuple[str, ...]) -> None:
    """Both and neither are refused."""
    assert refused(polyport("policy", *command, *whose)) == "Say whose: --user NAME or --role NAME."


def test_nobody_s_policies_are_refused(polyport: Run) -> None:
    """And how to make them somebody's is said."""
    assert refused(polyport("policy", "put", "AdministratorAccess", "--user", "bob")) == (
        "There is no user bob. One is made by: polyport key create --user bob"
    )
    assert refused(polyport("policy", "put", "AdministratorAccess", "--role", "batch")) == (
        "There is no role batch. One is made by: polyport role create batch --trust FILE"
    )
    assert refused(polyport("policy", "list", "--user", "bob")) == "There is no user bob. See polyport user list."
    assert refused(polyport("policy", "simulate", "--role", "batch", "--action", "sts:AssumeRole")) == (
        "There is no role batch. See polyport role list."
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "line 1, column 2: "),
        ('{\n "Version": "2012-10-17",\n "Statement": [}\n}', "line 3, column 16: "),
        (json.dumps(ONE_CONTAINER, indent=1).replace("Allow", "Perhaps"), "Statement[0].Effect (line 6, column 4): "),
        (
            json.dumps(ONE_CONTAINER).replace("StringLike", "StringLik"),
            "did you mean StringLike?",
        ),
        (
            json.dumps(ONE_CONTAINER).replace("TargetContainerHostname", "TargetContainer"),
            "did you mean sagemaker:TargetContainerHostname?",
        ),
        (json.dumps(TRUST), "Statement[0].Resource (line 1, column 41): is missing"),
        (json.dumps(ONE_CONTAINER) + " " * 20_480, "a policy has at most 20,480 characters"),
    ],
)
def test_a_malformed_policy_is_refused_with_its_position(
    polyport: Run, write: Callable[[str, Any], Path], content: str, message: str
) -> None:
    """By every command that takes one, before anything is changed."""
    file = write("broken.json", content)
    for command in (("key", "create", "--user", "alice", "--policy", file), ("policy", "put", file, "--user", "alice")):
        text = refused(polyport(*command))
        assert text.startswith(f"{file} is no valid policy: ")
        assert message in text
    assert listed(polyport, "user") == []


def test_a_file_that_is_not_there_or_no_text_is_refused(polyport: Run, tmp_path: Path) -> None:
    """And the policy that needs no file is named: its misspelling looks like a file."""
    text = "There is no file AdminAccess. (AdministratorAccess is a policy that needs no file.)"
    assert refused(polyport("key", "create", "--user", "alice", "--policy", "AdminAccess")) == text
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for path in (tmp_path, tmp_path / "binary"):
        text = refused(polyport("policy", "put", path, "--user", "alice"))
        assert text.startswith(f"{path} cannot be read: ")


def test_a_policy_s_name_is_checked_wherever_it_comes_from(polyport: Run, write: Callable[[str, Any], Path]) -> None:
    """The file's name, or the one given."""
    made(polyport, "alice")
    file = write("my policy.json", ONE_CONTAINER)
    assert "'my policy' has not. Use --name." in refused(polyport("policy", "put", file, "--user", "alice"))
    assert "'a/b' has not." in refused(polyport("policy", "put", file, "--user", "alice", "--name", "a/b"))
    printed(polyport("policy", "put", file, "--user", "alice", "--name", "x" * 128))


# --- simulate


@pytest.fixture
def alice(polyport: Run, write: Callable[[str, Any], Path]) -> str:
    """A user who may call one container of one endpoint, and read but not change anything."""
    made(polyport, "alice", "--policy", write("calls.json", ONE_CONTAINER))
    statements = [
        {"Effect": "Allow", "Action": "sagemaker:*", "Resource": "arn:aws:sagemaker:*:*:model/*"},
        {"Sid": "KeepThem", "Effect": "Deny", "Action": "sagemaker:Delete*", "Resource": "*"},
        {
            "Effect": "Allow",
            "Action": "sagemaker:AddTags",
            "Resource": "*",
            "Condition": {"ForAllValues:StringEquals": {"aws:TagKeys": ["team", "stage"]}},
        },
    ]
    file = write("models.json", {"Version": "2012-10-17", "Statement": statements})
    printed(polyport("policy", "put", file, "--user", "alice"))
    return "alice"


def test_simulate_says_which_statement_allows(polyport: Run, alice: str) -> None:
    """Exit status 0; every statement is explained."""
    done = simulated(polyport, "sagemaker:InvokeEndpoint", "sagemaker:TargetContainerHostname=first-b")
    assert done.status == 0
    decision, *statements = done.out.splitlines()
    assert decision == "allowed by an identity-based policy: calls, statement 1 (OnlyFirst)"
    assert statements[0] == "  identity-based policy calls, statement 1 (OnlyFirst), Allow: matches"
    assert len(statements) == 4


def test_simulate_says_what_does_not_match(polyport: Run, alice: str) -> None:
    """Exit status 1: a call without the header, and one of another container."""
    for context, found in (((), "is not in the request"), (("second",), "is 'second'")):
        pairs = [f"sagemaker:targetcontainerhostname={name}" for name in context]
        done = simulated(polyport, "sagemaker:InvokeEndpoint", *pairs)
        assert done.status == 1
        decision, statement, *_ = done.out.splitlines()
        assert decision == "not allowed: no identity-based policy allows the sagemaker:InvokeEndpoint action"
        assert statement == (
            "  identity-based policy calls, statement 1 (OnlyFirst), Allow: "
            f"Condition.StringLike.sagemaker:TargetContainerHostname does not match: it {found}"
        )


def test_simulate_says_which_statement_denies(polyport: Run, alice: str) -> None:
    """With --json for programs."""
    done = simulated(polyport, "sagemaker:DeleteModel", "--json", resource=arn("one", "model"))
    found = json.loads(done.out)
    assert done.status == 1
    assert (found["allowed"], found["policy"], found["statement"], found["sid"]) == (False, "models", 1, "KeepThem")
    assert found["reason"] == "explicit deny in an identity-based policy: models, statement 2 (KeepThem)"
    assert [row["matched"] for row in found["statements"]] == [False, True, True, False]


@pytest.mark.parametrize(("tags", "status"), [("team", 0), ("team,stage", 0), ("team,owner", 1)])
def test_simulate_takes_lists_with_commas(polyport: Run, alice: str, tags: str, status: int) -> None:
    """For keys of which a request may have several values; for others a comma is a comma."""
    assert simulated(polyport, "sagemaker:AddTags", f"aws:TagKeys={tags}", resource="*").status == status
    done = simulated(polyport, "sagemaker:InvokeEndpoint", "sagemaker:TargetContainerHostname=a,b")
    assert "it is 'a,b'" in done.out


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("sagemaker:TargetContainer=first", "; did you mean sagemaker:TargetContainerHostname?"),
        ("aws:SourceIP4=1.1.1.1", "; did you mean aws:SourceIp?"),
        ("aws:RequestTag/=red", "; did you mean aws:RequestTag/<tag key>?"),
        ("aws:SourceIp", "KEY=VALUE is expected"),
        ("zzz=1", "KEY=VALUE is expected, with a condition key that is known."),
    ],
)
def test_simulate_refuses_unknown_keys_with_the_near_name(polyport: Run, alice: str, pair: str, message: str) -> None:
    """What no call ever has would let a typing error look like a decision."""
    text = refused(simulated(polyport, "sagemaker:InvokeEndpoint", pair))
    assert text.startswith(f"--context {pair}: ")
    assert message in text


@pytest.mark.parametrize("action", ["InvokeEndpoint", "sagemaker:*", "sagemaker:", "*"])
def test_simulate_wants_one_action(polyport: Run, alice: str, action: str) -> None:
    """A pattern is no call, nor is a name without its service."""
    text = refused(simulated(polyport, action))
    assert text == f"--action {action}: one action is expected, as in sagemaker:InvokeEndpoint."


def test_simulate_decides_for_roles(polyport: Run, write: Callable[[str, Any], Path]) -> None:
    """By the role's own policies."""
    options = ("--trust", write("trust.json", TRUST), "--policy", "AdministratorAccess")
    printed(polyport("role", "create", "batch", *options))
    done = polyport("policy", "simulate", "--role", "batch", "--action", "sagemaker:ListModels")
    assert printed(done).startswith("allowed by an identity-based policy: AdministratorAccess, statement 1\n")


def simulated(polyport: Run, action: str, *pairs: str, resource: str = ENDPOINT) -> Done:
    options = [option for pair in pairs for option in ((pair,) if pair.startswith("--") else ("--context", pair))]
    return polyport("policy", "simulate", "--user", "alice", "--action", action, "--resource", resource, *options)


# --- a home that is not as it must be


class held:  # noqa: N801  reads as the state that it is
    """The home's lock, as a server has it."""

    def __init__(self, home: Path) -> None:
        self._path = home / "run" / "lock"

    def __enter__(self) -> None:
        self._file = self._path.open("a+")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._file.close()


def test_a_database_of_a_newer_version_is_left_alone(polyport: Run, home: Path) -> None:
    """No command guesses at tables that it does not know."""
    made(polyport, "alice")
    revise(home, "9999")
    before = (home / "polyport.db").read_bytes()
    for command in (("key", "list"), ("key", "create", "--user", "bob"), ("policy", "list"), ("user", "list")):
        assert "was written by a newer Polyport (revision 9999)" in refused(polyport(*command))
    assert (home / "polyport.db").read_bytes() == before


def test_a_running_server_s_database_is_not_migrated(polyport: Run, home: Path) -> None:
    """A server of another version holds the home: its tables are for it to change."""
    made(polyport, "alice")
    revise(home, "0001")
    with held(home):
        text = refused(polyport("key", "list"))
    assert "has revision 0001" in text
    assert "a server of another version of Polyport is running on it" in text


def test_a_key_file_that_others_can_read_is_refused(polyport: Run, home: Path) -> None:
    """And the command that mends it is named."""
    made(polyport, "alice")
    (home / "secret.key").chmod(0o640)
    text = refused(polyport("key", "create", "--user", "alice"))
    assert text.startswith(f"The key file {home}/secret.key can be read by others (mode 0640). Run `chmod 600 ")
    (home / "secret.key").chmod(0o600)
    assert len(listed(polyport, "key")) == 1


def test_a_damaged_key_file_is_refused(polyport: Run, home: Path) -> None:
    """Secrets made with another key would be lost: nothing is overwritten."""
    made(polyport, "alice")
    (home / "secret.key").write_text("short\n")
    text = refused(polyport("key", "create", "--user", "alice"))
    assert text == f"The key file {home}/secret.key is damaged. Put back the one that belongs to this database."
    assert (home / "secret.key").read_text() == "short\n"


def test_another_home_s_key_file_is_told_of(polyport: Run, home: Path) -> None:
    """Where secrets have to be decrypted: a simulation builds the table that a server would."""
    made(polyport, "alice")
    (home / "secret.key").unlink()
    text = refused(simulated(polyport, "sagemaker:InvokeEndpoint"))
    assert "was encrypted with another key than that in " in text
    assert f"{home}/secret.key" in text


def test_a_home_that_cannot_be_one_is_refused(polyport: Run, tmp_path: Path) -> None:
    """The option goes before the variable."""
    (tmp_path / "file").touch()
    text = refused(polyport("key", "list", "--home", tmp_path / "file"))
    assert text.startswith(f"{tmp_path}/file/polyport.toml cannot be read: ")
