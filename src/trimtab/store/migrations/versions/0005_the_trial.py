"""The trial of a challenger beside the champion, and what people are to be told."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.drop_table('stages')                    # nothing was ever written to it
    op.create_table('stages',
        sa.Column('model', sa.Text(), nullable=False),
        sa.Column('endpoint', sa.Text(), nullable=False),
        sa.Column('champion', sa.Integer(), nullable=False),
        sa.Column('version', sa.Integer(), nullable=True),
        sa.Column('role', sa.Text(), nullable=False),
        sa.Column('stage', sa.Text(), nullable=False),
        sa.Column('share', sa.Float(), nullable=False),
        sa.Column('trial', sa.Integer(), nullable=False),
        sa.Column('since', sa.Text(), nullable=False),
        sa.Column('stage_since', sa.Text(), nullable=False),
        sa.Column('key', sa.Text(), nullable=False),
        sa.Column('revision', sa.Integer(), nullable=False),
        sa.Column('journal_seq', sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint('model', 'endpoint', name=op.f('pk_stages'))
    )
    op.create_index(op.f('ix_stages_journal_seq'), 'stages', ['journal_seq'], unique=False)
    op.create_table('notices',
        sa.Column('id', sa.Text(), nullable=False),
        sa.Column('key', sa.Text(), nullable=False),
        sa.Column('model', sa.Text(), nullable=False),
        sa.Column('endpoint', sa.Text(), nullable=False),
        sa.Column('kind', sa.Text(), nullable=False),
        sa.Column('at', sa.Text(), nullable=False),
        sa.Column('body', sa.Text(), nullable=False),
        sa.Column('state', sa.Text(), nullable=False),
        sa.Column('tries', sa.Integer(), nullable=False),
        sa.Column('next_at', sa.Text(), nullable=False),
        sa.Column('told_at', sa.Text(), nullable=True),
        sa.Column('why', sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_notices'))
    )
    op.create_index(op.f('ix_notices_key'), 'notices', ['key'], unique=True)
    op.create_index(op.f('ix_notices_state_next_at'), 'notices', ['state', 'next_at'], unique=False)
    op.add_column('rollouts', sa.Column('key', sa.Text(), nullable=True))
