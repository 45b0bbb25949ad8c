"""The proof that a POST with resource data comes from the service: its `validationTokens`.

Source: Microsoft docs "change-notifications-with-resource-data", "changenotificationcollection".
"""

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from simulator.entra.keys import SigningKey
from simulator.notifications.endpoint import Item

if TYPE_CHECKING:
    from simulator.tenant import Tenant

# The application that publishes notifications, the same in every tenant.
PUBLISHER_ID = "0bf30f3b-4a52-48df-9a82-234910c4a086"
TOKEN_LIFETIME_S = 8 * 3600


def validation_token(key: SigningKey, tenant: "Tenant", client_id: str) -> str:
    """A token by which the application sees that the service sent what it got, and sent it to that application."""
    now = int(tenant.now())
    issuer = f"https://sts.windows.net/{tenant.id}/"
    return key.sign(
        {
            "aud": client_id, "iss": issuer, "iat": now, "nbf": now, "exp": now + TOKEN_LIFETIME_S,
            "aio": "simulated", "appid": PUBLISHER_ID, "appidacr": "2", "idp": issuer, "tid": tenant.id,
            "uti": uuid.uuid4().hex, "ver": "1.0",
        }
    )  # fmt: skip


def collection(key: SigningKey, tenant: "Tenant", items: Sequence[Item]) -> dict[str, Any]:
    """The body of a POST. There is one token for each application that gets resource data in it, and else none."""
    body: dict[str, Any] = {"value": [item.body for item in items]}
    readers = dict.fromkeys(item.subscription.client_id for item in items if "encryptedContent" in item.body)
    if readers:
        body["validationTokens"] = [validation_token(key, tenant, client_id) for client_id in readers]
    return body
