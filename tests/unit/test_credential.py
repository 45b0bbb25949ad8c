"""The application's credential: taken up anew when its file is, and never given up for one that is no good."""

from pathlib import Path
from typing import Any

import pytest
import structlog

from calbus.graph.credential import Credential
from calbus.settings import GraphSettings, SettingsError
from tests.support.certificates import elliptic_key, self_signed

ONE, OTHER = self_signed(elliptic_key()), self_signed(elliptic_key())
BROKEN = [
    pytest.param("", id="empty"),
    pytest.param(ONE.pem[: len(ONE.pem) // 2], id="half of it"),
    pytest.param(ONE.public_pem, id="no key"),
    pytest.param(ONE.pem.replace(ONE.public_pem, ""), id="no certificate"),
    pytest.param(ONE.pem.replace(ONE.public_pem, OTHER.public_pem), id="the key of another"),
]


def settings(**given: Any) -> GraphSettings:
    return GraphSettings(client_id="app", **given)


@pytest.mark.parametrize("pem", BROKEN)
def test_nothing_begins_with_a_certificate_that_is_no_good(pem: str, tmp_path: Path) -> None:
    file = tmp_path / "application.pem"
    file.write_text(pem)
    with pytest.raises(SettingsError, match="CALBUS_CLIENT_CERTIFICATE_FILE is wrong: it must hold"):
        Credential(settings(client_certificate_file=file))


@pytest.mark.parametrize("pem", [*BROKEN, None])
def test_what_was_good_stays_in_force_and_the_fault_is_told_once(pem: str | None, tmp_path: Path) -> None:
    file = tmp_path / "application.pem"
    file.write_text(OTHER.pem)
    credential = Credential(settings(client_certificate_file=file))
    before = credential.current()
    file.unlink()
    if pem is not None:
        file.write_text(pem)
    with structlog.testing.capture_logs() as lines:
        assert credential.current() is before
        assert credential.current() is before
    assert [line["log_level"] for line in lines] == ["error"]
    assert "CALBUS_CLIENT_CERTIFICATE_FILE" in lines[0]["error"]
    assert "PRIVATE" not in str(lines)
    file.write_text(ONE.pem)
    assert credential.current() == {"private_key": ONE.pem, "public_certificate": ONE.pem}


def test_it_is_the_same_object_until_it_is_another(tmp_path: Path) -> None:
    file = tmp_path / "application.pem"
    file.write_text(ONE.pem)
    credential = Credential(settings(client_certificate_file=file))
    first = credential.current()
    file.write_text(ONE.pem)
    assert credential.current() is first
    file.write_text(OTHER.pem)
    assert credential.current() is not first


def test_a_secret_is_as_it_was_given() -> None:
    assert Credential(settings(client_secret="a secret")).current() == "a secret"
