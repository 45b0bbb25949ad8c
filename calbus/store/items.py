"""The item table: the newest revision of each item, and the last one of those that are gone."""

from collections.abc import Container, Iterable
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from calbus.entry import ItemKey
from calbus.store.connection import Connection
from calbus.store.parameters import columns, seconds
from calbus.values import value
from schemas.items import ActionUpserted, ContactUpserted, ItemUpserted, Kind

_KINDS = {kind.value: kind for kind in Kind}
_MODELS: dict[Kind, type[ItemUpserted]] = {Kind.ACTION: ActionUpserted, Kind.CONTACT: ContactUpserted}

_OF_KEYS = """
SELECT i.tenant, i.source, i.kind, i.id, i.revision, i.content_hash, i.body
FROM item i
JOIN unnest(
    string_to_array($1, '/'), string_to_array($2, '/'), string_to_array($3, '/'), string_to_array($4, '/')
) AS k (tenant, source, kind, id)
  ON i.tenant = k.tenant AND i.source = k.source AND i.kind = k.kind AND i.id = k.id
ORDER BY i.tenant, i.source, i.kind, i.id
"""
_LOCK = f"{_OF_KEYS} FOR UPDATE OF i"
_LOCK_BARE = _LOCK.replace("i.body", "NULL::jsonb AS body")

REVISIONS_KEPT_MAX = 10

_INSERT = """
INSERT INTO item (tenant, source, kind, id, revision, content_hash, project, owner, body, revisions, revised_at)
SELECT tenant, source, kind, id, revision, content_hash, project, owner, body, ARRAY[revision],
       ARRAY[to_timestamp(published_s)]
FROM unnest($1::item_told[]) ORDER BY 1, 2, 3, 4
ON CONFLICT DO NOTHING
"""

_UPDATE = f"""
UPDATE item i SET revision = n.revision, content_hash = n.content_hash, project = n.project, owner = n.owner,
                  body = n.body, received_at = now(),
                  revisions = (n.revision || i.revisions)[1:{REVISIONS_KEPT_MAX}],
                  revised_at = (to_timestamp(n.published_s) || i.revised_at)[1:{REVISIONS_KEPT_MAX}]
FROM unnest($1::item_told[]) AS n
WHERE i.tenant = n.tenant AND i.source = n.source AND i.kind = n.kind AND i.id = n.id
"""  # noqa: S608


_NAMED = """
SELECT tenant, source, kind, id, revision, content_hash, body, revisions, revised_at FROM item
WHERE id = $1 AND ($2::text IS NULL OR tenant = $2) AND ($3::text IS NULL OR source = $3)
  AND ($4::text IS NULL OR kind = $4)
ORDER BY tenant, source, kind LIMIT $5
"""


class RacedError(Exception):
    """Another process stored one of the items for the first time, between our look and our write: do it all again."""


@value
class StoredItem:
    """An item as it stands; `item` is None if it was deleted. `published_at` is that of a revision to be stored."""

    revision: int
    content_hash: bytes
    item: ItemUpserted | None
    published_at: datetime | None = None
    body: bytes | None = None
    """Of a revision to be stored: the item in JSON."""


@dataclass(frozen=True, slots=True)
class History:
    """An item and its newest accepted revisions, newest first, with when each was published."""

    key: ItemKey
    stored: StoredItem
    revisions: tuple[tuple[int, datetime], ...]


async def lock(connection: Connection, keys: Iterable[ItemKey]) -> dict[ItemKey, StoredItem]:
    """Those of the items that there are, locked until the transaction ends."""
    return await _fetch(connection, _LOCK, keys)


async def lock_bare(connection: Connection, keys: Iterable[ItemKey]) -> dict[ItemKey, StoredItem]:
    """The same without what the items say: enough to judge revisions, and many times quicker."""
    return await _fetch(connection, _LOCK_BARE, keys)


async def of_keys(connection: Connection, keys: Iterable[ItemKey]) -> dict[ItemKey, StoredItem]:
    """Those of the items that there are, as they are; nothing is locked."""
    return await _fetch(connection, _OF_KEYS, keys)


async def _fetch(connection: Connection, query: str, keys: Iterable[ItemKey]) -> dict[ItemKey, StoredItem]:
    wanted = list(keys)
    rows = await connection.fetch(query, *columns(wanted)) if wanted else []
    found = {}
    for tenant, source, kind_name, item_id, revision, content_hash, body in rows:
        kind = _KINDS[kind_name]
        item = _MODELS[kind].read_json(body) if body else None
        found[ItemKey(tenant, source, kind, item_id)] = StoredItem(revision, content_hash, item)
    return found


async def named(
    connection: Connection, item_id: str, tenant: str | None, source: str | None, kind: Kind | None, limit: int
) -> list[History]:
    """Up to `limit` items of this id; None means any tenant, source or kind."""
    rows = await connection.fetch(_NAMED, item_id, tenant, source, kind.value if kind else None, limit)
    return [
        History(
            ItemKey(row["tenant"], row["source"], Kind(row["kind"]), row["id"]),
            _stored(row),
            tuple(zip(row["revisions"], row["revised_at"], strict=True)),
        )
        for row in rows
    ]


def _stored(row: asyncpg.Record) -> StoredItem:
    item = _MODELS[Kind(row["kind"])].model_validate_json(row["body"]) if row["body"] else None
    return StoredItem(row["revision"], row["content_hash"], item)


async def put(connection: Connection, items: dict[ItemKey, StoredItem], known: Container[ItemKey]) -> None:
    """Store newer revisions; `known` are the items that `lock` gave.

    Raises RacedError if an item that was not there has come to be there meanwhile.
    """
    fresh = [_row(key, item) for key, item in items.items() if key not in known]
    if fresh:
        status = await connection.execute(_INSERT, fresh)
        if int(status.rpartition(" ")[2]) != len(fresh):
            raise RacedError
    changed = [_row(key, item) for key, item in items.items() if key in known]
    if changed:
        await connection.execute(_UPDATE, changed)


def _row(key: ItemKey, stored: StoredItem) -> tuple[object, ...]:
    """An `item_told`, as migration 20 has it."""
    item = stored.item
    project, owner = (item.project, item.owner) if item is not None else (None, None)
    body = stored.body.decode() if stored.body is not None else None
    return (*key, stored.revision, stored.content_hash, project, owner, body, seconds(stored.published_at))
