"""Reads a tenant's items in one snapshot, and has the planner decide them anew under a hypothesis. Writes nothing."""

from collections.abc import Callable

import asyncpg

from calbus.budget import MailboxBudget
from calbus.store import snapshot, switches
from schemas.switches import Scope
from services.ingest.breaker import Thresholds
from services.ingest.forecast import Forecast, Hypothesis, Tally
from services.ingest.intake import plan_anew, settings_needed

CHUNK_MAX_ITEMS = 1_000


class UnknownTenantError(Exception):
    """There is nothing of such a tenant; whose move: whoever asks."""


async def foretell(
    pool: asyncpg.Pool,
    hypothesis: Hypothesis,
    budget: MailboxBudget,
    thresholds: Thresholds,
    progress: Callable[[int, int], None],
) -> Forecast:
    """What would come of the hypothesis, as things stand now. `progress` hears of items done, and of how many.

    Raises UnknownTenantError.
    """
    tenant = hypothesis.tenant
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        has_settings, items = await snapshot.open_tenant(connection, tenant)
        if not has_settings and not items:
            raise UnknownTenantError(tenant)
        now = await snapshot.now(connection)
        known = (await switches.fetch(connection, [(tenant, Scope.TENANT, "")])).tenant(tenant)
        seen = await snapshot.categories_seen(connection, known.directory) if known is not None else set()
        tally = Tally(seen)
        after = snapshot.BEFORE_ALL
        progress(0, items)
        while True:
            stored, looks = await snapshot.page(connection, tenant, after, CHUNK_MAX_ITEMS)
            if not stored:
                break
            last = max(stored)
            after = (last.source, last.kind.value, last.id)
            current = [look.entry for look in looks]
            needed = settings_needed([one.item for one in stored.values() if one.item is not None], current, [tenant])
            settings = await switches.fetch(connection, needed)
            assumed = hypothesis.applied_to(settings, needed, now)
            tally.activated |= {user for _, _, user in assumed.activated_at.keys() - settings.activated_at.keys()}
            tally.add(len(stored), looks, plan_anew(stored, current, assumed, now))
            progress(tally.items, items)
        return tally.result(budget, await snapshot.breakers(connection, tenant), thresholds, now)
