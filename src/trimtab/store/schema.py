"""Which tables does a workspace have?

SQLAlchemy Core only, portable between SQLite and PostgreSQL. Times are `clock.to_text` strings, structured columns are
canonical JSON text (so that a hash over them is stable). `migrations/` builds the same tables; a test holds them equal.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, ForeignKeyConstraint, Index, Integer, MetaData, Table, Text

metadata = MetaData(naming_convention={
    "ix": "ix_%(table_name)s_%(column_0_N_name)s", "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
})


def _text(name: str, *, key: bool = False, null: bool = False) -> Column[str]:
    return Column(name, Text, primary_key=key, nullable=null)


journal = Table(
    "journal", metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    _text("at"), _text("kind"), _text("model"), _text("subject"), _text("by"), _text("why"), _text("body"),
    _text("prev"), _text("hash"),
    Index(None, "model", "seq"), Index(None, "kind", "seq"),
)

journal_head = Table(                          # one row; locked by every append
    "journal_head", metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False), _text("hash"), _text("key_id"), _text("signature"),
)

datasets = Table(
    "datasets", metadata,
    _text("digest", key=True), Column("rows", BigInteger, nullable=False), _text("columns"), _text("source"),
    _text("source_digest", null=True), _text("contract"), _text("profile"), _text("parquet"),
    _text("created_at"), _text("created_by"),
)

runs = Table(
    "runs", metadata,
    _text("id", key=True), _text("kind"), _text("model"), _text("parent", null=True), _text("status"),
    _text("started_at"), _text("ended_at", null=True), _text("by"), _text("inputs"), _text("outputs"),
    _text("digest", null=True),                # of everything that it recorded, once it is closed
    Index(None, "model", "started_at"), Index(None, "parent"),
)

run_params = Table(
    "run_params", metadata, _text("run", key=True), _text("key", key=True), _text("value"),
    ForeignKeyConstraint(["run"], ["runs.id"]),
)

run_tags = Table(
    "run_tags", metadata, _text("run", key=True), _text("key", key=True), _text("value"),
    ForeignKeyConstraint(["run"], ["runs.id"]),
)

run_metrics = Table(
    "run_metrics", metadata,
    _text("run", key=True), _text("key", key=True), Column("step", BigInteger, primary_key=True, autoincrement=False),
    Column("value", Float), _text("at"),
    ForeignKeyConstraint(["run"], ["runs.id"]),
)

versions = Table(
    "versions", metadata,
    _text("model", key=True), Column("number", Integer, primary_key=True, autoincrement=False),
    _text("digest"), _text("manifest"), _text("key_id"), _text("signature"), _text("gates"),
    _text("evaluation", null=True), _text("run", null=True), _text("note"), _text("facts"),
    _text("created_at"), _text("created_by"), _text("deleted_at", null=True),
    Index(None, "digest"),
)

aliases = Table(
    "aliases", metadata,
    _text("model", key=True), _text("alias", key=True), Column("number", Integer, nullable=False),
    _text("moved_at"), _text("moved_by"),
    ForeignKeyConstraint(["model", "number"], ["versions.model", "versions.number"]),
)

rollouts = Table(                              # append-only; the newest revision of an endpoint is what is live
    "rollouts", metadata,
    _text("model", key=True), _text("endpoint", key=True),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False), _text("verb"),
    Column("restores", Integer),               # the revision that a rollback re-applied
    _text("at"), _text("by"), _text("why"),
    Column("journal_seq", BigInteger, nullable=False),
    _text("key", null=True),                   # of the decision that it follows from
    ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.number"]),
    Index(None, "journal_seq"),
)

step_cache = Table(
    "step_cache", metadata,
    _text("key", key=True), _text("project"), _text("step"), _text("components"), _text("outputs"),
    _text("created_at"), _text("used_at"),
    Index(None, "project", "step", "used_at"),
)

leases = Table(
    "leases", metadata,
    _text("key", key=True), _text("holder"), Column("token", BigInteger, nullable=False), _text("expires_at"),
    _text("done_at", null=True), _text("result", null=True),
)

openings = Table(                              # how often held-out rows were looked at
    "openings", metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    _text("dataset"), _text("split"), _text("run"), _text("at"), _text("by"),
    Index(None, "dataset", "split"),
)

idempotency = Table(                           # answers already given to a POST with an Idempotency-Key
    "idempotency", metadata,
    _text("key", key=True), _text("request"), Column("status", Integer, nullable=False), _text("answer"), _text("at"),
)

windows = Table(                               # append-only; what was counted, and what was known after it
    "windows", metadata,
    _text("model", key=True), Column("version", Integer, primary_key=True, autoincrement=False),
    _text("endpoint", key=True), Column("seq", BigInteger, primary_key=True, autoincrement=False),
    _text("from_at"), _text("to_at"), _text("first_id"), _text("last_id"),
    Column("rows", BigInteger, nullable=False), _text("counts"), _text("closed_at"),
)

alerts = Table(
    "alerts", metadata,
    _text("id", key=True), _text("model"), Column("version", Integer, nullable=False), _text("endpoint"),
    _text("kind"), _text("state"), _text("opened_at"), _text("updated_at"), _text("owner"),
    _text("snooze_until", null=True), _text("evidence"), _text("causes"), _text("notes"),
    Index(None, "model", "endpoint", "state"),
)

labels = Table(                                # append-only; of a key the newest counts
    "labels", metadata,
    _text("model", key=True), _text("key_kind", key=True), _text("key", key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    _text("value"), _text("recorded_at"), _text("by"),
    Index(None, "model", "recorded_at"),
)

decisions = Table(                             # one application of a policy; its key is hash(policy, evidence)
    "decisions", metadata,
    _text("id", key=True), _text("model"), _text("endpoint"), _text("at"), _text("key"), _text("action"),
    _text("reason"), _text("evidence"), _text("state"), _text("result", null=True),
    Index(None, "key", unique=True), Index(None, "model", "at"),
)

policies = Table(                              # what a model's loop may do, and whether it is paused
    "policies", metadata,
    _text("model", key=True), _text("on_drift"), _text("settings"), Column("paused", Integer, nullable=False),
    _text("why"), _text("by"), _text("at"),
)

stages = Table(                                # what is beside a champion; one row an endpoint, kept when it ends
    "stages", metadata,
    _text("model", key=True), _text("endpoint", key=True), Column("champion", Integer, nullable=False),
    Column("version", Integer),                # None: nothing is beside it now
    _text("role"), _text("stage"), Column("share", Float, nullable=False),
    Column("trial", Integer, nullable=False),  # how many trials the endpoint has had, this one included
    _text("since"), _text("stage_since"), _text("key"),
    Column("revision", Integer, nullable=False), Column("journal_seq", BigInteger, nullable=False),
    Index(None, "journal_seq"),
)

notices = Table(                               # what people are to be told, until they were
    "notices", metadata,
    _text("id", key=True), _text("key"), _text("model"), _text("endpoint"), _text("kind"), _text("at"), _text("body"),
    _text("state"), Column("tries", Integer, nullable=False), _text("next_at"), _text("told_at", null=True),
    _text("why"),
    Index(None, "key", unique=True), Index(None, "state", "next_at"),
)
