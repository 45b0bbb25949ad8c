"""Saving what there is to a file and loading it: tenants, apps, users, mailboxes, groups and limits.

What happened (ledger, counts, budgets, faults) and what was handed out (tokens, sessions, subscriptions) is not kept;
delta links are, as they hold their own state. The file is two lines of JSON, of which the first has the checksum of all
that follows it, and a pickle, in which only values of our own are accepted.
"""

import dataclasses
import errno
import hashlib
import io
import os
import pickle
from collections import Counter, deque
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import orjson
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from simulator.limits import Limits
from simulator.tenant import Tenant
from simulator.world import World

FORMAT = "graph-simulator-state"
VERSION = 2
CHECKSUM = "sha256"

_OURS = "simulator."
_PLAIN = {
    (kind.__module__, kind.__qualname__): kind
    for kind in (Counter, deque, date, datetime, timedelta, timezone, set, frozenset)
}
_KEPT_OF_TENANT = (
    "registrations", "principals", "users_may_consent", "approval_by_request", "groups", "clock_offset_s",
)  # fmt: skip


def _layout(kind: type) -> list[str]:
    """The names of the values that an object of this type is made of."""
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    return list(getattr(kind, "_fields", ()) or getattr(kind, "__slots__", ()))


class _Writer(pickle.Pickler):
    """Writes values and remembers the layout of every type of ours among them."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=5)
        self.layouts: dict[str, list[str]] = {}

    def persistent_id(self, obj: Any) -> tuple[str, bytes] | None:
        if isinstance(obj, x509.Certificate):
            return "certificate", obj.public_bytes(Encoding.DER)
        return None

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind.__module__.startswith(_OURS):
            name = f"{kind.__module__}:{kind.__qualname__}"
            if name not in self.layouts:
                self.layouts[name] = _layout(kind)
        return NotImplemented


class _Reader(pickle.Unpickler):
    """Reads our own types and plain values; anything else is refused before it is made."""

    def persistent_load(self, pid: Any) -> Any:
        return x509.load_der_x509_certificate(pid[1])

    def find_class(self, module_name: str, global_name: str) -> Any:
        if (plain := _PLAIN.get((module_name, global_name))) is not None:
            return plain
        found = super().find_class(module_name, global_name) if module_name.startswith(_OURS) else None
        if not isinstance(found, type):
            raise pickle.UnpicklingError(f"{module_name}.{global_name} has no place in a state file")
        return found


def check_writable(path: Path) -> None:
    """Raises OSError if the file could not be written; leaves nothing behind."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    unfinished = _unfinished(path)
    unfinished.open("wb").close()
    unfinished.unlink()


def save(world: World, path: Path) -> None:
    """Writes the file in one step: whoever reads it finds the old state or the new one. Raises OSError."""
    buffer = io.BytesIO()
    writer = _Writer(buffer)
    writer.dump({"limits": dataclasses.asdict(world.limits), "tenants": [_kept(t) for t in world.tenants.values()]})
    about = orjson.dumps({"saved_at": datetime.now(UTC), "layouts": writer.layouts}) + b"\n"
    checksum = hashlib.new(CHECKSUM, about)
    checksum.update(buffer.getbuffer())
    head = {"format": FORMAT, "version": VERSION, CHECKSUM: checksum.hexdigest()}
    unfinished = _unfinished(path)
    with unfinished.open("wb") as file:
        file.write(orjson.dumps(head) + b"\n")
        file.write(about)
        file.write(buffer.getbuffer())
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def _unfinished(path: Path) -> Path:
    return path.with_name(f"{path.name}.unfinished")


def _kept(tenant: Tenant) -> dict[str, Any]:
    users = [
        dataclasses.replace(user, mailbox=dataclasses.replace(user.mailbox, watchers=[]))
        for user in tenant.users.values()
    ]
    parts = {name: getattr(tenant, name) for name in _KEPT_OF_TENANT}
    return {"id": tenant.id, "domain": tenant.domain, "own_limits": tenant.own_limits, "users": users, "parts": parts}


def load(world: World, path: Path) -> None:
    """Replaces everything by what the file holds, or nothing. Raises OSError, or ValueError if it cannot be used."""
    with path.open("rb") as file:
        _check_head(file, path)
        try:
            _check_layouts(orjson.loads(file.readline())["layouts"], path)
            fresh = _built(world.beside(), _Reader(file).load())
        except _OtherVersionError:
            raise
        except Exception as error:  # noqa: BLE001 - what is forged can lead to any exception while it is read
            raise ValueError(f"{path} is damaged: {type(error).__name__}: {error}.") from None
    world.become(fresh)


def _built(world: World, kept: Any) -> World:
    """The world filled with what a file held."""
    limits = Limits(**kept["limits"])
    if problem := limits.problem():
        raise ValueError(problem)
    world.set_limits(limits)
    for held in kept["tenants"]:
        tenant = world.put_tenant(held["id"], held["domain"])
        for name in _KEPT_OF_TENANT:
            setattr(tenant, name, held["parts"][name])
        world.set_tenant_limits(tenant, held["own_limits"])
        for user in held["users"]:
            tenant.add_user(user)
    return world


class _OtherVersionError(ValueError):
    """The file is as it was written, by another version of the simulator."""


def _check_head(file: io.BufferedReader, path: Path) -> None:
    """Reads the first line; what follows is as it was written. Raises ValueError."""
    try:
        head = orjson.loads(file.readline())
    except orjson.JSONDecodeError:
        head = None
    if type(head) is not dict or head.get("format") != FORMAT:
        raise ValueError(f"{path} is not a state file of the simulator.")
    if head.get("version") != VERSION:
        raise ValueError(f"{path} has version {head.get('version')}; this simulator reads version {VERSION}.")
    begin = file.tell()
    checksum = hashlib.file_digest(file, CHECKSUM).hexdigest()
    if head.get(CHECKSUM) != checksum:
        raise ValueError(f"{path} is damaged: its checksum is wrong.")
    file.seek(begin)


def _check_layouts(layouts: dict[str, list[str]], path: Path) -> None:
    for name, layout in layouts.items():
        module_name, _, qualified_name = name.partition(":")
        try:
            known = _layout(_Reader(io.BytesIO()).find_class(module_name, qualified_name))
        except (pickle.UnpicklingError, AttributeError, ImportError):
            known = []
        if known != layout:
            raise _OtherVersionError(f"{path} was written by another version of the simulator: {name} has changed.")
