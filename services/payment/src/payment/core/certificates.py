"""The files of certificates and keys that settings name: a bad one is refused at the start."""

import ssl
from pathlib import Path

from marshmallow import ValidationError


def holds_certificates(file: Path) -> None:
    """Let a file of PEM certificates pass.

    Raises:
        ValidationError: it cannot be read, holds no certificate, or one that is broken.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(file)
    except ssl.SSLError as error:
        is_none = error.reason == "NO_CERTIFICATE_OR_CRL_FOUND"
        raise ValidationError(f"holds {'no' if is_none else 'a broken'} certificate (PEM)") from None
    except OSError as error:
        raise ValidationError(f"cannot be read: {error.strerror}") from None
    if not context.cert_store_stats()["x509"]:
        raise ValidationError("holds no certificate (PEM)")


def key_trouble(certificate: Path, key: Path) -> str | None:
    """Say why a file holds no private key that we can use with a certificate; None if it does."""

    def no_password() -> str:
        raise _EncryptedError

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, no_password)
    except _EncryptedError:
        return "is encrypted; a key without a password is needed"
    except ssl.SSLError as error:
        if not error.reason:
            return "holds no private key (PEM)"
        return f"does not belong to the first certificate in {certificate.name}: {error.reason}"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None


class _EncryptedError(Exception):
    """OpenSSL asks for the password of a key."""
