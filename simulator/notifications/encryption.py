"""Whom resource data is encrypted for: the certificate of a subscription, and the sealing of one content with it.

Bytes only; what the content says is `resource_data`'s part. Source: Microsoft docs
"change-notifications-with-resource-data", "changenotificationencryptedcontent".
"""

import base64
import os
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives import padding as block_padding
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

KEY_MIN_BITS = 2048
KEY_MAX_BITS = 4096
# Not documented; a certificate with a key of 4096 bits takes about 2,500.
CERTIFICATE_MAX_CHARS = 16_384

_DATA_KEY_BYTES = 32
_VECTOR_BYTES = 16
_BLOCK_BITS = 128
# Documented as it is: clients unwrap the key with SHA-1 in both places.
_WRAPPING = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303


@dataclass(frozen=True, slots=True)
class Recipient:
    """The holder of the private key to a certificate, which is kept as it was given: base64 of its DER."""

    certificate: str
    certificate_id: str
    thumbprint: str
    public_key: rsa.RSAPublicKey

    def seal(self, content: bytes) -> dict[str, str]:
        """The `encryptedContent` of a notification; every call takes a new key.

        The first 16 bytes of the key are the initialisation vector, and the signature is made with the key too.
        """
        data_key = os.urandom(_DATA_KEY_BYTES)
        padder = block_padding.PKCS7(_BLOCK_BITS).padder()
        encryptor = Cipher(algorithms.AES(data_key), modes.CBC(data_key[:_VECTOR_BYTES])).encryptor()
        data = encryptor.update(padder.update(content) + padder.finalize()) + encryptor.finalize()
        signature = hmac.HMAC(data_key, hashes.SHA256())
        signature.update(data)
        return {
            "data": _base64(data),
            "dataKey": _base64(self.public_key.encrypt(data_key, _WRAPPING)),
            "dataSignature": _base64(signature.finalize()),
            "encryptionCertificateId": self.certificate_id,
            "encryptionCertificateThumbprint": self.thumbprint,
        }


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def read_recipient(certificate: str, certificate_id: str, now: float) -> Recipient:
    """The recipient with this certificate. Raises ValueError with a sentence; what it returns can be sealed for.

    Who issued the certificate does not matter, it only carries a key; whether it is valid at `now` does.
    """
    if len(certificate) > CERTIFICATE_MAX_CHARS:
        raise ValueError(f"The certificate is longer than {CERTIFICATE_MAX_CHARS} characters.")
    try:
        parsed = x509.load_der_x509_certificate(base64.b64decode(certificate, validate=True))
        public_key = parsed.public_key()
        thumbprint = parsed.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303 - the documented name of it
        valid = parsed.not_valid_before_utc.timestamp() <= now <= parsed.not_valid_after_utc.timestamp()
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        raise ValueError("It is not the base64 of an X.509 certificate in DER.") from None
    if not isinstance(public_key, rsa.RSAPublicKey):
        raise ValueError("Its key is not an RSA key.")  # noqa: TRY004 - about the bytes that were given
    if not KEY_MIN_BITS <= public_key.key_size <= KEY_MAX_BITS:
        raise ValueError(f"Its key has {public_key.key_size} bits, not {KEY_MIN_BITS} to {KEY_MAX_BITS}.")
    if not valid:
        raise ValueError("It is not within its validity period.")
    recipient = Recipient(certificate, certificate_id, thumbprint, public_key)
    # A key that cannot encrypt is refused now rather than with somebody's write.
    recipient.seal(b"")
    return recipient
