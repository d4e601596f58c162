"""Rows of keys, users, roles and policies."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from polyport import store
from polyport.domain.access import KeyRow, KeyStatus, PolicyText, PrincipalKind, PrincipalRow
from polyport.errors import AlreadyExists, StoreError
from polyport.store import schema
from store.values import OWNER, make_endpoint, make_model

ACCOUNT = "123456789012"
ALICE = PrincipalRow(ACCOUNT, PrincipalKind.USER, "alice", "AIDAALICE", 1.0)
BATCH = PrincipalRow(ACCOUNT, PrincipalKind.ROLE, "batch", "AROABATCH", 2.0, trust="{}", max_session=7200)
KEY = KeyRow("AKIAONE", ACCOUNT, "alice", "ciphertext", KeyStatus.ACTIVE, 3.0)
POLICY = PolicyText("all", '{"Statement": []}')
OF_ALICE = (ACCOUNT, PrincipalKind.USER, "alice")


def test_what_was_put_in_comes_back(with_store):
    """Rule: keys, users, roles, policies and endpoint policies are read together."""

    async def body(s):
        await s.access.add_principal(ALICE, (POLICY,))
        await s.access.add_principal(BATCH)
        await s.access.add_key(KEY)
        endpoint = make_endpoint("demo")
        await s.add_endpoint(endpoint, {"team": "red"})
        assert await s.access.put_endpoint_policy(endpoint.arn, "{}")
        return endpoint.arn, await s.access.read()

    arn, rows = with_store(body)
    assert rows.keys == (KEY,)
    assert rows.principals == (ALICE, BATCH)
    assert rows.policies == {OF_ALICE: (POLICY,)}
    assert rows.endpoint_policies == {arn: "{}"}
    assert rows.endpoint_tags == {arn: {"team": "red"}}


def test_every_change_raises_the_revision(with_store):
    """Rule: whoever looks at the revision alone misses nothing that decides on calls; nothing else raises it."""
    endpoint = make_endpoint("demo")

    async def body(s):
        access = s.access
        seen = [await access.revision()]
        for change in (
            lambda: access.add_principal(ALICE, (POLICY,)),
            lambda: access.put_policy(OF_ALICE, replace(POLICY, document="{}")),
            lambda: access.delete_policy(OF_ALICE, "all"),
            lambda: access.add_key(KEY),
            lambda: access.change_key(KEY.id, KeyStatus.INACTIVE, None),
            lambda: access.delete_key(KEY.id),
            lambda: s.add_endpoint(endpoint, {"team": "red"}),
            lambda: s.put_tags(endpoint.arn, {"team": "blue"}),
            lambda: s.delete_tags(endpoint.arn, ["team"]),
            lambda: access.put_endpoint_policy(endpoint.arn, "{}"),
            lambda: access.delete_endpoint_policy(endpoint.arn),
            lambda: access.delete_principal(OF_ALICE),
            lambda: s.remove_endpoint(endpoint),
        ):
            await change()
            seen.append(await access.revision())
        await s.add_model(make_model())
        return seen, await access.revision()

    seen, last = with_store(body)
    assert seen == sorted(set(seen))
    assert last == seen[-1]


def test_a_user_takes_keys_and_policies_along(with_store):
    """Rule: a new user of the same name starts with nothing."""

    async def body(s):
        await s.access.add_principal(ALICE, (POLICY,))
        await s.access.add_key(KEY)
        assert await s.access.delete_principal(OF_ALICE)
        assert not await s.access.delete_principal(OF_ALICE)
        return await s.access.read()

    rows = with_store(body)
    assert (rows.keys, rows.principals, rows.policies) == ((), (), {})


def test_an_endpoint_takes_its_policy_along(with_store):
    """Rule: a new endpoint of the same name has no policy."""

    async def body(s):
        endpoint = make_endpoint("demo")
        assert not await s.access.put_endpoint_policy(endpoint.arn, "{}")
        await s.add_endpoint(endpoint)
        await s.access.put_endpoint_policy(endpoint.arn, "{}")
        await s.remove_endpoint(endpoint)
        return await s.access.get_endpoint_policy(endpoint.arn)

    assert with_store(body) is None


def test_names_and_key_ids_are_taken_once(with_store):
    """Rule: users and roles are unique per account and kind, keys everywhere."""

    async def body(s):
        await s.access.add_principal(ALICE)
        await s.access.add_principal(replace(ALICE, account="210987654321", id="AIDAOTHER"))
        await s.access.add_principal(replace(BATCH, name="alice"))
        await s.access.add_key(KEY)
        with pytest.raises(AlreadyExists, match="user/alice"):
            await s.access.add_principal(replace(ALICE, id="AIDANEW"))
        with pytest.raises(AlreadyExists, match="AKIAONE"):
            await s.access.add_key(replace(KEY, user="bob"))

    with_store(body)


def test_policies_are_only_attached_to_whom_there_is(with_store):
    """Rule: a misspelt name is told, not kept for later."""

    async def body(s):
        return await s.access.put_policy(OF_ALICE, POLICY), (await s.access.read()).policies

    assert with_store(body) == (False, {})


def test_a_database_of_the_first_revision_gets_the_new_tables(tmp_path: Path):
    """Rule: migrations go forward over what is there, and lose nothing."""
    file = tmp_path / "polyport.db"

    async def use(upgrade: bool):
        opened = store.Store(store.sqlite_url(file))
        try:
            await opened.open(upgrade=upgrade)
            return await opened.get_model(OWNER, "Two-Models"), await opened.access.revision()
        finally:
            await opened.close()

    async def make():
        opened = store.Store(store.sqlite_url(file))
        await opened.open()
        await opened.add_model(make_model())
        await opened.close()

    asyncio.run(make())
    with closing(sqlite3.connect(file)) as connection, connection:
        newer = (
            "principals",
            "policies",
            "access_keys",
            "endpoint_policies",
            "access_revision",
            "alarms",
            "alarm_actions",
        )
        for table in (*newer, "alarm_history"):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    with pytest.raises(StoreError, match=f"has revision 0001, this program works with {schema.HEAD}"):
        asyncio.run(use(upgrade=False))
    assert asyncio.run(use(upgrade=True)) == (make_model(), 1)


def test_no_row_shows_a_secret():
    """Rule: what is logged by accident holds no secret, not even an encrypted one."""
    assert "ciphertext" not in repr(KEY)
