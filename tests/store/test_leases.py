"""One holder at a time, nobody for ever, nothing twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa

from trimtab.clock import FixedClock, to_text
from trimtab.errors import Conflict
from trimtab.store import schema
from trimtab.store.db import Database
from trimtab.store.leases import Leases

MINUTE = timedelta(minutes=1)


def test_a_lease_is_held_by_one_and_expires_for_the_next(db: Database) -> None:
    clock = FixedClock()
    leases = Leases(db, clock)
    first = leases.take("retrain", holder="a", ttl=MINUTE)
    assert first is not None
    assert leases.take("retrain", holder="b", ttl=MINUTE) is None
    clock.advance(minutes=2)
    second = leases.take("retrain", holder="b", ttl=MINUTE)
    assert second is not None
    assert second.token > first.token
    with pytest.raises(Conflict, match="taken by another worker"):
        leases.done(first)                         # the one that was overtaken is found out


def test_a_finished_key_is_never_taken_again(db: Database) -> None:
    clock = FixedClock()
    leases = Leases(db, clock)
    lease = leases.take("promote", holder="a", ttl=MINUTE)
    assert lease is not None
    leases.done(lease, {"version": 2})
    clock.advance(days=400)
    assert leases.take("promote", holder="b", ttl=MINUTE) is None
    assert leases.result("promote") == {"version": 2}


def test_renewing_holds_on_and_releasing_lets_go(db: Database) -> None:
    clock = FixedClock()
    leases = Leases(db, clock)
    lease = leases.take("k", holder="a", ttl=MINUTE)
    assert lease is not None
    clock.advance(seconds=50)
    leases.renew(lease, ttl=MINUTE)
    clock.advance(seconds=50)
    assert leases.take("k", holder="b", ttl=MINUTE) is None
    leases.release(lease)
    assert leases.take("k", holder="b", ttl=MINUTE) is not None


def test_of_many_threads_one_gets_the_lease(db: Database) -> None:
    leases = Leases(db, FixedClock())
    got: list[object] = []
    threads = [threading.Thread(target=lambda: got.append(leases.take("k", holder="t", ttl=MINUTE)))
               for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 8
    assert sum(lease is not None for lease in got) == 1


def test_a_long_work_keeps_its_lease_and_finds_out_when_it_was_taken(db: Database) -> None:
    """Renewed from a thread while the block lasts; who took it meanwhile is not pushed out again."""
    clock = FixedClock()
    leases = Leases(db, clock)
    lease = leases.take("fit", holder="a", ttl=MINUTE)
    assert lease is not None
    with leases.renewed(lease, ttl=MINUTE, every_s=0.01) as ours:
        for _ in range(5):
            clock.advance(seconds=50)
            until(lambda: expires(db) > to_text(clock.now() + timedelta(seconds=55)))
            assert leases.take("fit", holder="b", ttl=MINUTE) is None
        assert ours()
    clock.advance(minutes=2)
    second = leases.take("fit", holder="b", ttl=MINUTE)
    assert second is not None
    with leases.renewed(lease, ttl=MINUTE, every_s=0.01) as ours:
        until(lambda: not ours())
    leases.done(second)


def expires(db: Database) -> str:
    with db.read() as conn:
        return str(conn.execute(sa.select(schema.leases.c.expires_at)).scalar_one())


def until(true: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    begun = time.monotonic()
    while not true():
        assert time.monotonic() - begun < 30, "it never came"
        time.sleep(0.005)
