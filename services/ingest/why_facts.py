"""Reads what `calbus why` tells of an item, in one snapshot of the database."""

import asyncpg

from calbus.entry import Entry
from calbus.store import accounts, entries, items, switches, unread
from calbus.store.accounts import Account, Status
from calbus.store.connection import Connection
from calbus.store.entries import Look
from calbus.store.unread import Unread
from schemas.items import Kind
from services.ingest.intake import settings_needed, switches_of
from services.ingest.why import EntryFacts, ItemFacts

ITEMS_MAX = 20
_KINDS = frozenset(kind.value for kind in Kind)


class NamedOddlyError(Exception):
    """An item was named in no form that is understood; whose move: whoever asks."""


class ItemName:
    """How somebody names an item: its id, or tenant/source/kind/id."""

    def __init__(self, text: str) -> None:
        match text.split("/"):
            case [item_id] if item_id:
                self.tenant, self.source, self.kind, self.id = None, None, None, item_id
            case [tenant, source, kind, item_id] if kind in _KINDS and item_id:
                self.tenant, self.source, self.kind, self.id = tenant, source, Kind(kind), item_id
            case _:
                kinds = " or ".join(Kind)
                raise NamedOddlyError(f"name the item by its id, or as TENANT/SOURCE/KIND/ID, the kind being {kinds}")


async def facts_about(pool: asyncpg.Pool, name: ItemName) -> tuple[list[ItemFacts], list[Unread]]:
    """The items of that name, at most 20, and messages about such an item that could not be read, newest first."""
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        letters = await unread.of_id(connection, name.id, name.tenant, name.source, ITEMS_MAX)
        found = await items.named(connection, name.id, name.tenant, name.source, name.kind, ITEMS_MAX)
        return [await _facts(connection, one, letters) for one in found], letters


async def _facts(connection: Connection, found: items.History, letters: list[Unread]) -> ItemFacts:
    key, stored = found.key, found.stored
    looked_at = await entries.look_at(connection, key)
    troubles = await accounts.look_at(connection, key.tenant, [one.entry.assignee for one in looked_at])
    current = [stored.item] if stored.item is not None else []
    needed = settings_needed(current, [one.entry for one in looked_at], [key.tenant])
    settings = await switches.fetch(connection, needed)
    letter = next((one for one in letters if (one.tenant, one.source) == (key.tenant, key.source)), None)
    return ItemFacts(
        key,
        stored,
        found.revisions,
        letter,
        tuple(
            EntryFacts(
                entry=one.entry,
                switches=switches_of(key, stored, one.entry.assignee, settings),
                attempts=one.attempts,
                last_error=one.last_error,
                refusal=one.refusal,
                due_at=one.due_at,
                settled_at=one.settled_at,
                parked=one.entry.parked,
                trouble=trouble.reason if trouble is not None else None,
                trouble_since=trouble.since if trouble is not None else None,
                probe_at=trouble.probe_at if trouble is not None else None,
            )
            for one, trouble in ((one, _holding(troubles, one)) for one in looked_at)
        ),
    )


def _rests(one: Look) -> bool:
    """Whether a writer found that a trouble holds the entry: there is work, which is due at no time."""
    works = one.entry.owed or one.refusal is not None
    return works and not one.entry.parked and one.due_at is None


def _holding(troubles: dict[Account, Status], one: Look) -> Status | None:
    """The trouble that the entry rests for. Others of its account and tenant do not concern it, and it says nothing."""
    if not _rests(one):
        return None
    tenant = troubles.get(Account(one.entry.item.tenant, ""))
    # While the whole tenant is in trouble, it is that which is looked at, unless that is about another directory.
    if tenant is not None and _is_in(tenant.directory, one.entry):
        return tenant
    return troubles.get(Account(one.entry.item.tenant, one.entry.assignee))


def _is_in(directory: str, entry: Entry) -> bool:
    return entry.target is not None and entry.target.directory.casefold() == directory.casefold()
