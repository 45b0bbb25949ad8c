"""Where Microsoft may be told to post: https, or this machine's loopback address."""

import pytest
from pydantic import ValidationError

from services.puller.subscription_settings import SubscriptionSettings


@pytest.mark.parametrize(
    ("given", "url"),
    [
        (None, None),
        ("", None),
        ("https://calbus.example/", "https://calbus.example"),
        ("https://calbus.example:8443/hooks", "https://calbus.example:8443/hooks"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://localhost:8080", "http://localhost:8080"),
    ],
)
def test_addresses_that_can_be_used(given: str | None, url: str | None) -> None:
    assert SubscriptionSettings(puller_public_url=given).puller_public_url == url


@pytest.mark.parametrize(
    "given",
    [
        "calbus.example",
        "http://calbus.example",
        "http://127.0.0.1.example",
        "ftp://calbus.example",
        "https://user:password@calbus.example",
        "https://calbus.example?a=b",
        "https://calbus.example/#a",
        "https://calbus.example:port",
        "https://calbus.example/a b",
        "https://calbüs.example",
        "https://calbus.example/" + "x" * 1_900,
        "https://",
    ],
)
def test_addresses_that_cannot(given: str) -> None:
    with pytest.raises(ValidationError):
        SubscriptionSettings(puller_public_url=given)


@pytest.mark.parametrize("days", [0, 0.01, 7, 10])
def test_a_life_that_microsoft_does_not_grant_is_refused(days: float) -> None:
    with pytest.raises(ValidationError):
        SubscriptionSettings(puller_subscription_days=days)
