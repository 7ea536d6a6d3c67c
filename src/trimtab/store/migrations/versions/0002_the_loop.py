"""The loop: windows of traffic, and alerts."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table('windows',
        sa.Column('model', sa.Text(), nullable=False),
        sa.Column('version', sa.Integer(), autoincrement=False, nullable=False),
        sa.Column('endpoint', sa.Text(), nullable=False),
        sa.Column('seq', sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column('from_at', sa.Text(), nullable=False),
        sa.Column('to_at', sa.Text(), nullable=False),
        sa.Column('first_id', sa.Text(), nullable=False),
        sa.Column('last_id', sa.Text(), nullable=False),
        sa.Column('rows', sa.BigInteger(), nullable=False),
        sa.Column('counts', sa.Text(), nullable=False),
        sa.Column('closed_at', sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint('model', 'version', 'endpoint', 'seq', name=op.f('pk_windows'))
    )
    op.create_table('alerts',
        sa.Column('id', sa.Text(), nullable=False),
        sa.Column('model', sa.Text(), nullable=False),
        sa.Column('version', sa.Integer(), nullable=False),
        sa.Column('endpoint', sa.Text(), nullable=False),
        sa.Column('kind', sa.Text(), nullable=False),
        sa.Column('state', sa.Text(), nullable=False),
        sa.Column('opened_at', sa.Text(), nullable=False),
        sa.Column('updated_at', sa.Text(), nullable=False),
        sa.Column('owner', sa.Text(), nullable=False),
        sa.Column('snooze_until', sa.Text(), nullable=True),
        sa.Column('evidence', sa.Text(), nullable=False),
        sa.Column('causes', sa.Text(), nullable=False),
        sa.Column('notes', sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_alerts'))
    )
    op.create_index(op.f('ix_alerts_model_endpoint_state'), 'alerts', ['model', 'endpoint', 'state'], unique=False)
