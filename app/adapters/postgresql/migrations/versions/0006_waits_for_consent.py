"""An index of the steps that end waits for people's consent, so that a list of them reads no backlog of other steps.

It holds those steps alone, so that the others cost nothing more. Every change lets the version before this one go on
working beside the new one.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index."""
    op.execute(
        "CREATE INDEX work_index_waits_for_consent ON work_index (tenant_id, due_at)"
        " WHERE queue = 'orchestration' AND finished_at IS NULL AND stage = '' AND subject <> ''"
    )


def downgrade() -> None:
    """Take it away."""
    op.execute("DROP INDEX work_index_waits_for_consent")
