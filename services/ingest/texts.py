"""The words that calbus itself puts into a calendar, in the tenant's language. Pure, from catalogs in the package.

The catalogs are gettext's `.po` files, read as they are: there is nothing to compile and nothing to forget.
"""

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

from schemas.items import ContactKind, Kind, Priority, Status
from schemas.switches import Locale

if TYPE_CHECKING:
    from babel.messages.catalog import Catalog

_STATUS = {Status.OPEN: "Open", Status.ACTIVE: "Active", Status.COMPLETED: "Completed", Status.CANCELLED: "Cancelled"}
_PRIORITY = {Priority.LOW: "Low", Priority.NORMAL: "Normal", Priority.HIGH: "High"}
_CONTACT_KIND = {
    ContactKind.MEETING: "Meeting",
    ContactKind.CALL: "Call",
    ContactKind.VISIT: "Visit",
    ContactKind.OTHER: "Contact",
}


class UntranslatedError(LookupError):
    """A catalog lacks a text: a fault of the package, which its tests exclude."""


@dataclass(frozen=True, slots=True)
class Texts:
    """Every text in one language."""

    status: dict[Status, str]
    """How far an item is; the name of its category in Outlook."""
    priority: dict[Priority, str]
    contact_kind: dict[ContactKind, str]
    action: str
    """The kind of an item that is no contact."""
    kind_label: str
    client_label: str
    place_label: str
    _open_in: str

    def open_in(self, source: str) -> str:
        """Leads to the item in the system named `source`."""
        return _naming(self._open_in, source)

    def kind(self, kind: Kind, contact_kind: ContactKind | None) -> str:
        """What an item is, in one word."""
        return self.action if kind is Kind.ACTION or contact_kind is None else self.contact_kind[contact_kind]


# Systems are few, and their items many.
@lru_cache(maxsize=1_024)
def _naming(text: str, source: str) -> str:
    return text % {"source": source}


@lru_cache(maxsize=len(Locale))
def texts_in(language: Locale) -> Texts:
    """The texts in one language. Raises UntranslatedError if the catalog is not whole."""
    catalog = catalog_of(language)

    def say(context: str, text: str) -> str:
        message = catalog.get(text, context)
        if message is None or message.fuzzy or not isinstance(message.string, str) or not message.string:
            raise UntranslatedError(f"{language}.po has no text for {text!r} ({context})")
        return message.string

    return Texts(
        status={status: say("status", text) for status, text in _STATUS.items()},
        priority={priority: say("priority", text) for priority, text in _PRIORITY.items()},
        contact_kind={kind: say("kind", text) for kind, text in _CONTACT_KIND.items()},
        action=say("kind", "Action"),
        kind_label=say("label", "Kind"),
        client_label=say("label", "Client"),
        place_label=say("label", "Place"),
        _open_in=say("label", "Open in %(source)s"),
    )


def read_all_texts() -> None:
    """Have the texts of all languages at hand, so that no event waits for them, and a gap shows when ingest starts."""
    for language in Locale:
        texts_in(language)


def catalog_of(language: Locale) -> "Catalog":
    """The catalog as translators see it."""
    from babel.messages.pofile import read_po

    with (files("services.ingest") / "locale" / f"{language}.po").open("rb") as file:
        return read_po(file, locale=language)
