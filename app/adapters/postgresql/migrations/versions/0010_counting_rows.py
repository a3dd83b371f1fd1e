"""Indexes of what is counted by its rows at every scrape, so that no table is read for it.

Every change lets the version before this one go on working beside the new one.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_INDEXES = {
    "replays_counted": "replays (mode, state)",
    "dead_letters_counted": "dead_letters (queue, cause, times) WHERE message_digest <> ''",
    "breaker_changes_counted": "breaker_changes (provider, model, to_state)",
}


def upgrade() -> None:
    """Add them."""
    for name, columns in _INDEXES.items():
        op.execute(f"CREATE INDEX {name} ON {columns}")


def downgrade() -> None:
    """Take them away."""
    for name in _INDEXES:
        op.execute(f"DROP INDEX {name}")
