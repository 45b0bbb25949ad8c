"""The `claims` parameter: what a client says it can handle, and what Graph told it to come back with.

Source: Microsoft docs "claims-challenge", "app-resilience-continuous-access-evaluation".
"""

import base64
from dataclasses import dataclass
from typing import Any

import orjson

from simulator.entra.refusals import invalid_parameter

_MOMENT_MAX_S = 1 << 40


@dataclass(frozen=True, slots=True)
class ClaimsRequest:
    """`handles_challenges`: the client declared cp1. `not_before_s`: the token must be of this second or later."""

    handles_challenges: bool = False
    not_before_s: int | None = None


def read_claims(text: str | None) -> ClaimsRequest:
    """The request in a `claims` parameter. Raises AADSTS90023 if it cannot be read."""
    if not text:
        return ClaimsRequest()
    try:
        access_token = orjson.loads(text).get("access_token", {})
        capabilities = access_token.get("xms_cc", {}).get("values", [])
        not_before = access_token.get("nbf", {}).get("value")
        handles_challenges = any(str(name).lower() == "cp1" for name in capabilities)
        not_before_s = None if not_before is None else int(not_before)
    except (orjson.JSONDecodeError, AttributeError, OverflowError, TypeError, ValueError):
        raise invalid_parameter("claims") from None
    if not_before_s is not None and not 0 <= not_before_s <= _MOMENT_MAX_S:
        raise invalid_parameter("claims")
    return ClaimsRequest(handles_challenges, not_before_s)


def encode_challenge(not_before_s: int) -> str:
    """The challenge that asks for a token of this second or later, as it stands in WWW-Authenticate."""
    challenge: dict[str, Any] = {"access_token": {"nbf": {"essential": True, "value": str(not_before_s)}}}
    return base64.b64encode(orjson.dumps(challenge)).decode()
