"""The first shape of a workspace's database."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table('datasets',
        sa.Column('digest', sa.Text(), nullable=False),
        sa.Column('rows', sa.BigInteger(), nullable=False),
        sa.Column('columns', sa.Text(), nullable=False),
        sa.Column('source', sa.Text(), nullable=False),
        sa.Column('source_digest', sa.Text(), nullable=True),
        sa.Column('contract', sa.Text(), nullable=False),
        sa.Column('profile', sa.Text(), nullable=False),
        sa.Column('parquet', sa.Text(), nullable=False),
        sa.Column('created_at', sa.Text(), nullable=False),
        sa.Column('created_by', sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint('digest', name=op.f('pk_datasets'))
    )
    op.create_table('idempotency',
        sa.Column('key', sa.Text(), nullable=False),
        sa.Column('request', sa.Text(), nullable=False),
        sa.Column('status', sa.Integer(), nullable=False),
        sa.Column('answer', sa.Text(), nullable=False),
        sa.Column('at', sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint('key', name=op.f('pk_idempotency'))
    )
    op.create_table('journal',
        sa.Column('seq', sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column('at', sa.Text(), nullable=False),
        sa.Column('kind', sa.Text(), nullable=False),
        sa.Column('model', sa.Text(), nullable=False),
        sa.Column('subject', sa.Text(), nullable=False),
        sa.Column('by', sa.Text(), nullable=False),
        sa.Column('why', sa.Text(), nullable=False),
        sa.Column('body', sa.Text(), nullable=False),
        sa.Column('prev', sa.Text(), nullable=False),
        sa.Column('hash', sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint('seq', name=op.f('pk_journal'))
    )
    op.create_index(op.f('ix_journal_kind_seq'), 'journal', ['kind', 'seq'], unique=False)
    op.create_index(op.f('ix_journal_model_seq'), 'journal', ['model', 'seq'], unique=False)
    op.create_table('journal_head',
        sa.Column('id', sa.Integer(), autoincrement=False, nullable=False),
        sa.Column('seq', sa.BigInteger(), nullable=False),
        sa.Column('hash', sa.Text(), nullable=False),
        sa.Column('key_id', sa.Text(), nullable=False),
        sa.Column('signature', sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_journal_head'))
    )
    op.create_table('leases',
        sa.Column('key', sa.Text(), nullable=False),
        sa.Column('holder', sa.Text(), nullable=False),
        sa.Column('token', sa.BigInteger(), nullable=False),
        sa.Column('expires_at', sa.Text(), nullable=False),
        sa.Column('done_at', sa.Text(), nullable=True),
        sa.Column('result', sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint('key', name=op.f('pk_leases'))
    )
    op.create_table('openings',
        sa.Column('id', sa.Integer(), autoincrement=True, nullable=False),
        sa.Column('dataset', sa.Text(), nullable=False),
        sa.Column('split', sa.Text(), nullable=False),
        sa.Column('run', sa.Text(), nullable=False),
        sa.Column('at', sa.Text(), nullable=False),
        sa.Column('by', sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_openings'))
    )
    op.create_index(op.f('ix_openings_dataset_split'), 'openings', ['dataset', 'split'], unique=False)
    op.create_table('runs',
        sa.Column('id', sa.Text(), nullable=False),
        sa.Column('kind', sa.Text(), nullable=False),
        sa.Column('model', sa.Text(), nullable=False),
        sa.Column('parent', sa.Text(), nullable=True),
        sa.Column('status', sa.Text(), nullable=False),
        sa.Column('started_at', sa.Text(), nullable=False),
        sa.Column('ended_at', sa.Text(), nullable=True),
        sa.Column('by', sa.Text(), nullable=False),
        sa.Column('inputs', sa.Text(), nullable=False),
        sa.Column('outputs', sa.Text(), nullable=False),
        sa.Column('digest', sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_runs'))
    )
    op.create_index(op.f('ix_runs_model_started_at'), 'runs', ['model', 'started_at'], unique=False)
    op.create_index(op.f('ix_runs_parent'), 'runs', ['parent'], unique=False)
    op.create_table('step_cache',
        sa.Column('key', sa.Text(), nullable=False),
        sa.Column('project', sa.Text(), nullable=False),
        sa.Column('step', sa.Text(), nullable=False),
        sa.Column('components', sa.Text(), nullable=False),
        sa.Column('outputs', sa.Text(), nullable=False),
        sa.Column('created_at', sa.Text(), nullable=False),
        sa.Column('used_at', sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint('key', name=op.f('pk_step_cache'))
    )
    op.create_index(op.f('ix_step_cache_project_step_used_at'), 'step_cache', ['project', 'step', 'used_at'],
                    unique=False)
    op.create_table('versions',
        sa.Column('model', sa.Text(), nullable=False),
        sa.Column('number', sa.Integer(), autoincrement=False, nullable=False),
        sa.Column('digest', sa.Text(), nullable=False),
        sa.Column('manifest', sa.Text(), nullable=False),
        sa.Column('key_id', sa.Text(), nullable=False),
        sa.Column('signature', sa.Text(), nullable=False),
        sa.Column('gates', sa.Text(), nullable=False),
        sa.Column('evaluation', sa.Text(), nullable=True),
        sa.Column('run', sa.Text(), nullable=True),
        sa.Column('note', sa.Text(), nullable=False),
        sa.Column('facts', sa.Text(), nullable=False),
        sa.Column('created_at', sa.Text(), nullable=False),
        sa.Column('created_by', sa.Text(), nullable=False),
        sa.Column('deleted_at', sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint('model', 'number', name=op.f('pk_versions'))
    )
    op.create_index(op.f('ix_versions_digest'), 'versions', ['digest'], unique=False)
    op.create_table('aliases',
        sa.Column('model', sa.Text(), nullable=False),
        sa.Column('alias', sa.Text(), nullable=False),
        sa.Column('number', sa.Integer(), nullable=False),
        sa.Column('moved_at', sa.Text(), nullable=False),
        sa.Column('moved_by', sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(['model', 'number'], ['versions.model', 'versions.number'],
                                name=op.f('fk_aliases_model_number')),
        sa.PrimaryKeyConstraint('model', 'alias', name=op.f('pk_aliases'))
    )
    op.create_table('rollouts',
        sa.Column('model', sa.Text(), nullable=False),
        sa.Column('endpoint', sa.Text(), nullable=False),
        sa.Column('revision', sa.Integer(), autoincrement=False, nullable=False),
        sa.Column('version', sa.Integer(), nullable=False),
        sa.Column('verb', sa.Text(), nullable=False),
        sa.Column('restores', sa.Integer(), nullable=True),
        sa.Column('at', sa.Text(), nullable=False),
        sa.Column('by', sa.Text(), nullable=False),
        sa.Column('why', sa.Text(), nullable=False),
        sa.Column('journal_seq', sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(['model', 'version'], ['versions.model', 'versions.number'],
                                name=op.f('fk_rollouts_model_version')),
        sa.PrimaryKeyConstraint('model', 'endpoint', 'revision', name=op.f('pk_rollouts'))
    )
    op.create_index(op.f('ix_rollouts_journal_seq'), 'rollouts', ['journal_seq'], unique=False)
    op.create_table('run_metrics',
        sa.Column('run', sa.Text(), nullable=False),
        sa.Column('key', sa.Text(), nullable=False),
        sa.Column('step', sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column('value', sa.Float(), nullable=True),
        sa.Column('at', sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(['run'], ['runs.id'],
                                name=op.f('fk_run_metrics_run')),
        sa.PrimaryKeyConstraint('run', 'key', 'step', name=op.f('pk_run_metrics'))
    )
    op.create_table('run_params',
        sa.Column('run', sa.Text(), nullable=False),
        sa.Column('key', sa.Text(), nullable=False),
        sa.Column('value', sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(['run'], ['runs.id'],
                                name=op.f('fk_run_params_run')),
        sa.PrimaryKeyConstraint('run', 'key', name=op.f('pk_run_params'))
    )
    op.create_table('run_tags',
        sa.Column('run', sa.Text(), nullable=False),
        sa.Column('key', sa.Text(), nullable=False),
        sa.Column('value', sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(['run'], ['runs.id'],
                                name=op.f('fk_run_tags_run')),
        sa.PrimaryKeyConstraint('run', 'key', name=op.f('pk_run_tags'))
    )
    op.execute(sa.text("INSERT INTO journal_head (id, seq, hash, key_id, signature) "
                       "VALUES (1, 0, '0000000000000000000000000000000000000000000000000000000000000000', '', '')"))
