"""Operations on the open extensions of one event.

Source: Microsoft docs "opentypeextension-post-opentypeextension", "-get", "-update", "-delete".
"""

from typing import Any

from simulator.errors import item_not_found, not_held
from simulator.exchange.event import Event
from simulator.exchange.open_extensions import (
    extension_exists,
    name_of,
    read_extension,
    read_values,
    show_extension,
)
from simulator.graph.call import Answer
from simulator.graph.task import Task

JsonObject = dict[str, Any]


def _event(task: Task) -> Event:
    """The event; its extensions are those of a series as a whole, or of a single event."""
    event = task.event()
    if event.master is not None:
        raise not_held("extensions of one occurrence of a series")
    return event


def _answer(task: Task, status: int, event: Event, name: str) -> Answer:
    context = task.context(f"events('{event.id}')/extensions/$entity")
    return Answer(status, {"@odata.context": context, **show_extension(name, event.extensions[name])})


def _held(task: Task) -> tuple[Event, str]:
    event, name = _event(task), name_of(task.target)
    if name not in event.extensions:
        raise item_not_found()
    return event, name


def create_extension(task: Task) -> Answer:
    """POST .../extensions."""
    task.no_options()
    name, values = read_extension(task.call.json())
    event = _event(task)
    if name in event.extensions:
        raise extension_exists()
    event.extensions = {**event.extensions, name: values}
    task.effect.mutation = True
    return _answer(task, 201, event, name)


def get_extension(task: Task) -> Answer:
    """GET .../extensions/{id}."""
    task.no_options()
    event, name = _held(task)
    return _answer(task, 200, event, name)


def update_extension(task: Task) -> Answer:
    """PATCH .../extensions/{id}: the members it names; null removes one."""
    task.no_options()
    values = read_values(task.call.json())
    event, name = _held(task)
    merged = {member: value for member, value in {**event.extensions[name], **values}.items() if value is not None}
    event.extensions = {**event.extensions, name: merged}
    task.effect.mutation = True
    return _answer(task, 200, event, name)


def delete_extension(task: Task) -> Answer:
    """DELETE .../extensions/{id}."""
    task.no_options()
    event, name = _held(task)
    event.extensions = {key: values for key, values in event.extensions.items() if key != name}
    task.effect.mutation = True
    return Answer(204)
