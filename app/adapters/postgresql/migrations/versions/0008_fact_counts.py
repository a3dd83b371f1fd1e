"""What the facts of the journals add up to, counted once each, and the role of whoever counts them for Prometheus.

Sums outlive the facts: retention may remove these. Every change lets the version before this one go on working beside
the new one.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_COUNTS = """
CREATE TABLE fact_counts (
    metric text NOT NULL,
    labels text[] NOT NULL,
    value bigint NOT NULL CHECK (value >= 0),
    PRIMARY KEY (metric, labels)
) WITH (fillfactor = 50);
COMMENT ON COLUMN fact_counts.labels IS 'The values of the metric''s labels, in the order that the code declares.';
CREATE TABLE fact_counts_position (
    is_the_one boolean PRIMARY KEY DEFAULT true CHECK (is_the_one),
    server text NOT NULL DEFAULT '',
    upto bigint NOT NULL DEFAULT 0,
    running bigint[] NOT NULL DEFAULT '{}',
    began_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    whole_at timestamptz,
    breakers_until timestamptz
);
COMMENT ON TABLE fact_counts_position IS
    'What is counted: the facts of all transactions before upto but the running ones, on that server.';
COMMENT ON COLUMN fact_counts_position.whole_at IS 'When the counts held every fact last.';
COMMENT ON COLUMN fact_counts_position.breakers_until IS 'Up to when the open seconds of breakers are added up.';
INSERT INTO fact_counts_position DEFAULT VALUES;
"""

# Whoever counts sees the rows of every tenant, also of one that is not published any more; but no payload, no event,
# and of each table only the columns that are counted by.
_ROLES = """
DO $$
BEGIN
    CREATE ROLE interlock_metrics NOLOGIN NOBYPASSRLS;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;  -- roles belong to the cluster, and another of its databases was here first
END $$;
GRANT USAGE ON SCHEMA public TO interlock_metrics;
GRANT SELECT (chain_id, seq, body, written_in) ON journal TO interlock_metrics;
GRANT SELECT (orchestration_id, workflow, release, channel, status, closed_at) ON orchestrations TO interlock_metrics;
GRANT SELECT (action_id, target, state) ON actions TO interlock_metrics;
GRANT SELECT (queue, cause, state, times, message_digest) ON dead_letters TO interlock_metrics;
GRANT SELECT (mode, state) ON replays TO interlock_metrics;
GRANT SELECT (tenant_id, level, unit, most, reserved, spent, presumed, began_at) ON budget_lines
    TO interlock_metrics;
GRANT SELECT (step_id, orchestration_id, queue, tenant_id, stage, subject, due_at, leased_by, finished_at)
    ON work_index TO interlock_metrics;
GRANT SELECT ON breaker_changes, releases, channels TO interlock_metrics;
GRANT SELECT, INSERT, UPDATE, DELETE ON fact_counts TO interlock_metrics;
GRANT SELECT, UPDATE ON fact_counts_position TO interlock_metrics;
GRANT EXECUTE ON FUNCTION interlock_summarise_journal() TO interlock_metrics;
GRANT SELECT, INSERT, UPDATE ON fact_counts TO interlock_retention;
"""

_COUNTED = ("journal", "orchestrations", "actions", "dead_letters", "replays", "budget_lines")


def upgrade() -> None:
    """Add both tables, the role, and what it may see."""
    op.execute(_COUNTS)
    op.execute(_ROLES)
    for table in _COUNTED:
        op.execute(
            f"CREATE POLICY {table}_are_counted ON {table} FOR SELECT TO interlock_metrics USING (true)"
        )


def downgrade() -> None:
    """Take them away; the role stays, as it belongs to the cluster."""
    for table in _COUNTED:
        op.execute(f"DROP POLICY {table}_are_counted ON {table}")
    op.execute("DROP TABLE fact_counts, fact_counts_position")
    op.execute(
        f"REVOKE ALL ON {', '.join(_COUNTED)}, work_index, breaker_changes, releases, channels FROM interlock_metrics"
    )
    op.execute("REVOKE EXECUTE ON FUNCTION interlock_summarise_journal() FROM interlock_metrics")
    op.execute("REVOKE USAGE ON SCHEMA public FROM interlock_metrics")
