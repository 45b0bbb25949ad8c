"""Client assertions: the signed statement by which an application shows that it holds a certificate's key.

Source: Microsoft docs "certificate-credentials".
"""

import base64
import binascii
import time
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa

from simulator.entra.apps import AppRegistration

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_CLOCK_SKEW_S = 300


def _thumbprint(header: dict[str, Any]) -> tuple[bytes, hashes.HashAlgorithm] | None:
    for name, algorithm in (("x5t#S256", hashes.SHA256()), ("x5t", hashes.SHA1())):  # noqa: S303 - as x5t is defined
        value = header.get(name)
        if isinstance(value, str):
            try:
                return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)), algorithm
            except binascii.Error:
                return None
    return None


def _certificate(app: AppRegistration, header: dict[str, Any]) -> x509.Certificate | None:
    named = _thumbprint(header)
    if named is None:
        return None
    thumbprint, algorithm = named
    return next((known for known in app.certificates if known.fingerprint(algorithm) == thumbprint), None)


def problem_with(assertion: str, app: AppRegistration, audiences: list[str]) -> str | None:
    """Why the assertion does not prove that the caller is the application; None if it does."""
    try:
        header = jwt.get_unverified_header(assertion)
    except jwt.InvalidTokenError:
        return "The assertion is not a JSON Web Token."
    certificate = _certificate(app, header)
    if certificate is None:
        return "The certificate with the given thumbprint is not registered on the application."
    if not certificate.not_valid_before_utc.timestamp() <= time.time() <= certificate.not_valid_after_utc.timestamp():
        return "The certificate is not within its validity period."
    public_key = certificate.public_key()
    if not isinstance(public_key, rsa.RSAPublicKey):
        return "The certificate's key is not an RSA key."
    try:
        claims = jwt.decode(
            assertion,
            public_key,
            algorithms=["RS256", "PS256"],
            audience=audiences,
            leeway=_CLOCK_SKEW_S,
            options={"require": ["aud", "exp", "iss", "sub", "jti"]},
        )
    except jwt.InvalidTokenError as error:
        return f"The assertion is not valid: {error}."
    if claims["iss"] != app.client_id or claims["sub"] != app.client_id:
        return "The issuer and subject of the assertion must be the application."
    return None
