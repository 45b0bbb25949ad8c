"""What the owner of a calendar reads, from Kafka to Outlook: icons, labels, templates, and what a status does."""

from schemas.results import Ending, Outcome
from schemas.switches import Locale
from simulator.client import StoredEvent
from tests.support.waiting import until
from tests.support.world import Tenant, World


async def applied(tenant: Tenant, item: object) -> tuple[Outcome, StoredEvent]:
    """Publish an item for ann; its outcome, and the only event in her calendar."""
    await tenant.publish(item)  # type: ignore[arg-type]
    outcome = await tenant.outcome(item, "ann")
    assert outcome.ending is Ending.APPLIED
    (event,) = await tenant.calendar("ann")
    return outcome, event


def body_of(event: StoredEvent) -> str:
    """Exchange ends lines in its own way."""
    return event.body_text.replace("\r\n", "\n")


async def test_an_entry_tells_at_a_glance_what_it_is(running: World) -> None:
    async with running.tenant("ann") as tenant:
        fields = {
            "contact_kind": "call",
            "client": {"name": "Mr Osei"},
            "description": "About the allotment",
            "link": "https://planner.example/c1",
            "place": "Extension 12",
            "priority": "high",
            "private": True,
            "reminder_minutes": 10,
        }
        outcome, event = await applied(tenant, tenant.contact("c1", "ann", **fields))
        assert (event.subject, event.graph["categories"], event.graph["showAs"]) == ("☏ Meet c1", ["Open"], "busy")
        assert body_of(event) == (
            "Kind: Call\nClient: Mr Osei\nPlace: Extension 12\n\nAbout the allotment\n\n"
            "Open in planner: https://planner.example/c1"
        )
        told = {name: event.graph[name] for name in ("importance", "sensitivity", "reminderMinutesBeforeStart")}
        assert told == {"importance": "high", "sensitivity": "private", "reminderMinutesBeforeStart": 10}
        assert event.graph["isReminderOn"]
        assert event.graph["location"]["displayName"] == "Extension 12"
        assert outcome.notice == ""

        _, event = await applied(tenant, tenant.contact("c1", "ann", **fields, status="active"))
        assert (event.subject, event.graph["categories"], event.graph["showAs"]) == ("☎ Meet c1", ["Active"], "busy")
        _, event = await applied(tenant, tenant.contact("c1", "ann", **fields, status="completed"))
        assert (event.subject, event.graph["categories"], event.graph["showAs"]) == ("✔ Meet c1", ["Completed"], "free")


async def test_templates_are_the_tenants_and_a_change_of_them_is_seen_in_every_entry(running: World) -> None:
    templates = {
        "subject_template": "{{ title|upper }} ({{ status_text|lower }})",
        "body_template": "{{ link_label }} {{ id }}",
    }
    async with running.tenant("ann", locale=Locale.NL, **templates) as tenant:
        _, event = await applied(tenant, tenant.action("a1", "ann"))
        assert (event.subject, body_of(event)) == ("DO A1 (open)", "Openen in planner a1")
        await tenant.set_tenant(locale=Locale.NB, subject_template="{{ kind_text }}: {{ title }}")

        async def changed() -> bool:
            return await tenant.subjects("ann") == ["Aktivitet: Do a1"]

        await until(changed, "the new template to be seen")
        (event,) = await tenant.calendar("ann")
        assert (body_of(event), event.graph["categories"]) == ("", ["Åpen"])


async def test_a_template_that_reaches_out_is_not_used_and_upstream_hears_why(running: World) -> None:
    templates = {"subject_template": "{{ ''.__class__.__mro__ }}", "body_template": "{% include '/etc/passwd' %}"}
    async with running.tenant("ann", **templates) as tenant:
        outcome, event = await applied(tenant, tenant.action("a1", "ann", description="As ever"))
        assert (event.subject, body_of(event)) == ("○ Do a1", "As ever")
        assert outcome.notice == (
            "The subject template was not used, the default was: "
            "line 1: looking into a value with a dot is not allowed. "
            "The body template was not used, the default was: line 1: `include` is not allowed."
        )


async def test_what_is_too_long_is_shortened(running: World) -> None:
    async with running.tenant("ann") as tenant:
        item = tenant.action(
            "a1", "ann", title="👩‍👩‍👧‍👦" * 60, description="🇳🇱" * 15_000, link="https://planner.example/a1"
        )
        _, event = await applied(tenant, item)
        assert len(event.subject.encode("utf-16-le")) // 2 <= 255
        assert event.subject.removeprefix("○ ").removesuffix("…").replace("👩‍👩‍👧‍👦", "") == ""
        head, _, link = body_of(event).rpartition("\n\n")
        assert link == "Open in planner: https://planner.example/a1"
        assert head.removesuffix("…").replace("🇳🇱", "") == ""
