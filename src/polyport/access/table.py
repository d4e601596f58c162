"""From rows to the access table: secrets are decrypted, what cannot be used is left out."""

from polyport.access.vault import Vault
from polyport.domain.access import AccessRows, AccessTable, Grantee, Key, KeyStatus


def build(rows: AccessRows, vault: Vault, account: str, *, may_be_open: bool) -> AccessTable:
    """The table. Without any key, also a disabled one, it is open if it may be: on a loopback address.

    Raises `UsageError` when a secret cannot be decrypted.
    """
    keys = tuple(
        Key(row.id, vault.decrypt(row.secret), row.account, row.user, row.expires_at)
        for row in rows.keys
        if row.status is KeyStatus.ACTIVE
    )
    grantees = tuple(
        Grantee(
            account=row.account,
            kind=row.kind,
            name=row.name,
            id=row.id,
            policies=rows.policies.get((row.account, row.kind, row.name), ()),
            trust=row.trust,
            max_session=row.max_session,
        )
        for row in rows.principals
    )
    return AccessTable(
        is_open=may_be_open and not rows.keys,
        account=account,
        keys=keys,
        grantees=grantees,
        endpoint_policies=rows.endpoint_policies,
        endpoint_tags=rows.endpoint_tags,
        token_key=vault.token_key,
    )
