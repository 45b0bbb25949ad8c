"""Subject and body of an entry: the tenant's template, or ours, made to fit. Pure.

Both are templates of the same language, so that ours show a tenant what theirs can do.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from calbus.values import value
from schemas.items import ContactKind, ContactUpserted, ItemUpserted, Status
from schemas.switches import ProjectSettings
from services.ingest.shortening import ELLIPSIS, fits, shorten, units
from services.ingest.templates import Compiled, Flaw, compile_template
from services.ingest.texts import Texts

# In UTF-16 code units. That Outlook takes 255 in a subject is common knowledge, not a documented limit.
SUBJECT_MAX_UNITS = 255
BODY_MAX_UNITS = 32_000

ICONS = {Status.OPEN: "○", Status.ACTIVE: "◐", Status.COMPLETED: "✔", Status.CANCELLED: "✖"}
# What is still to come shows what it will be: outlined while it is open, filled while it is active.
CONTACT_ICONS = {
    ContactKind.MEETING: {Status.OPEN: "◇", Status.ACTIVE: "◆"},
    ContactKind.CALL: {Status.OPEN: "☏", Status.ACTIVE: "☎"},
    ContactKind.VISIT: {Status.OPEN: "⌂", Status.ACTIVE: "☗"},
    ContactKind.OTHER: {},
}

DEFAULT_SUBJECT = "{{ icon }} {{ title }}"
DEFAULT_BODY = """\
{% if kind in ("meeting", "call", "visit") %}
{{ kind_label }}: {{ kind_text }}
{% endif %}
{% if client %}
{{ client_label }}: {{ client }}
{% endif %}
{% if place %}
{{ place_label }}: {{ place }}
{% endif %}
{% if description %}

{{ description }}
{% endif %}
{% if link %}

{{ link_label }}: {{ link }}
{% endif %}
"""


@value
class Wording:
    """Subject and body, each within its limit; the subject is one line and never empty.

    `notice` says which template was not used, and why; empty if all went as the tenant wanted.
    """

    subject: str
    body: str
    notice: str = ""


def word(
    item: ItemUpserted,
    texts: Texts,
    project: ProjectSettings | None,
    *,
    subject_template: str | None = None,
    body_template: str | None = None,
) -> Wording:
    """Put an item into words. Never fails: a template that does gives way to ours."""
    subject = own_subject(item) if subject_template is None else None
    body = own_body(item, texts) if body_template is None else None
    if subject is not None and body is not None:
        return Wording(subject, body)
    values = _Values(item, texts, project)
    subject, subject_notice = (subject, "") if subject else _written(_SUBJECT, subject_template, values)
    body, body_notice = (body, "") if body is not None else _written(_BODY, body_template, values)
    return Wording(subject, body, " ".join(filter(None, (subject_notice, body_notice))))


def own_subject(item: ItemUpserted) -> str | None:
    """What DEFAULT_SUBJECT gives, without Jinja2: most entries need no more. None if that has to be made to fit."""
    subject = " ".join((icon_of(item), *plain(item.title).split()))
    return subject if fits(subject, SUBJECT_MAX_UNITS) else None


def own_body(item: ItemUpserted, texts: Texts) -> str | None:
    """The same for DEFAULT_BODY."""
    lines = []
    if type(item) is ContactUpserted:
        if item.contact_kind is not ContactKind.OTHER:
            lines.append(f"{texts.kind_label}: {texts.contact_kind[item.contact_kind]}\n")
        if item.client and (client := plain(item.client.name)):
            lines.append(f"{texts.client_label}: {client}\n")
    if place := plain(item.place):
        lines.append(f"{texts.place_label}: {place}\n")
    if description := plain(item.description):
        lines.append(f"\n{description}\n")
    if item.link and (link := plain(item.link)):
        lines.append(f"\n{plain(texts.open_in(item.source))}: {link}\n")
    body = "".join(lines)
    return body.strip() if fits(body, BODY_MAX_UNITS) else None


def icon_of(item: ItemUpserted) -> str:
    """How far an item is; of a contact that is still to come, what it is too."""
    if type(item) is ContactUpserted:
        return CONTACT_ICONS[item.contact_kind].get(item.status, ICONS[item.status])
    return ICONS[item.status]


def plain(text: str) -> str:
    """The text without what Exchange may refuse: control characters other than tabs and line ends."""
    if text.isprintable() or not _UNFIT_AT.search(text):
        return text
    return text.replace("\r\n", "\n").translate(_UNFIT)


# C0 and C1 controls and what is no character; the separators among them become what they were for.
_UNFIT: dict[int, str | None] = {
    **dict.fromkeys((*range(0x20), *range(0x7F, 0xA0), 0xFFFE, 0xFFFF)),
    **dict.fromkeys(range(0x1C, 0x20), " "),
    **dict.fromkeys((0x0B, 0x0C, 0x0D, 0x85), "\n"),
    0x09: "\t",
    0x0A: "\n",
}
_UNFIT_AT = re.compile("[^\t\n\x20-\x7e\xa0-\ufffd\U00010000-\U0010ffff]")


class _Values(dict[str, str]):
    """What the variables stand for, each made when a template first asks for it."""

    __slots__ = ("item", "project", "texts")

    def __init__(self, item: ItemUpserted, texts: Texts, project: ProjectSettings | None) -> None:
        self.item = item
        self.texts = texts
        self.project = project

    def __missing__(self, name: str) -> str:
        value = self[name] = plain(_SAID[name](self.item, self.texts, self.project))
        return value

    def with_another(self, name: str, value: str) -> "_Values":
        """The same but for one."""
        values = _Values(self.item, self.texts, self.project)
        values.update(self)
        values[name] = value
        return values


def _contact_kind(item: ItemUpserted) -> ContactKind | None:
    return item.contact_kind if isinstance(item, ContactUpserted) else None


def _kind(item: ItemUpserted) -> str:
    # Of a contact that is none of the kinds with a name, "contact" says more than "other" does beside an action.
    contact_kind = _contact_kind(item)
    return contact_kind.value if contact_kind not in (None, ContactKind.OTHER) else item.kind.value


def _client(item: ItemUpserted) -> str:
    return item.client.name if isinstance(item, ContactUpserted) and item.client else ""


_SAID: dict[str, Callable[[ItemUpserted, Texts, ProjectSettings | None], str]] = {
    "icon": lambda item, _texts, _project: icon_of(item),
    # One line: what gives way in a subject is measured before the subject is made one.
    "title": lambda item, _texts, _project: " ".join(item.title.split()),
    "status": lambda item, _texts, _project: item.status.value,
    "status_text": lambda item, texts, _project: texts.status[item.status],
    "kind": lambda item, _texts, _project: _kind(item),
    "kind_text": lambda item, texts, _project: texts.kind(item.kind, _contact_kind(item)),
    "priority": lambda item, _texts, _project: item.priority.value,
    "priority_text": lambda item, texts, _project: texts.priority[item.priority],
    "description": lambda item, _texts, _project: item.description,
    "client": lambda item, _texts, _project: _client(item),
    "place": lambda item, _texts, _project: item.place,
    "project": lambda item, _texts, project: (project.name if project else "") or item.project or "",
    "owner": lambda item, _texts, _project: item.owner or "",
    "link": lambda item, _texts, _project: item.link or "",
    "source": lambda item, _texts, _project: item.source,
    "id": lambda item, _texts, _project: item.id,
    "kind_label": lambda _item, texts, _project: texts.kind_label,
    "client_label": lambda _item, texts, _project: texts.client_label,
    "place_label": lambda _item, texts, _project: texts.place_label,
    "link_label": lambda item, texts, _project: texts.open_in(item.source),
}


@dataclass(frozen=True, slots=True)
class _Field:
    """A field of the entry: its own template, its limit, and the variable that gives way when it is too long."""

    name: str
    default: str
    limit_units: int
    yielding: str
    tidy: Callable[[str], str]
    may_be_empty: bool


_SUBJECT = _Field(
    name="subject",
    default=DEFAULT_SUBJECT,
    limit_units=SUBJECT_MAX_UNITS,
    yielding="title",
    tidy=lambda text: " ".join(text.split()),
    may_be_empty=False,
)
_BODY = _Field(
    name="body",
    default=DEFAULT_BODY,
    limit_units=BODY_MAX_UNITS,
    yielding="description",
    tidy=str.strip,
    may_be_empty=True,
)


def _written(field: _Field, template: str | None, values: _Values) -> tuple[str, str]:
    """The field's text, and a notice if the tenant's template was not used."""
    notice = ""
    if template is not None:
        text = _rendered(field, template, values)
        if isinstance(text, str):
            return text, ""
        notice = f"The {field.name} template was not used, the default was: {text.says}."
    text = _rendered(field, field.default, values)
    assert isinstance(text, str), text
    return text, notice


def _rendered(field: _Field, template: str, values: _Values) -> str | Flaw:
    compiled = compile_template(template)
    if isinstance(compiled, Flaw):
        return compiled
    text = _fitted(field, compiled, values)
    if isinstance(text, Flaw):
        return text
    tidied = shorten(field.tidy(text), field.limit_units)
    return tidied if tidied or field.may_be_empty else Flaw("it gives no text")


def _fitted(field: _Field, compiled: Compiled, values: _Values) -> str | Flaw:
    """The text, with less of the variable that gives way if it is too long; it may be too long still."""
    text = compiled.render(values)
    mentions = compiled.mentions(field.yielding)
    if isinstance(text, Flaw) or not mentions or fits(field.tidy(text), field.limit_units):
        return text
    bare = compiled.render(values.with_another(field.yielding, ELLIPSIS))
    if isinstance(bare, Flaw):
        return bare
    room_units = max((field.limit_units - units(field.tidy(bare))) // mentions + 1, 1)
    return compiled.render(values.with_another(field.yielding, shorten(values[field.yielding], room_units)))
