"""The local span store: what was traced can be read with nothing else installed, for as long as retention keeps it.

Spans are written in large batches by a connection that does not wait for the disk, and each index must pay for itself:
one finds a trace, one an orchestration's traces, one what is too old. That last is no BRIN index: rows that come to
where retention has made room would widen its ranges, and they never narrow again. The table is logged all the same: an
unlogged one is empty after a crash of PostgreSQL, which is when somebody wants to know what happened.

A span of infrastructure (a message that carries many orchestrations' steps) belongs to the tenant '', which nobody can
publish: a transaction that shall see it names it like any other, as in ',demo'.

Every change lets the version before this one go on working beside the new one.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_SPANS = """
CREATE TABLE spans (
    trace_id text NOT NULL,
    span_id text NOT NULL,
    parent_span_id text NOT NULL,
    tenant_id text NOT NULL,
    event_id text NOT NULL,
    orchestration_id text NOT NULL,
    run_id text NOT NULL,
    name text NOT NULL,
    service text NOT NULL,
    kind text NOT NULL,
    start_ns bigint NOT NULL,
    end_ns bigint NOT NULL,
    status text NOT NULL CHECK (status IN ('unset', 'ok', 'error')),
    status_text text NOT NULL,
    attributes jsonb NOT NULL,
    links jsonb NOT NULL,
    events jsonb NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.05);
COMMENT ON TABLE spans IS
    'Append-only until retention. What a crash or an outage costs is counted; the journal is the record.';
COMMENT ON COLUMN spans.end_ns IS 'Nanoseconds since the epoch, like start_ns; retention goes by it.';
COMMENT ON COLUMN spans.attributes IS 'Redacted; without the four keys, which are columns.';
CREATE INDEX spans_by_trace ON spans (trace_id);
CREATE INDEX spans_by_orchestration ON spans (orchestration_id) WHERE orchestration_id <> '';
CREATE INDEX spans_by_age ON spans (end_ns);
"""

# Retention removes by age whatever tenant a span is of, also one that is published no more, and reads no content.
_ROLES = """
GRANT INSERT ON spans TO interlock_worker, interlock_api;
GRANT SELECT ON spans TO interlock_api, interlock_control;
GRANT SELECT (ctid, orchestration_id, end_ns), DELETE ON spans TO interlock_retention;
CREATE POLICY spans_of_all_to_retention ON spans TO interlock_retention USING (true);
"""


def upgrade() -> None:
    """Add the table, its policies and its grants."""
    op.execute(_SPANS)
    op.execute("ALTER TABLE spans ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE spans FORCE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY spans_of_the_tenant ON spans"
        " USING (tenant_id = ANY ((SELECT interlock_tenants())::text[]))"
        " WITH CHECK (tenant_id = ANY ((SELECT interlock_tenants())::text[]))"
    )
    op.execute(_ROLES)


def downgrade() -> None:
    """Take it away."""
    op.execute("DROP TABLE spans")
