"""Settings: their keys, their limits, and what may be left out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.fields import PROJECTS_MAX
from schemas.switches import AccountSettings, Direction, ProjectSettings, SettingsEvent, TenantSettings, settings_key

ACCOUNT = {"tenant": "contoso", "revision": 1, "user": "u-1", "mailbox": "a@example.com", "allowed": True}
TENANT = {"tenant": "contoso", "revision": 1, "enabled": True, "directory": "example.com"}

names = st.text(
    st.characters(codec="ascii", min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="/"), min_size=1
)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (TenantSettings.model_validate(TENANT), "tenant/contoso"),
        (ProjectSettings(tenant="contoso", revision=1, project="north", enabled=True), "project/contoso/north"),
        (AccountSettings.model_validate(ACCOUNT), "account/contoso/u-1"),
    ],
)
def test_a_setting_is_published_under_its_key(settings: SettingsEvent, key: str) -> None:
    assert settings_key(settings) == key


@given(names, names, names, names)
def test_different_settings_never_share_a_key(tenant: str, name: str, other_tenant: str, other_name: str) -> None:
    tenant, name, other_tenant, other_name = (text[:128] for text in (tenant, name, other_tenant, other_name))

    def keys(tenant: str, name: str) -> tuple[str, ...]:
        return (
            settings_key(TenantSettings.model_validate(TENANT | {"tenant": tenant})),
            settings_key(ProjectSettings(tenant=tenant, revision=1, project=name, enabled=True)),
            settings_key(AccountSettings.model_validate(ACCOUNT | {"tenant": tenant, "user": name})),
        )

    assert len(set(keys(tenant, name))) == 3
    if (tenant, name) != (other_tenant, other_name):
        assert set(keys(tenant, name)[1:]).isdisjoint(keys(other_tenant, other_name)[1:])


@pytest.mark.parametrize(
    "mailbox",
    ["", "a", "a@", "@b", "a@b@c", "a b@example.com", "a/b@example.com", "a\x01@example.com", "a" * 320 + "@b"],
)
def test_what_is_not_a_mailbox_address_is_refused(mailbox: str) -> None:
    with pytest.raises(ValidationError, match="mailbox"):
        AccountSettings.model_validate(ACCOUNT | {"mailbox": mailbox})


def test_a_guests_principal_name_is_a_mailbox_address() -> None:
    guest = "ann_fabrikam.example#EXT#@contoso.example.com"
    assert AccountSettings.model_validate(ACCOUNT | {"mailbox": guest}).mailbox == guest


@pytest.mark.parametrize("directory", ["", "-x", "a b", "contoso.example.com/users", "x" * 256])
def test_what_is_not_a_directory_is_refused(directory: str) -> None:
    with pytest.raises(ValidationError, match="directory"):
        TenantSettings.model_validate(TENANT | {"directory": directory})


def test_one_directory_has_one_spelling() -> None:
    assert (
        TenantSettings.model_validate(TENANT | {"directory": " Contoso.Example.COM "}).directory
        == "contoso.example.com"
    )


def test_what_is_left_out_has_a_default() -> None:
    tenant, account = TenantSettings.model_validate(TENANT), AccountSettings.model_validate(ACCOUNT)
    assert (tenant.time_zone, tenant.default_duration_minutes) == ("UTC", 30)
    assert (account.blocked, account.direction, account.projects) == (False, Direction.UP, None)


@pytest.mark.parametrize("switch", ["enabled"])
@pytest.mark.parametrize("value", ["true", 1, None])
def test_a_switch_is_on_or_off_and_nothing_else(switch: str, value: object) -> None:
    with pytest.raises(ValidationError, match=switch):
        TenantSettings.model_validate(TENANT | {switch: value})


@pytest.mark.parametrize("minutes", [4, 366 * 24 * 60 + 1, "30", None])
def test_the_default_duration_has_limits(minutes: object) -> None:
    with pytest.raises(ValidationError, match="default_duration_minutes"):
        TenantSettings.model_validate(TENANT | {"default_duration_minutes": minutes})


def test_the_list_of_projects_has_a_limit() -> None:
    projects = [str(number) for number in range(PROJECTS_MAX + 1)]
    AccountSettings.model_validate(ACCOUNT | {"projects": projects[1:]})
    with pytest.raises(ValidationError, match="projects"):
        AccountSettings.model_validate(ACCOUNT | {"projects": projects})


@pytest.mark.parametrize(("direction", "writes"), [("up", True), ("both", True), ("down", False), ("none", False)])
def test_which_directions_write(direction: str, *, writes: bool) -> None:
    assert Direction(direction).writes is writes
