"""Labels are found by when they came, and numbered as far as it takes."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    with op.batch_alter_table('labels') as table:
        table.alter_column('seq', type_=sa.BigInteger(), existing_nullable=False)
    op.create_index(op.f('ix_labels_model_recorded_at'), 'labels', ['model', 'recorded_at'], unique=False)
