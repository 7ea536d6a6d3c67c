"""How is somebody told over HTTP, and may the message go there?  Signed webhooks that can't be turned against us.

The name in the URL is resolved once; every address that it gives must be allowed, and the connection goes to one of
those, whatever the name says a moment later (DNS rebinding). Loopback, private, link-local and other non-public
addresses are refused unless the hook's allow-list has them. No redirect is followed, no proxy is asked, nothing of the
answer but its status is read, and the whole delivery ends by a deadline. HTTPS, checked against the name; plain HTTP
only to what is allow-listed.

The receiver checks `Trimtab-Signature: v1=<hex>`, the HMAC-SHA256 of "<Trimtab-Timestamp>.<body>" under the shared
secret (`verify` shows how), refuses old timestamps, and drops a `Trimtab-Delivery` that it has had before.
"""

from __future__ import annotations

import hmac
import http.client
import ipaddress
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Final
from urllib.parse import urlsplit

from trimtab import canon
from trimtab.clock import Clock
from trimtab.errors import Forbidden, UsageError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Iterable[str]]
MAX_BODY_BYTES: Final = 64 << 10
TOLERANCE_S: Final = 300.0
_SECRET_BYTES: Final = 16
_HIDDEN: Final = tuple(ipaddress.ip_network(net) for net in (  # public by number, and lead to another address inside
    "2002::/16", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "192.88.99.0/24", "::/96"))
_BAD: Final = re.compile(r"[\x00-\x20\x7f\\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Where to and under which secret. secret: at least 16 bytes, shown nowhere. allow: networks that may be reached
    though they are not public, as "10.1.0.0/16" or "127.0.0.1"."""

    url: str
    secret: bytes = field(repr=False)
    allow: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What became of one delivery. status: the answer's, None where none came; address: what was connected to."""

    ok: bool
    status: int | None
    address: str
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """What the Host header says."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == {"https": 443, "http": 80}[self.scheme] else f"{name}:{self.port}"


def resolve(host: str, port: int) -> list[str]:
    """Every address of a name, as the system's resolver gives them."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def check(hook: Webhook) -> None:
    """Is the hook well-formed? Raises UsageError. Where its name leads to is asked at each delivery."""
    _target(hook.url)
    _networks(hook.allow)
    if len(hook.secret) < _SECRET_BYTES:
        raise UsageError(f"a webhook's secret has at least {_SECRET_BYTES} bytes; this one has {len(hook.secret)}")


def sign(secret: bytes, timestamp: int, body: bytes) -> str:
    """The value of `Trimtab-Signature`; timestamp: seconds since 1970.

    >>> sign(b"k" * 16, 0, b"{}")[:11]
    'v1=543c08f8'
    """
    return "v1=" + hmac.new(secret, str(timestamp).encode() + b"." + body, sha256).hexdigest()


def verify(secret: bytes, headers: Mapping[str, str], body: bytes, *, now: datetime) -> bool:
    """What a receiver asks: is this ours, whole, and not older (or newer) than five minutes? headers: names in any
    case."""
    given = {name.lower(): value for name, value in headers.items()}
    stamp, signature = given.get("trimtab-timestamp", ""), given.get("trimtab-signature", "")
    if not re.fullmatch(r"[0-9]{1,12}", stamp) or abs(now.timestamp() - int(stamp)) > TOLERANCE_S:
        return False
    return hmac.compare_digest(sign(secret, int(stamp), body).encode(), signature.encode())


def deliver(hook: Webhook, event: Mapping[str, object], *, key: str, now: Clock, timeout_s: float = 10.0,
            content: str = "application/json", resolve: Resolve = resolve,
            tls: ssl.SSLContext | None = None) -> Delivered:
    """POST an event once. key: the delivery's name, the same when it is sent again. timeout_s: for all of it. content:
    its media type.

    An answer that is no 2xx, or none, is a `Delivered` that is not ok. Raises UsageError (the hook is malformed),
    Forbidden (the address may not be reached: nothing was sent), and UsageError for an event over 64 KiB.
    """
    check(hook)
    target, body = _target(hook.url), canon.dumps(dict(event))
    if len(body) > MAX_BODY_BYTES:
        raise UsageError(f"an event has at most {MAX_BODY_BYTES:,} bytes; this one has {len(body):,}")
    if not re.fullmatch(r"[\x21-\x7e]{1,200}", key):
        raise UsageError("a delivery's key is 1 to 200 visible ASCII characters")
    try:
        found = list(resolve(target.host, target.port))
    except (OSError, UnicodeError):
        return Delivered(ok=False, status=None, address="", why=f"{target.host} has no address")
    if not found:
        return Delivered(ok=False, status=None, address="", why=f"{target.host} has no address")
    address = _allowed(target, found, _networks(hook.allow))
    stamp = int(now.now().timestamp())
    headers = {"Host": target.authority, "Content-Type": content, "User-Agent": "trimtab",
               "Connection": "close", "Trimtab-Timestamp": str(stamp), "Trimtab-Delivery": key,
               "Trimtab-Signature": sign(hook.secret, stamp, body)}
    try:
        status = _post(target, address, headers, body, timeout_s, tls)
    except (OSError, http.client.HTTPException) as problem:
        return Delivered(ok=False, status=None, address=str(address), why=f"no answer: {_said(problem)}")
    moved = "; redirects are not followed" if 300 <= status < 400 else ""
    ok = 200 <= status < 300
    return Delivered(ok=ok, status=status, address=str(address), why="" if ok else f"answered {status}{moved}")


class _Pinned(http.client.HTTPConnection):
    """A connection to one address, whatever the name says now; TLS is checked against the name."""

    def __init__(self, target: _Target, address: Address, timeout_s: float, tls: ssl.SSLContext | None) -> None:
        super().__init__(str(address), target.port, timeout=timeout_s)
        self._target, self._tls, self._over = target, tls, threading.Event()

    def connect(self) -> None:
        """Open the socket; each stage of it can be cut."""
        self.sock = socket.create_connection((self.host, self.port), self.timeout)
        if self._target.scheme == "https":
            context = self._tls or ssl.create_default_context()
            self.sock = secure = context.wrap_socket(self.sock, server_hostname=self._target.host,
                                                     do_handshake_on_connect=False)
            self._go_on()
            secure.do_handshake()
        self._go_on()

    def cut(self) -> None:
        """End it from another thread."""
        self._over.set()
        if self.sock is not None:
            with suppress(OSError):            # below TLS, whose state is the other thread's
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)

    def _go_on(self) -> None:
        if self._over.is_set():
            raise TimeoutError


def _post(target: _Target, address: Address, headers: Mapping[str, str], body: bytes, timeout_s: float,
          tls: ssl.SSLContext | None) -> int:
    """The status of the answer; its body is not read. A server that drips its answer is cut off at the deadline."""
    connection = _Pinned(target, address, timeout_s, tls)
    deadline = threading.Timer(timeout_s, connection.cut)
    deadline.daemon = True
    deadline.start()
    try:
        connection.putrequest("POST", target.path, skip_host=True, skip_accept_encoding=True)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        return connection.getresponse().status
    finally:
        deadline.cancel()
        connection.close()


def _target(url: str) -> _Target:
    """The parts of a URL. Raises UsageError on anything but a plain http(s) one."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UsageError("a webhook's URL can't be read; write https://host/path") from None
    if _BAD.search(url) or not url.isascii() or len(url) > 2048:
        raise UsageError("a webhook's URL is printable ASCII without spaces or backslashes, at most 2,048 characters")
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise UsageError("a webhook's URL begins with https:// and a host")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise UsageError("a webhook's URL holds no user, password or #fragment; the signature says who sends")
    if "%" in parts.netloc or port == 0:
        raise UsageError("a webhook's host is a plain name or address, its port 1 to 65535")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return _Target(scheme=parts.scheme, host=parts.hostname, port=port or {"https": 443, "http": 80}[parts.scheme],
                   path=path)


def _networks(allow: Iterable[str]) -> tuple[Network, ...]:
    found = []
    for text in allow:
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError:
            raise UsageError(f"{text[:60]!r} in a webhook's allow-list is no network; write 10.1.0.0/16 or "
                             "127.0.0.1") from None
    return tuple(found)


def _allowed(target: _Target, found: Iterable[str], allow: tuple[Network, ...]) -> Address:
    """The address to connect to: the first, when each of them may be reached. Raises Forbidden."""
    addresses = [_address(text) for text in found]
    for address in addresses:
        listed = any(address.version == net.version and address in net for net in allow)
        if not listed and not _public(address):
            raise Forbidden(f"the webhook's host leads to {address}, which is not a public address; nothing was sent. "
                            "If that is meant, put it on the webhook's allow-list", address=str(address))
        if not listed and target.scheme == "http":
            raise Forbidden("a webhook to a public address goes over https://; nothing was sent", address=str(address))
    return addresses[0]


def _address(text: str) -> Address:
    """An address without its zone; an IPv4 one in IPv6 clothes as what it is."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _public(address: Address) -> bool:
    return address.is_global and not address.is_multicast and not address.is_reserved and not any(
        address.version == net.version and address in net for net in _HIDDEN)


def _said(problem: Exception) -> str:
    if isinstance(problem, TimeoutError):
        return "it took too long"
    if isinstance(problem, ssl.SSLCertVerificationError):
        return "its certificate does not fit its name"
    if isinstance(problem, ConnectionRefusedError):
        return "nothing listens there"
    return "the connection broke"
