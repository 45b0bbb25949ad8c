"""What is read from a token: whether it bears roles, and nothing where that cannot be told."""

from base64 import urlsafe_b64encode
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calbus.graph.auth import _bears_roles


def token(claims: Any) -> str:
    payload = urlsafe_b64encode(orjson.dumps(claims)).decode().rstrip("=")
    return f"e30.{payload}.c2ln"


@pytest.mark.parametrize(
    ("claims", "bears"),
    [
        ({"roles": ["Calendars.ReadWrite"]}, True),
        ({"roles": []}, False),
        ({"aud": "https://graph.microsoft.com"}, False),
        (["no", "claims"], None),
    ],
)
def test_roles_are_read_from_the_claims(claims: Any, bears: bool | None) -> None:
    assert _bears_roles(token(claims)) is bears


@pytest.mark.parametrize("opaque", ["", "opaque", "a.b", "a.b.c.d", "e30.!!!.c2ln", "e30.bm8.c2ln", "e30.ü.c2ln"])
def test_a_token_that_is_no_jwt_says_nothing(opaque: str) -> None:
    assert _bears_roles(opaque) is None


@given(st.text())
def test_whatever_a_token_is_reading_it_never_fails(text: str) -> None:
    assert _bears_roles(text) in (None, True, False)
    assert _bears_roles(f"a.{text}.b") in (None, True, False)
