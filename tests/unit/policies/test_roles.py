import pytest

from policies.errors import LetheError
from policies.pack import builtin_packs, load_pack
from policies.roles import NOT_FOR_ADMIN, ROLES, SCOPES, scopes_for


def test_every_scope_exists_and_some_role_has_it() -> None:
    for name, role in ROLES.items():
        assert role.scopes, name
        assert role.scopes <= set(SCOPES), name
    assert set().union(*(role.scopes for role in ROLES.values())) == set(SCOPES)


def test_who_may_not_do_what() -> None:
    acts = {scope for scope in SCOPES if scope not in {"tickets:read", "ops:read", "audit:read"}}
    assert not ROLES["auditor"].scopes & acts, "an auditor changes nothing and sees no identity"
    assert [name for name, role in ROLES.items() if NOT_FOR_ADMIN in role.scopes] == ["privacy_officer"]
    assert "tickets:approve" not in ROLES["intake"].scopes, "who files a ticket does not approve it"
    assert "tickets:verify" not in ROLES["approver"].scopes, "who approves did not recognise the requester"
    assert [name for name, role in ROLES.items() if "admin" in role.scopes] == ["admin"]


def test_every_role_of_a_pack_that_is_ours_may_approve() -> None:
    for name in builtin_packs():
        for role in load_pack(name).data.approval.roles:
            assert "tickets:approve" in ROLES[role].scopes, (name, role)


@pytest.mark.parametrize(
    ("role", "wanted", "house", "code"),
    [
        ("approver", ("ops:run",), (), "auth.unknown_scope"),
        ("admin", (NOT_FOR_ADMIN,), (), "auth.unknown_scope"),
        (None, (), (), "auth.unknown_scope"),
        (None, ("everything",), (), "auth.unknown_scope"),
        ("counsel", (), ("counsel",), "auth.unknown_scope"),
        ("privacy_oficer", ("tickets:read",), (), "auth.unknown_role"),
    ],
)
def test_a_role_is_never_widened_and_a_typing_error_is_no_role(
    role: str | None, wanted: tuple[str, ...], house: tuple[str, ...], code: str
) -> None:
    with pytest.raises(LetheError) as refused:
        scopes_for(role, wanted, house_roles=house)
    assert refused.value.code == code


def test_the_scopes_of_a_role_or_fewer_of_them() -> None:
    assert scopes_for("approver", ()) == ("tickets:approve", "tickets:read")
    assert scopes_for("approver", ["tickets:read", "tickets:read"]) == ("tickets:read",)
    assert scopes_for("counsel", ["tickets:approve"], house_roles=["counsel"]) == ("tickets:approve",)
    assert scopes_for(None, ["infer"]) == ("infer",)
