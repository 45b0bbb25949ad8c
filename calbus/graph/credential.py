"""The application's credential: a secret, or a certificate with its private key.

A file is read again whenever a token is asked for, so that one that was replaced is taken up without a restart. A new
one that cannot be read or used leaves the one before in force, and is told once.
"""

from datetime import UTC, datetime
from threading import Lock
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import Certificate, load_pem_x509_certificate

from calbus.settings import GraphSettings, SettingsError
from calbus.telemetry import CREDENTIAL_EXPIRY, log

MISSING = "CALBUS_CLIENT_SECRET is missing (or CALBUS_CLIENT_CERTIFICATE_FILE). It is for: calls to Graph."
WRONG_CERTIFICATE = (
    "CALBUS_CLIENT_CERTIFICATE_FILE is wrong: it must hold a certificate and its private key, both in PEM, "
    "the key without a password."
)


class Credential:
    """What the application proves itself with. Raises SettingsError if there is nothing usable to begin with."""

    def __init__(self, settings: GraphSettings) -> None:
        self._settings = settings
        self._lock = Lock()
        self._told = ""
        self._text = _read(settings)
        self._value = self._take(self._text)

    def current(self) -> Any:
        """As MSAL takes it: the same object for as long as it is the same credential. May be called in any thread."""
        with self._lock:
            try:
                text = _read(self._settings)
                if text != self._text:
                    self._value = self._take(text)
                    self._text = text
                    log.info("the credential was replaced; the new one is in force")
            except SettingsError as error:
                if self._told != str(error):
                    log.error("a new credential cannot be used; the one before stays in force", error=str(error))
                self._told = str(error)
            else:
                self._told = ""
            return self._value

    def _take(self, text: str) -> Any:
        """Check it, and show when it ends."""
        if self._settings.client_certificate_file is not None:
            certificate = _certificate(text)
            CREDENTIAL_EXPIRY.labels("certificate").set(certificate.not_valid_after_utc.timestamp())
            return {"private_key": text, "public_certificate": text}
        if (ends_on := self._settings.client_secret_expires_on) is not None:
            ends_at = datetime.combine(ends_on, datetime.min.time(), UTC)
            CREDENTIAL_EXPIRY.labels("secret").set(ends_at.timestamp())
        return text


def _read(settings: GraphSettings) -> str:
    """The secret, or what the certificate's file holds now."""
    if settings.client_certificate_file is not None:
        try:
            return settings.client_certificate_file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"CALBUS_CLIENT_CERTIFICATE_FILE cannot be read: {error}") from None
    if settings.client_secret is not None:
        return settings.client_secret.get_secret_value()
    raise SettingsError(MISSING)


def _certificate(pem: str) -> Certificate:
    """The certificate, if the key beside it is its own."""
    try:
        key = load_pem_private_key(pem.encode(), password=None)
        certificate = load_pem_x509_certificate(pem.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SettingsError(WRONG_CERTIFICATE) from None
    if key.public_key() != certificate.public_key():
        raise SettingsError(WRONG_CERTIFICATE)
    return certificate
