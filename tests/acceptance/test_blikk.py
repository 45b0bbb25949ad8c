"""Blikk Classic: a project firm's work through one application, without a sign-in of the users."""

import pytest
from pydantic import ValidationError

from schemas.results import Ending
from schemas.switches import AccountSettings, TenantSettings
from tests.support.certificates import self_signed
from tests.support.waiting import until
from tests.support.world import CLIENT_ID, World


async def test_one_application_reaches_every_mailbox(running: World) -> None:
    people = [f"u{number}" for number in range(12)]
    async with running.tenant(*people) as firm:
        action = firm.action("build", *people)
        await firm.publish(action)
        for person in people:
            assert (await firm.outcome(action, person)).ending is Ending.APPLIED
            assert await firm.subjects(person) == ["○ Do build"]


async def test_one_application_reaches_every_mailbox__with_a_certificate(world: World, tmp_path) -> None:
    certified = self_signed()
    file = tmp_path / "application.pem"
    file.write_text(certified.pem)
    async with (
        world.ingest(),
        world.writer(client_certificate_file=file, client_secret=""),
        world.tenant("ann", certificates=(certified.public_pem,)) as firm,
    ):
        action = firm.action("build", "ann")
        await firm.publish(action)
        assert (await firm.outcome(action, "ann")).ending is Ending.APPLIED


async def test_one_application_reaches_every_mailbox__within_its_scope(running: World) -> None:
    async with running.tenant("ann", "bob", roles=()) as firm:
        await running.admin.change_app(firm.directory, CLIENT_ID, scoped_mailboxes=(firm.mailbox("ann"),))
        inside, outside = firm.action("inside", "ann"), firm.action("outside", "bob")
        await firm.publish(inside, outside)
        assert (await firm.outcome(inside, "ann")).ending is Ending.APPLIED
        status = await firm.status("bob", "access_denied")
        assert "scope" in status.remedy
        everybody = (firm.mailbox("ann"), firm.mailbox("bob"))
        await running.admin.change_app(firm.directory, CLIENT_ID, scoped_mailboxes=everybody)
        assert (await firm.outcome(outside, "bob")).ending is Ending.APPLIED


@pytest.mark.parametrize("model", [TenantSettings, AccountSettings])
def test_credentials_never_travel_on_the_bus(model: type[TenantSettings | AccountSettings]) -> None:
    for word in ("secret", "password", "certificate", "token", "credential"):
        assert not [name for name in model.model_fields if word in name]
    with pytest.raises(ValidationError):
        model.model_validate({"client_secret": "anything"})


async def test_credentials_never_travel_on_the_bus__the_tenant_names_its_directory(running: World) -> None:
    async with running.tenant("ann") as firm:
        await firm.set_tenant(directory=firm.domain)
        action = firm.action("build", "ann")
        await firm.publish(action)
        assert (await firm.outcome(action, "ann")).ending is Ending.APPLIED


async def test_each_user_chooses_without_signing_in(running: World) -> None:
    async with running.tenant("ann") as firm:
        await running.admin.put_user(firm.directory, firm.mailbox("bob"))
        before = firm.action("before", "ann", "bob")
        await firm.publish(before)
        assert (await firm.outcome(before, "bob")).reason == "no_account"
        await firm.publish(firm.account("bob"))
        await firm.settings_known(3)
        after = firm.action("after", "ann", "bob")
        await firm.publish(after)
        assert (await firm.outcome(after, "bob")).ending is Ending.APPLIED
        stats = await firm.stats()
        assert stats.token_requests <= 2, "one application signs in, no user does"

        async def only_after() -> bool:
            return await firm.subjects("bob") == ["○ Do after"]

        await until(only_after, "only what is from after the choice")
