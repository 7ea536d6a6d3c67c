"""Any edit, deletion, insertion, reordering or cut of the journal is found."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from trimtab.clock import FixedClock
from trimtab.errors import JournalBroken, SignatureInvalid, TrimtabError
from trimtab.keys import Keyring
from trimtab.store.db import Database
from trimtab.store.journal import Journal, row_hash
from trimtab.store.schema import journal, journal_head

ROWS = 12


@pytest.fixture
def trail(db: Database, tmp_path: Path) -> Journal:
    book = Journal(db, Keyring(tmp_path / "keys"), FixedClock())
    for number in range(ROWS):
        with db.write() as conn:
            book.append(conn, kind="test", model="风险", subject=f"s{number}", by="ann", why="as an example",
                        body={"number": number, "share": 0.1})
    return book


def test_an_untouched_journal_verifies_and_reads_back(trail: Journal) -> None:
    assert trail.verify().seq == ROWS
    rows = trail.rows(model="风险")
    assert [row.body["number"] for row in rows] == list(range(ROWS))
    assert [row.seq for row in trail.rows(limit=2)] == [ROWS - 1, ROWS]


@pytest.mark.parametrize("column", ["at", "kind", "model", "subject", "by", "why", "body", "prev", "hash"])
def test_editing_any_field_of_any_row_is_found(trail: Journal, db: Database, column: str) -> None:
    for seq in range(1, ROWS + 1):
        with db.write() as conn:
            before = conn.execute(sa.select(journal.c[column]).where(journal.c.seq == seq)).scalar_one()
            conn.execute(journal.update().where(journal.c.seq == seq).values({column: before[:-1] + "~"}))
        with pytest.raises(JournalBroken):
            trail.verify()
        with db.write() as conn:
            conn.execute(journal.update().where(journal.c.seq == seq).values({column: before}))
    assert trail.verify().seq == ROWS


def test_deleting_any_row_is_found(trail: Journal, db: Database) -> None:
    for seq in range(1, ROWS + 1):
        with db.write() as conn:
            row = conn.execute(sa.select(journal).where(journal.c.seq == seq)).one()
            conn.execute(journal.delete().where(journal.c.seq == seq))
        with pytest.raises(JournalBroken):
            trail.verify()
        with db.write() as conn:
            conn.execute(journal.insert().values(row._mapping))
    assert trail.verify().seq == ROWS


def test_two_rows_that_change_places_are_found(trail: Journal, db: Database) -> None:
    with db.write() as conn:
        for old, new in ((4, -1), (5, 4), (-1, 5)):
            conn.execute(journal.update().where(journal.c.seq == old).values(seq=new))
    with pytest.raises(JournalBroken, match="row 4"):
        trail.verify()


def test_a_cut_tail_is_found_also_when_the_head_is_cut_with_it(trail: Journal, db: Database) -> None:
    kept = trail.head()
    with db.write() as conn:
        conn.execute(journal.delete().where(journal.c.seq > ROWS - 3))
    with pytest.raises(JournalBroken, match="cut"):
        trail.verify()
    last = trail.rows(limit=1)[0]
    with db.write() as conn:                       # a forger without the key can't sign the shorter head
        conn.execute(journal_head.update().values(seq=last.seq, hash=last.hash))
    with pytest.raises(SignatureInvalid):
        trail.verify()
    with pytest.raises(TrimtabError):       # and one who replays an old signed head meets the copy kept elsewhere
        trail.verify(expected=kept)


def test_a_rewritten_journal_does_not_contain_the_head_that_was_kept(trail: Journal, db: Database) -> None:
    kept = trail.head()
    with db.write() as conn:                       # the owner of the key rewrites history, all hashes right
        rows = conn.execute(sa.select(journal).order_by(journal.c.seq)).all()
        prev = "0" * 64
        for row in rows:
            why = "another reason" if row.seq == 3 else row.why
            digest = row_hash((row.seq, row.at, row.kind, row.model, row.subject, row.by, why, row.body), prev)
            conn.execute(journal.update().where(journal.c.seq == row.seq).values(why=why, prev=prev, hash=digest))
            prev = digest
        conn.execute(journal_head.update().values(hash=prev))
        trail.append(conn, kind="test", model="m", subject="s", by="b")
    assert trail.verify().seq == ROWS + 1          # the chain alone can't tell …
    with pytest.raises(JournalBroken, match="rewritten"):
        trail.verify(expected=kept)                # … the kept head can


def test_a_kept_head_must_itself_be_signed(trail: Journal) -> None:
    head = trail.head()
    with pytest.raises(SignatureInvalid):
        trail.verify(expected=replace(head, signature="AAAA" + head.signature[4:]))


def test_concurrent_appenders_make_one_chain(db: Database, tmp_path: Path) -> None:
    book = Journal(db, Keyring(tmp_path / "keys"), FixedClock())

    def append(writer: int) -> None:
        for number in range(10):
            with db.write() as conn:
                book.append(conn, kind="test", model="m", subject=f"{writer}", by="b", body={"n": number})

    threads = [threading.Thread(target=append, args=(writer,)) for writer in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert book.verify().seq == 60


def test_a_change_that_fails_leaves_no_row(trail: Journal, db: Database) -> None:
    def fails() -> None:
        with db.write() as conn:
            trail.append(conn, kind="test", model="m", subject="s", by="b")
            raise ValueError("the state could not be written")

    with pytest.raises(ValueError, match="could not"):
        fails()
    assert trail.verify().seq == ROWS
