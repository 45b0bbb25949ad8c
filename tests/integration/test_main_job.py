"""Events on Kafka become entries in calendars: the main job, on real engines."""

from datetime import datetime

from schemas.results import Ending
from tests.support.world import World


async def test_an_action_appears_is_changed_and_leaves(running: World) -> None:
    async with running.tenant("ann") as tenant:
        created = tenant.action("a1", "ann", title="Paint the shed", place="Yard", reminder_minutes=15)
        await tenant.publish(created)
        outcome = await tenant.outcome(created, "ann")
        assert (outcome.ending, outcome.reason) == (Ending.APPLIED, "written")
        [event] = await tenant.calendar("ann")
        assert event.subject == "○ Paint the shed"
        assert (event.start, event.end) == (datetime(2026, 12, 1, 9), datetime(2026, 12, 1, 10))
        assert event.start_time_zone == "W. Europe Standard Time"

        changed = tenant.action("a1", "ann", title="Paint the barn", status="completed")
        await tenant.publish(changed)
        assert (await tenant.outcome(changed, "ann")).ending is Ending.APPLIED
        [after] = await tenant.calendar("ann")
        assert (after.id, after.subject, after.graph["showAs"]) == (event.id, "✔ Paint the barn", "free")

        deleted = tenant.deleted("a1")
        await tenant.publish(deleted)
        outcome = await tenant.outcome(deleted, "ann")
        assert (outcome.ending, outcome.reason) == (Ending.WITHDRAWN, "deleted")
        assert await tenant.calendar("ann") == []
        assert not (await tenant.stats()).violations
