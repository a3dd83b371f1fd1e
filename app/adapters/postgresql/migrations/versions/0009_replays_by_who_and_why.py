"""Indexes of the register of replays, for its audit trail: by whom, in which state, for the same reason.

Every change lets the version before this one go on working beside the new one.
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_INDEXES = {
    "replays_newest": "tenant_id, requested_at, replay_id",
    "replays_by_actor": "tenant_id, actor, requested_at, replay_id",
    "replays_by_state": "tenant_id, state, requested_at, replay_id",
    "replays_by_mode": "tenant_id, mode, requested_at, replay_id",
    "replays_by_reason": "tenant_id, reason_digest, requested_at, replay_id",
}


def upgrade() -> None:
    """Add them; the first takes the place of one without the id, by which pages go on."""
    for name, columns in _INDEXES.items():
        op.execute(f"CREATE INDEX {name} ON replays ({columns})")
    op.execute("DROP INDEX replays_by_age")


def downgrade() -> None:
    """Take them away."""
    op.execute("CREATE INDEX replays_by_age ON replays (tenant_id, requested_at)")
    for name in _INDEXES:
        op.execute(f"DROP INDEX {name}")
