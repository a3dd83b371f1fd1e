"""What failing and repairing needs: workers that are seen to be gone, dead letters, replays, anchors, retention.

Every change lets the version before this one go on working beside the new one.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_WORKERS = """
CREATE TABLE workers (
    worker_id text PRIMARY KEY,
    lock_key integer NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);
COMMENT ON TABLE workers IS
    'Processes that hold leases. Each holds the session advisory lock (interlock, lock_key) for as long as it lives.';
ALTER TABLE work_index ADD COLUMN lapses integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN work_index.lapses IS 'Leases of it that ended without a result: its worker died, or was too slow.';
COMMENT ON COLUMN work_index.leased_by IS 'The worker and its message, as worker_id/number.';
CREATE INDEX work_index_leased ON work_index (split_part(leased_by, '/', 1))
    WHERE leased_by IS NOT NULL AND finished_at IS NULL;
CREATE INDEX work_index_by_orchestration ON work_index (orchestration_id);
DROP INDEX work_index_open;
"""

_DEAD_LETTERS = """
CREATE TABLE dead_letters (
    dead_letter_id text PRIMARY KEY,
    tenant_id text NOT NULL,
    event_id text NOT NULL,
    orchestration_id text NOT NULL,
    run_id text NOT NULL,
    workflow text NOT NULL,
    step_id text NOT NULL,
    queue text NOT NULL,
    cause text NOT NULL,
    code text NOT NULL,
    fate text NOT NULL CHECK (fate IN ('transient', 'permanent', 'defect')),
    what text NOT NULL,
    remedy text NOT NULL,
    state text NOT NULL CHECK (state IN ('open', 'replayed', 'settled')),
    times integer NOT NULL DEFAULT 1,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    message_digest text NOT NULL DEFAULT '',
    settled_by text NOT NULL DEFAULT '',
    settled_because text NOT NULL DEFAULT ''
);
COMMENT ON COLUMN dead_letters.message_digest IS
    'SHA-256 of the body of the message that gave up; empty in a row that follows from a journal, and can be rebuilt.';
CREATE INDEX dead_letters_by_orchestration ON dead_letters (orchestration_id);
CREATE INDEX dead_letters_open ON dead_letters (tenant_id, last_at, dead_letter_id)
    INCLUDE (queue, cause, code, workflow) WHERE state = 'open';
CREATE INDEX dead_letters_by_age ON dead_letters (tenant_id, last_at, dead_letter_id)
    INCLUDE (state, queue, cause, code, workflow);
"""

_REPLAYS = """
CREATE TABLE replays (
    replay_id text PRIMARY KEY,
    tenant_id text NOT NULL,
    orchestration_id text NOT NULL,
    dead_letter_id text NOT NULL,
    mode text NOT NULL CHECK (mode IN ('resume', 'rerun')),
    release text NOT NULL,
    actor text NOT NULL,
    reason_digest text NOT NULL,
    plan_digest text NOT NULL,
    state text NOT NULL CHECK (state IN ('requested', 'done', 'refused', 'failed')),
    outcome text NOT NULL DEFAULT '',
    new_orchestration_id text NOT NULL DEFAULT '',
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz
);
CREATE UNIQUE INDEX replays_one_at_a_time ON replays (orchestration_id) WHERE finished_at IS NULL;
CREATE INDEX replays_by_orchestration ON replays (orchestration_id);
CREATE INDEX replays_by_age ON replays (tenant_id, requested_at);
"""

# With its transaction's number, a fact that an earlier snapshot did not see is found again: the transaction began
# after it, or was running then. Old rows keep null, so that nothing is rewritten. Vacuum comes to a block range much
# later than it is written (autosummarize asks for at most 256 at a time), and until then every look would read it:
# whoever looks has the index summarised first, which only the table's owner may do.
_ANCHORS_AND_RETENTION = """
ALTER TABLE journal ADD COLUMN written_in bigint;
ALTER TABLE journal ALTER COLUMN written_in SET DEFAULT (pg_current_xact_id()::text::bigint);
CREATE INDEX journal_by_age ON journal USING brin (written_in) WITH (pages_per_range = 16, autosummarize = on);
ALTER TABLE payloads ADD COLUMN put_at timestamptz NOT NULL DEFAULT now();
CREATE INDEX payloads_by_age ON payloads USING brin (put_at) WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX orchestrations_by_close ON orchestrations (closed_at, orchestration_id) WHERE closed_at IS NOT NULL;
CREATE FUNCTION interlock_summarise_journal() RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms' AS $$
BEGIN
    RETURN brin_summarize_new_values('public.journal_by_age'::regclass);
EXCEPTION WHEN lock_not_available THEN
    RETURN 0;  -- vacuum is at it
END $$;
CREATE FUNCTION interlock_summarise_payloads() RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms' AS $$
BEGIN
    RETURN brin_summarize_new_values('public.payloads_by_age'::regclass);
EXCEPTION WHEN lock_not_available THEN
    RETURN 0;
END $$;
REVOKE ALL ON FUNCTION interlock_summarise_journal(), interlock_summarise_payloads() FROM PUBLIC;
"""

_ISOLATED = ("dead_letters", "replays")

_ROLES = """
DO $$
BEGIN
    CREATE ROLE interlock_retention NOLOGIN NOBYPASSRLS;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;  -- roles belong to the cluster, and another of its databases was here first
END $$;
GRANT USAGE ON SCHEMA public TO interlock_retention;
GRANT SELECT, INSERT, UPDATE, DELETE ON workers TO interlock_worker;
GRANT SELECT ON workers TO interlock_api;
GRANT SELECT, INSERT, UPDATE ON dead_letters, replays TO interlock_worker;
GRANT SELECT, INSERT ON replays TO interlock_api;
GRANT SELECT, INSERT, UPDATE ON dead_letters TO interlock_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON dead_letters TO interlock_control;
GRANT SELECT ON replays TO interlock_control;
GRANT UPDATE (put_at) ON payloads TO interlock_worker, interlock_api;
GRANT SELECT ON tenants TO interlock_retention;
GRANT SELECT, DELETE ON orchestrations, journal, payloads, work_index, decisions, actions, dead_letters, replays
    TO interlock_retention;
GRANT UPDATE (status) ON orchestrations TO interlock_retention;
GRANT UPDATE (put_at) ON payloads TO interlock_retention;
GRANT EXECUTE ON FUNCTION interlock_summarise_journal() TO interlock_worker;
GRANT EXECUTE ON FUNCTION interlock_summarise_payloads() TO interlock_retention;
"""


def upgrade() -> None:
    """Add the tables, columns and roles."""
    for statements in (_WORKERS, _DEAD_LETTERS, _REPLAYS, _ANCHORS_AND_RETENTION):
        op.execute(statements)
    for table in _ISOLATED:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY {table}_of_the_tenant ON {table}"
            " USING (tenant_id = ANY ((SELECT interlock_tenants())::text[]))"
            " WITH CHECK (tenant_id = ANY ((SELECT interlock_tenants())::text[]))"
        )
    op.execute(_ROLES)


def downgrade() -> None:
    """Take them away; the role stays, as it belongs to the cluster."""
    op.execute("DROP TABLE workers, dead_letters, replays")
    op.execute("DROP INDEX orchestrations_by_close, work_index_leased, work_index_by_orchestration")
    op.execute("CREATE INDEX work_index_open ON work_index (orchestration_id) WHERE finished_at IS NULL")
    op.execute("ALTER TABLE work_index DROP COLUMN lapses")
    op.execute("ALTER TABLE payloads DROP COLUMN put_at")
    op.execute("DROP FUNCTION interlock_summarise_journal(), interlock_summarise_payloads()")
    op.execute("ALTER TABLE journal DROP COLUMN written_in")
    op.execute(
        "REVOKE ALL ON orchestrations, journal, payloads, work_index, decisions, actions, tenants"
        " FROM interlock_retention"
    )
    op.execute("REVOKE USAGE ON SCHEMA public FROM interlock_retention")
