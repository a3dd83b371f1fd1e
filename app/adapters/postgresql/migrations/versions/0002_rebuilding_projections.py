"""The control role may rebuild the read models from the journals.

It locks the heads it rebuilds behind, which PostgreSQL grants only to who may update a column of theirs.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let it read the journals, lock their heads, and replace the read models' rows."""
    op.execute("GRANT SELECT ON orchestrations, journal TO interlock_control")
    op.execute("GRANT UPDATE (status) ON orchestrations TO interlock_control")
    op.execute("GRANT SELECT, INSERT, DELETE ON decisions, actions TO interlock_control")


def downgrade() -> None:
    """Take it back."""
    op.execute("REVOKE SELECT, UPDATE (status) ON orchestrations FROM interlock_control")
    op.execute("REVOKE SELECT ON journal FROM interlock_control")
    op.execute("REVOKE SELECT, INSERT, DELETE ON decisions, actions FROM interlock_control")
