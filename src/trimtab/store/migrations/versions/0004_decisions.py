"""The loop: decisions, policies, and the stage of a challenger."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table('decisions',
        sa.Column('id', sa.Text(), nullable=False),
        sa.Column('model', sa.Text(), nullable=False),
        sa.Column('endpoint', sa.Text(), nullable=False),
        sa.Column('at', sa.Text(), nullable=False),
        sa.Column('key', sa.Text(), nullable=False),
        sa.Column('action', sa.Text(), nullable=False),
        sa.Column('reason', sa.Text(), nullable=False),
        sa.Column('evidence', sa.Text(), nullable=False),
        sa.Column('state', sa.Text(), nullable=False),
        sa.Column('result', sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_decisions'))
    )
    op.create_index(op.f('ix_decisions_key'), 'decisions', ['key'], unique=True)
    op.create_index(op.f('ix_decisions_model_at'), 'decisions', ['model', 'at'], unique=False)
    op.create_table('policies',
        sa.Column('model', sa.Text(), nullable=False),
        sa.Column('on_drift', sa.Text(), nullable=False),
        sa.Column('settings', sa.Text(), nullable=False),
        sa.Column('paused', sa.Integer(), nullable=False),
        sa.Column('why', sa.Text(), nullable=False),
        sa.Column('by', sa.Text(), nullable=False),
        sa.Column('at', sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint('model', name=op.f('pk_policies'))
    )
    op.create_table('stages',
        sa.Column('model', sa.Text(), nullable=False),
        sa.Column('endpoint', sa.Text(), nullable=False),
        sa.Column('champion', sa.Integer(), nullable=False),
        sa.Column('challenger', sa.Integer(), nullable=True),
        sa.Column('stage', sa.Text(), nullable=False),
        sa.Column('share', sa.Float(), nullable=False),
        sa.Column('revision', sa.Integer(), nullable=False),
        sa.Column('journal_seq', sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint('model', 'endpoint', name=op.f('pk_stages'))
    )
