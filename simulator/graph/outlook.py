"""Operations on what Outlook keeps for a user beside events: categories, settings, time zones, item ids.

Sources: Microsoft docs "outlookuser-list-mastercategories", "user-get-mailboxsettings",
"outlookuser-supportedtimezones", "user-translateexchangeids".
"""

import re
from typing import Any

from simulator.errors import GraphError, bad_request, invalid_request, not_held, unreadable_body
from simulator.exchange import settings
from simulator.exchange.times import utc_offset_text, zone_names
from simulator.graph.call import Answer
from simulator.graph.few import item_answer, list_answer
from simulator.graph.task import Task

JsonObject = dict[str, Any]

TRANSLATED_MAX = 1000
SETTINGS_READ_ROLES = frozenset({"MailboxSettings.Read", "MailboxSettings.ReadWrite"})
SETTINGS_WRITE_ROLES = frozenset({"MailboxSettings.ReadWrite"})
ZONE_ROLES = frozenset({"User.Read.All", "User.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"})
TRANSLATE_ROLES = ZONE_ROLES | {"User.ReadBasic.All", "Calendars.Read", "Calendars.ReadWrite"}
_CATEGORY = "microsoft.graph.outlookCategory"
_CATEGORY_CONTEXT = "outlook/masterCategories/$entity"
_REST_FORMATS = frozenset({"restId", "restImmutableEntryId"})
_OTHER_FORMATS = frozenset({"entryId", "ewsId", "immutableEntryId"})
_STANDARD = re.compile(r"(?:microsoft\.graph\.timeZoneStandard)?'(\w+)'", re.IGNORECASE)


def list_categories(task: Task) -> Answer:
    """GET .../outlook/masterCategories. There are few, so there is one page unless `$top` cuts it."""
    categories = [category.show() for category in task.mailbox.categories.by_id.values()]
    return list_answer(task, "outlook/masterCategories", _CATEGORY, categories)


def _category_answer(task: Task, status: int, shown: JsonObject) -> Answer:
    return Answer(status, {"@odata.context": task.context(_CATEGORY_CONTEXT), **shown})


def create_category(task: Task) -> Answer:
    """POST .../outlook/masterCategories."""
    task.no_options()
    category = task.mailbox.categories.create(task.call.json())
    task.effect.mutation = True
    return _category_answer(task, 201, category.show())


def get_category(task: Task) -> Answer:
    """GET .../outlook/masterCategories/{id}."""
    return item_answer(task, _CATEGORY_CONTEXT, _CATEGORY, task.mailbox.categories.get(task.target).show())


def update_category(task: Task) -> Answer:
    """PATCH .../outlook/masterCategories/{id}: the colour."""
    task.no_options()
    category = task.mailbox.categories.get(task.target)
    task.mailbox.categories.change(category, task.call.json())
    task.effect.mutation = True
    return _category_answer(task, 200, category.show())


def delete_category(task: Task) -> Answer:
    """DELETE .../outlook/masterCategories/{id}."""
    task.no_options()
    task.mailbox.categories.remove(task.mailbox.categories.get(task.target))
    task.effect.mutation = True
    return Answer(204)


def _settings(task: Task) -> JsonObject:
    return settings.shown(task.mailbox.settings, task.user.time_zone)


def get_settings(task: Task) -> Answer:
    """GET .../mailboxSettings."""
    return item_answer(task, "mailboxSettings", settings.TYPE, _settings(task))


def get_setting(task: Task) -> Answer:
    """GET .../mailboxSettings/{name}: one of them."""
    task.no_options()
    held = _settings(task)
    if task.target not in held:
        raise bad_request(f"Resource not found for the segment '{task.target}'.")
    context = {"@odata.context": task.context(f"mailboxSettings/{task.target}")}
    value = held[task.target]
    return Answer(200, {**context, **value} if type(value) is dict else {**context, "value": value})


def update_settings(task: Task) -> Answer:
    """PATCH .../mailboxSettings."""
    task.no_options()
    changed, time_zone = settings.read_settings(task.call.json(), task.mailbox.settings)
    task.mailbox.settings = changed
    if time_zone is not None:
        task.user.time_zone = time_zone
    task.effect.mutation = True
    return Answer(200, {"@odata.context": task.context("mailboxSettings"), **_settings(task)})


def list_time_zones(task: Task) -> Answer:
    """GET .../outlook/supportedTimeZones, of Windows or of the standard that is named."""
    task.no_options()
    standard = "windows"
    if task.target:
        found = _STANDARD.fullmatch(task.target)
        standard = found.group(1).lower() if found else ""
    if standard not in ("windows", "iana"):
        raise bad_request(f"Requested value '{task.target}' was not found.")
    names = zone_names(iana=standard == "iana")
    zones = [{"alias": name, "displayName": f"({utc_offset_text(name)}) {name}"} for name in names]
    context = f"{task.call.origin}/v1.0/$metadata#Collection(microsoft.graph.timeZoneInformation)"
    return Answer(200, {"@odata.context": context, "value": zones})


def _read_format(document: JsonObject, name: str) -> str:
    value = document.get(name)
    if type(value) is str and value in _OTHER_FORMATS:
        raise not_held(f"ids in the format '{value}'")
    if type(value) is not str or value not in _REST_FORMATS:
        raise unreadable_body(f"Requested value '{value}' was not found.")
    return value


def translate_ids(task: Task) -> Answer:
    """POST .../translateExchangeIds: from ordinary to immutable ids and back."""
    task.no_options()
    document = task.call.json()
    given = document.get("inputIds") if type(document) is dict else None
    if type(given) is not list or not all(type(item) is str for item in given):
        raise unreadable_body("The property 'inputIds' needs an array of 'Edm.String'.")
    if len(given) > TRANSLATED_MAX:
        raise invalid_request(f"At most {TRANSLATED_MAX} ids can be translated at a time.")
    _read_format(document, "sourceIdType")
    target = _read_format(document, "targetIdType")
    context = f"{task.call.origin}/v1.0/$metadata#Collection(microsoft.graph.convertIdResult)"
    return Answer(200, {"@odata.context": context, "value": [_translated(task, item, target) for item in given]})


def _translated(task: Task, item_id: str, target: str) -> JsonObject:
    try:
        event = task.mailbox.event(item_id)
    except GraphError as error:
        return {"sourceId": item_id, "errorDetails": {"code": error.code, "message": error.message}}
    return {"sourceId": item_id, "targetId": event.immutable_id if target == "restImmutableEntryId" else event.id}
