"""Who vouches that these bytes are this version?

A manifest holds no name, so the same bytes may be two versions; the envelope binds them: (model, number, digest)
as canonical JSON, signed with the workspace's Ed25519 key. An older signature under a new name does not verify.
"""

from __future__ import annotations

from trimtab import canon
from trimtab.canon import Digest
from trimtab.errors import NotFound, SignatureInvalid
from trimtab.keys import Keyring
from trimtab.registry.model import Version


def envelope(model: str, number: int, digest: Digest) -> bytes:
    """The bytes that are signed.

    >>> envelope("risk", 2, canon.digest_bytes(b"")).decode()[:72]
    '{"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca49599'
    """
    return canon.dumps({"format": "trimtab.envelope/1", "model": model, "number": number, "digest": digest})


def sign(keyring: Keyring, model: str, number: int, digest: Digest) -> tuple[str, str]:
    """(key id, base64 signature) that binds a name and a number to a manifest's digest."""
    return keyring.sign(envelope(model, number, digest))


def check(keyring: Keyring, version: Version) -> None:
    """Raises SignatureInvalid where the version's signature is not over its own model, number and digest."""
    try:
        keyring.verify(envelope(version.model, version.number, version.digest), version.key_id, version.signature)
    except SignatureInvalid:
        raise SignatureInvalid(
            f"{version.name}: the signature by key {version.key_id} is not over this name, number and digest "
            f"({version.digest.short}). The record was changed, or belongs to another version; restore the workspace "
            "from a backup, or register the files again.",
            version=version.name, key=version.key_id, digest=version.digest) from None
    except NotFound as error:
        raise SignatureInvalid(f"{version.name}: {error}", version=version.name, key=version.key_id) from None
