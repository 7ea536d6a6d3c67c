"""What later turned out true."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table('labels',
        sa.Column('model', sa.Text(), nullable=False),
        sa.Column('key_kind', sa.Text(), nullable=False),
        sa.Column('key', sa.Text(), nullable=False),
        sa.Column('seq', sa.Integer(), autoincrement=False, nullable=False),
        sa.Column('value', sa.Text(), nullable=False),
        sa.Column('recorded_at', sa.Text(), nullable=False),
        sa.Column('by', sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint('model', 'key_kind', 'key', 'seq', name=op.f('pk_labels'))
    )
