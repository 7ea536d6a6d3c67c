"""Who signed this, and does the signature hold?

Ed25519 keys in `<workspace>/keys/`: one private key (mode 0600) and the public keys of everyone who ever signed
here. A key's id is the first 16 hex digits of the SHA-256 of its raw public bytes.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import tempfile
from pathlib import Path

from trimtab.errors import Forbidden, NotFound, SignatureInvalid

_PRIVATE = "signing.pem"
_KEY_ID = re.compile(r"[0-9a-f]{16}")


class Keyring:
    """The keys of one workspace, in a folder. `cryptography` is imported on first use (it costs 30 ms)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._signer: tuple[str, object] | None = None

    def sign(self, message: bytes) -> tuple[str, str]:
        """(key id, base64 signature) of `message` under the workspace's own key, made on first use."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        if self._signer is None:
            self._signer = self._load_or_make()
        key_id, key = self._signer
        assert isinstance(key, Ed25519PrivateKey)
        return key_id, base64.b64encode(key.sign(message)).decode()

    def verify(self, message: bytes, key_id: str, signature: str) -> None:
        """Raises SignatureInvalid when the signature is not `key_id`'s over `message`, NotFound for an unknown key."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        raw = self.public(key_id)
        try:
            Ed25519PublicKey.from_public_bytes(raw).verify(base64.b64decode(signature, validate=True), message)
        except (InvalidSignature, ValueError):
            raise SignatureInvalid(
                f"the signature by key {key_id} does not match what it signs; the record was changed after it was "
                "signed, or signed elsewhere. Restore it from a backup.", key=key_id) from None

    def public(self, key_id: str) -> bytes:
        """The 32 raw public bytes of a key known here. Raises NotFound; checks that the bytes have that id."""
        path = self._folder / f"{key_id}.pub"
        if not _KEY_ID.fullmatch(key_id) or not path.is_file():
            raise NotFound(f"no public key {key_id[:40]!r} in {self._folder.name}/; copy it there from the workspace "
                           "that signed", key=key_id)
        try:
            raw = bytes.fromhex(path.read_text(encoding="ascii").strip())
        except ValueError:                     # not hexadecimal, or not even text: the id will not match
            raw = b""
        if key_id_of(raw) != key_id:
            raise SignatureInvalid(f"{path.name} in {self._folder.name}/ does not hold the key that its name says; "
                                   "copy it there from a backup, or from the workspace that signed", key=key_id)
        return raw

    def secret(self, name: str) -> bytes:
        """32 random bytes as 64 hex digits, `NAME.secret` beside the keys: made on first use, for its owner's eyes.

        Raises Forbidden where others can read it.
        """
        path = self._folder / f"{name}.secret"
        if not path.exists():
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _write_once(path, os.urandom(32).hex().encode(), 0o600)
        if path.stat().st_mode & 0o077:
            raise Forbidden(f"others can read {self._folder.name}/{path.name}, so it is no secret; make a new one: "
                            "remove the file, and give the new one to whoever checks with it")
        return path.read_bytes().strip()

    def ids(self) -> list[str]:
        """Ids of all public keys known here."""
        return sorted(path.stem for path in self._folder.glob("*.pub"))

    def _load_or_make(self) -> tuple[str, object]:
        from cryptography.hazmat.primitives import serialization as ser
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        path = self._folder / _PRIVATE
        if not path.exists():
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            fresh = Ed25519PrivateKey.generate().private_bytes(
                ser.Encoding.PEM, ser.PrivateFormat.PKCS8, ser.NoEncryption())
            _write_once(path, fresh, 0o600)
        try:
            key = ser.load_pem_private_key(path.read_bytes(), password=None)
        except (ValueError, TypeError):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise SignatureInvalid(f"{path.name} in {self._folder.name}/ is not an Ed25519 private key, so nothing can "
                                   "be signed. Restore it from a backup.")
        raw = key.public_key().public_bytes(ser.Encoding.Raw, ser.PublicFormat.Raw)
        key_id = key_id_of(raw)
        if not (self._folder / f"{key_id}.pub").exists():
            _write_once(self._folder / f"{key_id}.pub", raw.hex().encode() + b"\n", 0o644)
        return key_id, key


def key_id_of(raw_public: bytes) -> str:
    """First 16 hex digits of the SHA-256 of the 32 raw public bytes."""
    return hashlib.sha256(raw_public).hexdigest()[:16]


def _write_once(path: Path, data: bytes, mode: int) -> None:
    """Create `path` whole or not at all; where another process was first, its file stays."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as out:
            os.fchmod(out.fileno(), mode)
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(temporary)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
