"""The key the token service signs with, and how it is published."""

import base64
import hashlib
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

_KEY_BITS = 2048


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An RSA key pair with the id it is published under."""

    private: rsa.RSAPrivateKey
    kid: str

    @classmethod
    def generate(cls) -> "SigningKey":
        """A fresh key; every process has its own."""
        private = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
        public = private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return cls(private, _base64url(hashlib.sha256(public).digest()[:20]))

    def sign(self, claims: dict[str, Any]) -> str:
        """The claims as a signed token that names the key."""
        return jwt.encode(claims, self.private, algorithm="RS256", headers={"kid": self.kid, "x5t": self.kid})

    def jwks(self) -> dict[str, Any]:
        """The JSON Web Key Set that the discovery document points at."""
        numbers = self.private.public_key().public_numbers()
        modulus = numbers.n.to_bytes(_KEY_BITS // 8, "big")
        exponent = numbers.e.to_bytes(3, "big")
        return {
            "keys": [
                {
                    "kty": "RSA", "use": "sig", "kid": self.kid, "x5t": self.kid, "alg": "RS256",
                    "n": _base64url(modulus), "e": _base64url(exponent),
                }
            ]
        }  # fmt: skip
