"""Operations on the open extensions of one event, or of one occurrence, which becomes an exception by the first.

Source: Microsoft docs "opentypeextension-post-opentypeextension", "-get", "-update", "-delete".
"""

from typing import Any

from simulator.errors import item_not_found
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


def _answer(task: Task, status: int, event: Event, name: str) -> Answer:
    context = task.context(f"events('{event.id}')/extensions/$entity")
    return Answer(status, {"@odata.context": context, **show_extension(name, event.extensions[name])})


def _held(task: Task) -> tuple[Event, str]:
    event, name = task.event(), name_of(task.target)
    if name not in event.extensions:
        raise item_not_found()
    return event, name


def _keep(task: Task, event: Event, name: str, values: JsonObject | None) -> None:
    task.mailbox.keep_extension(event, name, values, task.tenant.limits, task.tenant.now())
    task.effect.mutation = True


def create_extension(task: Task) -> Answer:
    """POST .../extensions."""
    task.no_options()
    name, values = read_extension(task.call.json())
    event = task.event()
    if name in event.extensions:
        raise extension_exists()
    _keep(task, event, name, values)
    return _answer(task, 201, event, name)


def get_extension(task: Task) -> Answer:
    """GET .../extensions/{id}."""
    task.no_options()
    event, name = _held(task)
    if name not in task.seen(event).extensions:
        raise item_not_found()
    return _answer(task, 200, event, name)


def update_extension(task: Task) -> Answer:
    """PATCH .../extensions/{id}: the members it names; null removes one."""
    task.no_options()
    values = read_values(task.call.json())
    event, name = _held(task)
    merged = {member: value for member, value in {**event.extensions[name], **values}.items() if value is not None}
    _keep(task, event, name, merged)
    return _answer(task, 200, event, name)


def delete_extension(task: Task) -> Answer:
    """DELETE .../extensions/{id}."""
    task.no_options()
    event, name = _held(task)
    _keep(task, event, name, None)
    return Answer(204)
