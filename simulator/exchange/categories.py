"""A mailbox's master list of categories: a name, which stays, and one of 25 preset colours.

Source: Microsoft docs "outlookcategory", "outlookuser-post-mastercategories".
"""

import uuid
from dataclasses import dataclass, field
from typing import Any

from simulator.errors import GraphError, invalid_request, unknown_property, unreadable_body

JsonObject = dict[str, Any]

COLORS = frozenset({"none", *(f"preset{number}" for number in range(25))})
_NAME_MAX_CHARS = 255
# What a new mailbox has: Outlook names them after their colours.
_DEFAULTS = {"Red": 0, "Orange": 1, "Yellow": 3, "Green": 4, "Blue": 7, "Purple": 8}


@dataclass(slots=True)
class Category:
    """One category. Events name it by `name`; a change of colour is seen on all of them."""

    id: str
    name: str
    color: str

    def show(self) -> JsonObject:
        """The category on the wire."""
        return {"id": self.id, "displayName": self.name, "color": self.color}


def _read(document: Any, known: frozenset[str]) -> JsonObject:
    if type(document) is not dict:
        raise unreadable_body("The request body must be a JSON object.")
    for member, value in document.items():
        if member not in known and "@" not in member:
            raise unknown_property(member, "microsoft.graph.outlookCategory")
        if member in ("displayName", "color") and type(value) is not str:
            raise unreadable_body(f"Cannot convert the value of '{member}' to the expected type 'Edm.String'.")
    color = document.get("color", "none")
    if color not in COLORS:
        raise unreadable_body(f"Requested value '{color}' was not found.")
    return document


@dataclass(slots=True)
class Categories:
    """The master list. Names are unique in any case."""

    by_id: dict[str, Category] = field(default_factory=dict)

    @classmethod
    def of_new_mailbox(cls, mailbox_guid: str) -> "Categories":
        """The six categories a mailbox begins with; their ids are the same whenever it is made."""
        namespace = uuid.uuid5(uuid.NAMESPACE_OID, mailbox_guid)
        made = [
            Category(str(uuid.uuid5(namespace, name)), f"{name} category", f"preset{number}")
            for name, number in _DEFAULTS.items()
        ]
        return cls({category.id: category for category in made})

    def get(self, category_id: str) -> Category:
        """Raises ErrorItemNotFound (404)."""
        found = self.by_id.get(category_id.lower())
        if found is None:
            raise GraphError(404, "ErrorItemNotFound", "The specified object was not found in the store.")
        return found

    def create(self, document: Any) -> Category:
        """A further category. Raises GraphError: 400, or 409 for a name that is in use."""
        given = _read(document, frozenset({"id", "displayName", "color"}))
        name = given.get("displayName")
        if not name or len(name) > _NAME_MAX_CHARS:
            raise invalid_request(f"A category needs a 'displayName' of at most {_NAME_MAX_CHARS} characters.")
        if any(known.name.casefold() == name.casefold() for known in self.by_id.values()):
            raise GraphError(409, "ErrorDuplicateCategory", "A category with the specified name already exists.")
        category = Category(str(uuid.uuid4()), name, given.get("color", "none"))
        self.by_id[category.id] = category
        return category

    def change(self, category: Category, document: Any) -> None:
        """Another colour; a name cannot be changed. Raises GraphError (400)."""
        given = _read(document, frozenset({"id", "displayName", "color"}))
        if given.get("displayName", category.name) != category.name:
            raise invalid_request("Your request can't be completed. The name of a category cannot be changed.")
        category.color = given.get("color", category.color)

    def remove(self, category: Category) -> None:
        """Events keep the name."""
        del self.by_id[category.id]
