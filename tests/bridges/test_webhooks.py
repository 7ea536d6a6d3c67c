"""A webhook tells people, proves who sent it, and can't be made to reach what is inside. Servers here are our own, on
loopback; addresses elsewhere are only named, and refused before anything is sent."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.bridges.receiver import Receiver

from trimtab.bridges.webhooks import Delivered, Webhook, check, deliver, sign, verify
from trimtab.clock import FixedClock
from trimtab.errors import Forbidden, UsageError

SECRET = b"a secret of 24 bytes ..."
EVENT = {"schema": "trimtab.event/1", "kind": "alert.open", "alert": "a-1", "why": "temp stood still at 21.5 °C"}


@pytest.fixture
def hook(receiver: Receiver) -> Webhook:
    return Webhook(url=receiver.url, secret=SECRET, allow=("127.0.0.1",))


def send(hook: Webhook, **options: Any) -> Delivered:
    """One delivery at a fixed moment."""
    return deliver(hook, EVENT, key="d-1w7gy3rf", now=FixedClock(), **options)


def leads_to(*addresses: str) -> Callable[[str, int], list[str]]:
    """A resolver that gives these."""
    return lambda host, port: list(addresses)


def test_an_event_arrives_signed_and_the_receiver_can_tell(receiver: Receiver, hook: Webhook) -> None:
    assert send(hook) == Delivered(ok=True, status=204, address="127.0.0.1")
    (path, headers, body), = receiver.got
    assert path == "/hook?team=a"
    assert json.loads(body) == EVENT
    assert headers["Host"] == f"127.0.0.1:{receiver.port}"
    assert headers["Trimtab-Delivery"] == "d-1w7gy3rf"
    now = FixedClock().now()
    assert verify(SECRET, headers, body, now=now)
    assert verify(SECRET, {name.lower(): value for name, value in headers.items()}, body, now=now)
    assert not verify(b"another secret of 24 byt", headers, body, now=now)
    assert not verify(SECRET, headers, body + b" ", now=now)
    assert not verify(SECRET, {**headers, "Trimtab-Timestamp": "1767225601"}, body, now=now)
    assert not verify(SECRET, headers, body, now=now + timedelta(minutes=6))        # replayed
    assert not verify(SECRET, headers, body, now=now - timedelta(minutes=6))
    assert not verify(SECRET, {}, body, now=now)
    assert not verify(SECRET, {**headers, "Trimtab-Signature": "v1=é"}, body, now=now)


def test_the_signature_is_that_of_the_documented_text() -> None:
    import hashlib
    import hmac

    assert sign(SECRET, 12, b'{"a":1}') == "v1=" + hmac.new(SECRET, b'12.{"a":1}', hashlib.sha256).hexdigest()


INSIDE = ["127.0.0.1", "127.8.9.10", "0.0.0.0", "10.0.0.5", "172.16.3.4", "192.168.1.1", "169.254.169.254",
          "100.64.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "::1", "::", "fe80::1",
          "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1",
          "2002:7f00:1::", "2001:0:7f00:1::", "2001:db8::1", "::127.0.0.1"]


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_that_is_not_public_is_refused_and_nothing_is_sent(receiver: Receiver, address: str) -> None:
    hook = Webhook(url=f"https://hooks.example:{receiver.port}/", secret=SECRET)
    with pytest.raises(Forbidden, match="not a public address; nothing was sent"):
        send(hook, resolve=leads_to(address))
    assert receiver.got == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "127.1", "[::1]", "0",
                                  "[::ffff:7f00:1]", "0177.0.0.1"])
def test_no_spelling_of_loopback_gets_through(receiver: Receiver, host: str) -> None:
    """By the system's own resolver; a spelling that it does not know leads nowhere."""
    hook = Webhook(url=f"http://{host}:{receiver.port}/", secret=SECRET)
    with suppress(Forbidden):
        assert not send(hook).ok
    assert receiver.got == []


def test_one_private_address_among_public_ones_refuses_them_all(receiver: Receiver) -> None:
    with pytest.raises(Forbidden):
        send(Webhook(url="https://hooks.example/", secret=SECRET), resolve=leads_to("93.184.216.34", "127.0.0.1"))


def test_a_name_is_resolved_once_and_the_connection_goes_to_what_was_judged(receiver: Receiver) -> None:
    """A name that answers differently the second time (rebinding) is never asked a second time."""
    asked: list[str] = []

    def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]
    hook = Webhook(url=f"http://nowhere.invalid:{receiver.port}/", secret=SECRET, allow=("127.0.0.0/8",))
    assert send(hook, resolve=rebinding).ok
    assert asked == ["nowhere.invalid"]
    assert receiver.got[0][1]["Host"] == f"nowhere.invalid:{receiver.port}"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(receiver: Receiver, hook: Webhook, status: int) -> None:
    receiver.status, receiver.location = status, receiver.url + "&again"
    told = send(hook)
    assert (told.ok, told.status, told.why) == (False, status, f"answered {status}; redirects are not followed")
    assert len(receiver.got) == 1


def test_no_proxy_is_asked(receiver: Receiver, hook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert send(hook).ok


def test_the_allow_list_allows_what_it_names_and_no_more(receiver: Receiver, hook: Webhook) -> None:
    assert send(hook).ok
    for allow in (("127.0.0.2",), ("10.0.0.0/8",), ("::1",)):
        with pytest.raises(Forbidden):
            send(replace(hook, allow=allow))
    assert len(receiver.got) == 1


def test_plain_http_goes_to_allow_listed_addresses_only() -> None:
    with pytest.raises(Forbidden, match="goes over https"):
        send(Webhook(url="http://hooks.example/", secret=SECRET), resolve=leads_to("93.184.216.34"))


def test_what_answers_badly_or_not_at_all_is_told(receiver: Receiver, hook: Webhook) -> None:
    receiver.status = 500
    assert send(hook).why == "answered 500"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    told = send(replace(hook, url=f"http://127.0.0.1:{free}/"))
    assert (told.ok, told.status, told.why) == (False, None, "no answer: nothing listens there")
    assert send(hook, resolve=leads_to()).why == "127.0.0.1 has no address"


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("drips", [False, True])
def test_a_server_that_says_nothing_or_drips_is_cut_off(hook: Webhook, drips: bool, scheme: str) -> None:
    """The deadline is for the whole delivery, a handshake too, and not for each byte."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        over = threading.Event()

        def slow() -> None:
            peer, _ = server.accept()
            answer = b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000
            with peer:                         # a handshake's first record: it would have 16,384 bytes
                for byte in answer if scheme == "http" else b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc" + b"\x03" * 6000:
                    if over.wait(0.05):
                        return
                    if drips:
                        try:
                            peer.send(bytes([byte]))
                        except OSError:
                            return
        thread = threading.Thread(target=slow)
        thread.start()
        start = time.monotonic()
        told = send(replace(hook, url=f"{scheme}://127.0.0.1:{server.getsockname()[1]}/"), timeout_s=0.4)
        took = time.monotonic() - start
        over.set()
        thread.join()
    assert not told.ok
    assert told.why.startswith("no answer: ")
    assert took < 10                                       # it would drip for five minutes


@pytest.mark.parametrize("url", [
    "ftp://hooks.example/", "file:///etc/passwd", "https:///path", "//hooks.example/", "hooks.example", "",
    "https://user@hooks.example/", "https://user:pw@hooks.example/", "https://hooks.example/#x",
    "https://hooks.example:0/", "https://hooks.example:99999/", "https://hooks.example/a b",
    "https://hooks.example/\r\nX: y", "https://hooks.example\\@127.0.0.1/", "https://127.0.0.1%00.example/",
    "https://hooks.example/\x00", "https://hööks.example/", "https://[::1", "https://h/" + "a" * 3000])
def test_a_url_that_is_not_plainly_http_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="webhook's"):
        check(Webhook(url=url, secret=SECRET))


def test_a_hook_without_a_real_secret_or_with_a_wrong_allow_list_is_refused(hook: Webhook) -> None:
    with pytest.raises(UsageError, match="at least 16 bytes"):
        check(replace(hook, secret=b"short"))
    with pytest.raises(UsageError, match="is no network"):
        check(replace(hook, allow=("example.com",)))
    with pytest.raises(UsageError, match="visible ASCII"):
        deliver(hook, EVENT, key="a\r\nb", now=FixedClock())
    with pytest.raises(UsageError, match="at most 65,536 bytes"):
        deliver(hook, {"x": "y" * 70_000}, key="k", now=FixedClock())


def test_the_secret_is_not_shown(hook: Webhook) -> None:
    assert "secret of" not in repr(hook)


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate for a name, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (x509.CertificateBuilder().subject_name(who).issuer_name(who).public_key(key.public_key())
            .serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .sign(key, hashes.SHA256()))
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return folder / "cert.pem", folder / "key.pem"


def test_tls_is_checked_against_the_name_and_not_the_address(tmp_path: Path) -> None:
    """The right name is answered; another name on the same server, or nobody's certificate, gets nothing."""
    cert, key = certificate(tmp_path, "hooks.example")
    inside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    inside.load_cert_chain(cert, key)
    trusting = ssl.create_default_context(cafile=str(cert))
    got: list[bytes] = []

    def serve() -> None:
        for _ in range(3):
            peer, _ = server.accept()
            with peer, suppress(OSError), inside.wrap_socket(peer, server_side=True) as secure:
                text = b""
                while not text.endswith(b"}"):             # head and body may come apart
                    text += secure.recv(4096)
                got.append(text.split(b"\r\n")[0])
                secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        port = server.getsockname()[1]
        right, wrong = (Webhook(url=f"https://{name}:{port}/x", secret=SECRET, allow=("127.0.0.1",))
                        for name in ("hooks.example", "other.example"))
        local = leads_to("127.0.0.1")
        found = [send(right, resolve=local, tls=trusting), send(wrong, resolve=local, tls=trusting),
                 send(right, resolve=local)]
        thread.join()
    assert [one.ok for one in found] == [True, False, False]
    assert {one.why for one in found[1:]} == {"no answer: its certificate does not fit its name"}
    assert got == [b"POST /x HTTP/1.1"]


def test_a_server_that_speaks_no_tls_gets_nothing(receiver: Receiver) -> None:
    told = send(Webhook(url=f"https://hooks.example:{receiver.port}/", secret=SECRET, allow=("127.0.0.1",)),
                resolve=leads_to("127.0.0.1"), timeout_s=2.0)
    assert not told.ok
    assert receiver.got == []
