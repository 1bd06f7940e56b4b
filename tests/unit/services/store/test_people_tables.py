import json

import pytest
from sqlalchemy import text

from services.store import dialect, migration


@pytest.mark.parametrize(
    ("then", "now", "then_again"),
    [
        (["tickets:decide"], ["tickets:approve", "tickets:decide", "tickets:verify"], ["tickets:decide"]),
        (["infer"], ["infer"], ["infer"]),
    ],
)
def test_a_key_of_before_goes_on_doing_what_it_did(
    store_url: str, then: list[str], now: list[str], then_again: list[str]
) -> None:
    migration.migrate(store_url, "0004")
    engine = dialect.make_engine(store_url)
    insert = (
        "INSERT INTO api_keys (key_id, name, secret_hash, scopes, created_at)"
        " VALUES ('k1', 'n', 'h', :scopes, '2026-01-01 00:00:00+00:00')"
    )
    with engine.begin() as connection:
        connection.execute(text(insert), {"scopes": json.dumps(then)})

    def row() -> tuple[list[str], str | None]:
        with engine.connect() as connection:
            found = connection.execute(text("SELECT * FROM api_keys")).mappings().one()
        scopes = found["scopes"]
        return json.loads(scopes) if isinstance(scopes, str) else scopes, found.get("holder")

    migration.migrate(store_url, "0005")
    assert row() == (now, "key:k1")
    migration.migrate(store_url, "0004")
    assert row() == (then_again, None)
    engine.dispose()


def test_going_back_widens_no_key(store_url: str) -> None:
    migration.migrate(store_url, "0005")
    engine = dialect.make_engine(store_url)
    insert = (
        "INSERT INTO api_keys (key_id, name, secret_hash, scopes, holder, created_at)"
        " VALUES ('k2', 'n', 'h', :scopes, 'key:k2', '2026-01-01 00:00:00+00:00')"
    )
    with engine.begin() as connection:
        connection.execute(text(insert), {"scopes": json.dumps(["tickets:approve", "tickets:read"])})
    migration.migrate(store_url, "0004")
    with engine.connect() as connection:
        scopes = connection.execute(text("SELECT scopes FROM api_keys")).scalar_one()
    assert (json.loads(scopes) if isinstance(scopes, str) else scopes) == ["tickets:read"]
    engine.dispose()
