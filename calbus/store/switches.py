"""The setting table: what administrators and users set, and the re-plans that a change of it asks for."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from calbus.revisions import Verdict, judge
from calbus.store.accounts import probe_at_once
from calbus.store.connection import Connection
from calbus.store.parameters import columns
from calbus.store.pulls import ask_failing
from schemas.items import Kind
from schemas.switches import AccountSettings, AccountUnlinked, ProjectSettings, Scope, SettingsEvent, TenantSettings

# So many settings, by what they say, are remembered as they were read.
SETTINGS_READ_MAX = 20_000

# An account's body is told by its required fields from that of one that was unlinked.
_MODELS: dict[str, TypeAdapter[Any]] = {
    Scope.TENANT: TypeAdapter(TenantSettings),
    Scope.PROJECT: TypeAdapter(ProjectSettings),
    Scope.ACCOUNT: TypeAdapter(AccountSettings | AccountUnlinked),
}

# Planning holds the shared lock from reading the settings to its commit, a change of settings the exclusive one.
# So every plan that used the old settings is visible to the re-plan that the change asks for.
_TRY_LOCK_SHARED = "SELECT pg_try_advisory_xact_lock_shared(hashtextextended('calbus/' || $1, 0))"
_LOCK_SHARED = "SELECT pg_advisory_xact_lock_shared(hashtextextended('calbus/' || t, 0)) FROM unnest($1::text[]) t"
_LOCK_EXCLUSIVE = "SELECT pg_advisory_xact_lock(hashtextextended('calbus/' || $1, 0))"

_FETCH = """
SELECT s.tenant, s.scope, s.name, s.body, a.activated_at
FROM unnest(string_to_array($1, '/'), string_to_array($2, '/'), string_to_array($3, '/')) AS k (tenant, scope, name)
-- A tenant's own has the empty name, and alone it makes an array without elements.
JOIN setting s ON s.tenant = k.tenant AND s.scope = k.scope AND s.name = coalesce(k.name, '')
LEFT JOIN activation a ON s.scope = 'account' AND a.tenant = s.tenant AND a.name = s.name
WHERE s.body IS NOT NULL
"""

_LOOK = "SELECT revision, body, on_since FROM setting WHERE scope = $1 AND tenant = $2 AND name = $3"

_PUT = """
INSERT INTO setting (scope, tenant, name, revision, body, on_since) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (tenant, scope, name) DO UPDATE
    SET revision = excluded.revision, body = excluded.body, on_since = excluded.on_since, changed_at = now()
"""

_REMOVE = """
UPDATE setting SET body = NULL, on_since = NULL, changed_at = now()
WHERE scope = $1 AND tenant = $2 AND name = $3 AND body IS NOT NULL
RETURNING true
"""

# Messages of different settings are taken in in any order: the later of the two decides, whichever came last. What was
# on before `on_since` was kept has none, and is passed over.
_ACTIVATE = """
INSERT INTO activation (tenant, name, activated_at)
SELECT a.tenant, a.name, coalesce(greatest(a.on_since, t.on_since), $3)
FROM setting a JOIN setting t ON t.tenant = a.tenant AND t.scope = 'tenant'
WHERE a.tenant = $1 AND a.scope = 'account' AND ($2 = '' OR a.name = $2)
  AND (a.body ->> 'allowed')::boolean AND (t.body ->> 'enabled')::boolean
ON CONFLICT DO NOTHING
"""

_DEACTIVATE = "DELETE FROM activation WHERE tenant = $1 AND ($2 = '' OR name = $2)"

_REQUEST_REPLAN = """
INSERT INTO replan (tenant, scope, name) VALUES ($1, $2, $3)
ON CONFLICT (tenant, scope, name) DO UPDATE
    SET after_source = '', after_kind = '', after_id = '', total_items = NULL, done_items = 0
"""

_WAITING_REPLANS = "SELECT replan_id, tenant FROM replan ORDER BY touched_at, replan_id LIMIT 16"

_TAKE_REPLAN = """
SELECT replan_id, tenant, scope, name, after_source, after_kind, after_id, total_items, done_items, begun_at
FROM replan WHERE replan_id = $1 FOR UPDATE SKIP LOCKED
"""

_ADVANCE_REPLAN = """
UPDATE replan SET after_source = $2, after_kind = $3, after_id = $4, done_items = done_items + $5,
                  touched_at = clock_timestamp()
WHERE replan_id = $1
"""

_BEGIN_REPLAN = """
UPDATE replan SET total_items = $2, begun_at = clock_timestamp() WHERE replan_id = $1 RETURNING begun_at
"""

# What came or went since the count is nobody's debt.
_PROGRESS = "SELECT count(*) AS pending, sum(greatest(total_items - done_items, 0))::bigint AS items_left FROM replan"

_COUNT_TOUCHED = {
    Scope.TENANT: "SELECT count(*) FROM item WHERE tenant = $1 AND $2 = ''",
    Scope.PROJECT: "SELECT count(*) FROM item WHERE tenant = $1 AND project = $2",
    Scope.ACCOUNT: """
        SELECT count(*) FROM (
            SELECT source, kind, id FROM entry WHERE tenant = $1 AND assignee = $2
            UNION
            SELECT source, kind, id FROM item WHERE tenant = $1 AND owner = $2
        ) AS touched
    """,
}

# Where statistics lag behind, as after a first load, the planner takes a tenant for a handful of items, and would fetch
# and sort all of them for each chunk.
_IN_INDEX_ORDER = "SET LOCAL enable_bitmapscan = off"

_TOUCHED = {
    Scope.TENANT: """
        SELECT source, kind, id FROM item
        WHERE tenant = $1 AND $2 = '' AND (source, kind, id) > ($3, $4, $5)
        ORDER BY source, kind, id LIMIT $6
    """,
    Scope.PROJECT: """
        SELECT source, kind, id FROM item
        WHERE tenant = $1 AND project = $2 AND (source, kind, id) > ($3, $4, $5)
        ORDER BY source, kind, id LIMIT $6
    """,
    Scope.ACCOUNT: """
        (SELECT source, kind, id FROM entry
         WHERE tenant = $1 AND assignee = $2 AND (source, kind, id) > ($3, $4, $5)
         ORDER BY source, kind, id LIMIT $6)
        UNION
        (SELECT source, kind, id FROM item
         WHERE tenant = $1 AND owner = $2 AND (source, kind, id) > ($3, $4, $5)
         ORDER BY source, kind, id LIMIT $6)
        ORDER BY source, kind, id LIMIT $6
    """,
}


class SettingKey(NamedTuple):
    """Names one setting: `name` is the project or the user, and empty for the tenant's own."""

    tenant: str
    scope: Scope
    name: str


Named = tuple[str, Scope, str]
"""The same as a plain tuple, which equals the key: planning makes and looks up several for each entry."""


@dataclass(frozen=True, slots=True)
class Replan:
    """A settings change whose items are being planned anew, and how far that got."""

    replan_id: int
    setting: SettingKey
    after: tuple[str, str, str]
    total_items: int
    """Counted when it began; what comes later is planned under the new setting anyway."""
    done_items: int
    begun_at: datetime
    begins: bool = False
    """Whether this is the first that is done of it."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Of all re-plans: how many there are, and the items that those that have begun have before them."""

    pending: int
    items_left: int


_SCOPES = {scope.value: scope for scope in Scope}
# An enumeration's members cost more to look up than what is done with them here.
_TENANT, _PROJECT, _ACCOUNT = Scope.TENANT, Scope.PROJECT, Scope.ACCOUNT
_KINDS = {kind.value: kind for kind in Kind}


@lru_cache(maxsize=SETTINGS_READ_MAX)
def _read(scope: str, body: str) -> SettingsEvent:
    """What a stored setting says. Settings change seldom and are asked for with every batch."""
    event: SettingsEvent = _MODELS[scope].validate_json(body)
    return event


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings that planning asked for, as far as there are any."""

    events: Mapping[Named, SettingsEvent] = field(default_factory=dict)
    activated_at: Mapping[Named, datetime] = field(default_factory=dict)
    """Of accounts: the beginning of what is written."""

    # The scope of a key says what a setting is.

    def tenant(self, tenant: str) -> TenantSettings | None:
        """The tenant's own."""
        return self.events.get((tenant, _TENANT, ""))  # type: ignore[return-value]

    def project(self, tenant: str, project: str) -> ProjectSettings | None:
        """A project's."""
        return self.events.get((tenant, _PROJECT, project))  # type: ignore[return-value]

    def account(self, tenant: str, user: str) -> AccountSettings | AccountUnlinked | None:
        """A user's."""
        return self.events.get((tenant, _ACCOUNT, user))  # type: ignore[return-value]

    def activated(self, tenant: str, user: str) -> datetime | None:
        """When a user's account was activated."""
        return self.activated_at.get((tenant, _ACCOUNT, user))


def key_of(settings: SettingsEvent) -> SettingKey:
    """The row that this setting is kept in."""
    match settings:
        case ProjectSettings():
            name = settings.project
        case AccountSettings() | AccountUnlinked():
            name = settings.user
        case _:
            name = ""
    return SettingKey(settings.tenant, settings.scope, name)


async def lock_for_planning(connection: Connection, tenants: Iterable[str]) -> None:
    """Until the transaction ends, no setting of these tenants changes."""
    await connection.execute(_LOCK_SHARED, sorted(set(tenants)))


async def lock_out_planning(connection: Connection, tenant: str) -> None:
    """Until the transaction ends nothing is planned in this tenant, and all that was is visible."""
    await connection.execute(_LOCK_EXCLUSIVE, tenant)


async def fetch(connection: Connection, keys: Collection[Named]) -> Settings:
    """Those of the settings that there are, and when the accounts among them were activated."""
    events: dict[Named, SettingsEvent] = {}
    activations: dict[Named, datetime] = {}
    rows = await connection.fetch(_FETCH, *columns(keys)) if keys else []
    for tenant, scope, name, body, activated_at in rows:
        key = (tenant, _SCOPES[scope], name)
        events[key] = _read(scope, body)
        if activated_at is not None:
            activations[key] = activated_at
    return Settings(events, activations)


async def change(
    connection: Connection, key: SettingKey, settings: SettingsEvent | None, published_at: datetime
) -> Verdict:
    """Store a setting, or take it away (None), and ask for the re-plan of what it touches.

    Needs a transaction of the caller's. A setting that was taken away comes back with any revision. An account is
    activated when the later of it and its tenant was published as switched on, in whatever order the two come.
    """
    await lock_out_planning(connection, key.tenant)
    on_since = published_at if _is_on(settings) else None
    row = (key.scope.value, key.tenant, key.name)
    if settings is None:
        if not await connection.fetchval(_REMOVE, *row):
            return Verdict.DUPLICATE
    else:
        known = await connection.fetchrow(_LOOK, *row)
        if known is not None and known["body"] is not None:
            stored = _MODELS[key.scope].validate_json(known["body"])
            verdict = judge(known["revision"], settings.revision, same=stored == settings)
            if verdict is not Verdict.ACCEPTED:
                return verdict
            if _is_on(settings) and _is_on(stored):
                on_since = known["on_since"]
        await connection.execute(_PUT, *row, settings.revision, settings.model_dump_json(), on_since)
    if key.scope is not Scope.PROJECT:
        ended = settings is None or isinstance(settings, AccountUnlinked)
        if ended:
            await connection.execute(_DEACTIVATE, key.tenant, key.name)
        else:
            await connection.execute(_ACTIVATE, key.tenant, key.name, published_at)
        await probe_at_once(connection, key.tenant, key.name)
        await ask_failing(connection, key.tenant, key.name)
    await connection.execute(_REQUEST_REPLAN, key.tenant, key.scope.value, key.name)
    return Verdict.ACCEPTED


def _is_on(settings: SettingsEvent | None) -> bool:
    match settings:
        case TenantSettings() | ProjectSettings():
            return settings.enabled
        case AccountSettings():
            return settings.allowed
        case _:
            return False


async def next_replan(connection: Connection) -> Replan | None:
    """The re-plan that waited longest and that nobody else works on, locked until the transaction ends.

    Its tenant's settings are locked first, as a change of settings does. It waits for none of these locks, since those
    of tenants that are passed over stay held: a tenant whose settings are just being changed has its turn later.
    """
    for waiting in await connection.fetch(_WAITING_REPLANS):
        if not await connection.fetchval(_TRY_LOCK_SHARED, waiting["tenant"]):
            continue
        if (row := await connection.fetchrow(_TAKE_REPLAN, waiting["replan_id"])) is not None:
            break
    else:
        return None
    setting = SettingKey(row["tenant"], Scope(row["scope"]), row["name"])
    total_items, begun_at = row["total_items"], row["begun_at"]
    if begins := total_items is None:
        total_items = await connection.fetchval(_COUNT_TOUCHED[setting.scope], setting.tenant, setting.name)
        begun_at = await connection.fetchval(_BEGIN_REPLAN, row["replan_id"], total_items)
    return Replan(
        row["replan_id"],
        setting,
        (row["after_source"], row["after_kind"], row["after_id"]),
        total_items,
        row["done_items"],
        begun_at,
        begins,
    )


async def replan_progress(connection: Connection) -> Progress:
    """How far the re-plans are, whoever works on them."""
    row = await connection.fetchrow(_PROGRESS)
    assert row is not None
    return Progress(row["pending"], row["items_left"] or 0)


async def touched_items(connection: Connection, replan: Replan, limit: int) -> list[tuple[str, Kind, str]]:
    """The next items (source, kind, id) that the setting touches, in the order of the cursor.

    Needs the caller's transaction.
    """
    key = replan.setting
    await connection.execute(_IN_INDEX_ORDER)
    rows = await connection.fetch(_TOUCHED[key.scope], key.tenant, key.name, *replan.after, limit)
    return [(source, _KINDS[kind], item_id) for source, kind, item_id in rows]


async def advance_replan(connection: Connection, replan: Replan, last: tuple[str, str, str], done_items: int) -> None:
    """Move the cursor to the last of so many items; durable with the plans made in the same transaction."""
    await connection.execute(_ADVANCE_REPLAN, replan.replan_id, *last, done_items)


async def finish_replan(connection: Connection, replan: Replan) -> None:
    """Nothing is left to plan anew."""
    await connection.execute("DELETE FROM replan WHERE replan_id = $1", replan.replan_id)
