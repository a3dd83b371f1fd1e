"""The first tables: control plane, journal, work index, payload store, read models, and who may touch them.

Row-level security stands on every table with content from this migration on. The work index is the exception by
design: it holds no content, and a claim must see all tenants to be fair to them. Hot tables have no foreign keys:
each row is written by the one transaction that also writes what it would refer to.
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_CONTROL_PLANE = """
CREATE TABLE tenants (
    tenant_id text PRIMARY KEY CHECK (tenant_id ~ '^[a-z][a-z0-9_-]{0,62}$'),
    version integer NOT NULL,
    digest text NOT NULL,
    document jsonb NOT NULL,
    published_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE documents (
    kind text NOT NULL,
    name text NOT NULL,
    version integer NOT NULL,
    digest text NOT NULL,
    body bytea NOT NULL,
    published_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (kind, name, version)
);
CREATE TABLE releases (
    digest text PRIMARY KEY,
    workflow text NOT NULL,
    body bytea NOT NULL,
    published_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    published_by text NOT NULL
);
CREATE INDEX releases_by_workflow ON releases (workflow, published_at);
CREATE TABLE channels (
    workflow text NOT NULL,
    channel text NOT NULL CHECK (channel IN ('stable', 'canary', 'shadow')),
    release_digest text NOT NULL REFERENCES releases (digest),
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_by text NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (workflow, channel)
);
CREATE TABLE reference_entries (
    tenant_id text NOT NULL,
    collection text NOT NULL,
    key text NOT NULL,
    value jsonb NOT NULL,
    PRIMARY KEY (tenant_id, collection, key)
);
CREATE FUNCTION interlock_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a published % is never edited', TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation', HINT = 'Publish a new version instead.';
END $$;
CREATE TRIGGER documents_are_immutable BEFORE UPDATE OR DELETE ON documents
    FOR EACH ROW EXECUTE FUNCTION interlock_refuse_change();
CREATE TRIGGER releases_are_immutable BEFORE UPDATE OR DELETE ON releases
    FOR EACH ROW EXECUTE FUNCTION interlock_refuse_change();
"""

_DATA_PLANE = """
CREATE TABLE events (
    tenant_id text NOT NULL,
    source text NOT NULL,
    event_id text NOT NULL,
    type text NOT NULL,
    state text NOT NULL CHECK (state IN ('accepted', 'unrouted', 'refused')),
    data_digest text NOT NULL,
    raw_digest text NOT NULL,
    event_digest text NOT NULL,
    normaliser text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, source, event_id)
);
CREATE TABLE orchestrations (
    orchestration_id text PRIMARY KEY,
    tenant_id text NOT NULL,
    source text NOT NULL,
    event_id text NOT NULL,
    event_type text NOT NULL,
    workflow text NOT NULL,
    lane text NOT NULL,
    ordinal integer NOT NULL,
    release text NOT NULL,
    channel text NOT NULL,
    status text NOT NULL,
    head_seq integer NOT NULL,
    head_hash bytea NOT NULL,
    traceparent text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    closed_at timestamptz
) WITH (fillfactor = 80);
CREATE INDEX orchestrations_by_event ON orchestrations (tenant_id, source, event_id);
CREATE INDEX orchestrations_by_age ON orchestrations (tenant_id, created_at);
CREATE INDEX orchestrations_open ON orchestrations (tenant_id, status) WHERE closed_at IS NULL;
CREATE TABLE journal (
    chain_id text NOT NULL,
    seq integer NOT NULL,
    tenant_id text NOT NULL,
    body bytea NOT NULL,
    hash bytea NOT NULL,
    PRIMARY KEY (chain_id, seq)
);
CREATE TABLE payloads (
    tenant_id text NOT NULL,
    digest bytea NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (tenant_id, digest)
);
CREATE TABLE work_index (
    step_id text PRIMARY KEY,
    tenant_id text NOT NULL,
    orchestration_id text NOT NULL,
    queue text NOT NULL,
    stage text NOT NULL,
    subject text NOT NULL,
    parent_id text,
    due_at timestamptz NOT NULL,
    lease_seconds real NOT NULL,
    leased_by text,
    fence bigint NOT NULL DEFAULT 0,
    attempts integer NOT NULL DEFAULT 0,
    open_members integer NOT NULL DEFAULT 0,
    finished_at timestamptz
) WITH (fillfactor = 70);
COMMENT ON COLUMN work_index.due_at IS
    'When the step may next be claimed. A claim moves it to the end of its lease, so one index serves both.';
CREATE INDEX work_index_due ON work_index (queue, tenant_id, due_at) WHERE finished_at IS NULL;
CREATE INDEX work_index_open ON work_index (orchestration_id) WHERE finished_at IS NULL;
"""

_READ_MODELS = """
CREATE TABLE decisions (
    orchestration_id text PRIMARY KEY,
    tenant_id text NOT NULL,
    decision_digest text NOT NULL,
    outcome_digest text NOT NULL,
    degraded boolean NOT NULL,
    actions integer NOT NULL,
    decided_at text NOT NULL
);
CREATE TABLE actions (
    action_id text PRIMARY KEY,
    tenant_id text NOT NULL,
    orchestration_id text NOT NULL,
    position integer NOT NULL,
    name text NOT NULL,
    tool text NOT NULL,
    target text NOT NULL,
    state text NOT NULL,
    arguments_digest text NOT NULL,
    idempotency_key text NOT NULL,
    attempts integer NOT NULL,
    receipt_digest text NOT NULL,
    reason text NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX actions_by_orchestration ON actions (orchestration_id);
CREATE INDEX actions_unsettled ON actions (tenant_id, state) WHERE state NOT IN ('confirmed', 'denied');
"""

# Set once with SET LOCAL, the setting is '' ever after instead of null: both mean that nobody said whose rows.
_TENANTS_OF_THE_TRANSACTION = """
CREATE FUNCTION interlock_tenants() RETURNS text[] LANGUAGE plpgsql STABLE AS $$
DECLARE listed text := current_setting('interlock.tenants', true);
BEGIN
    IF coalesce(listed, '') = '' THEN
        RAISE EXCEPTION 'interlock.tenants is not set' USING ERRCODE = 'insufficient_privilege',
            HINT = 'SET LOCAL interlock.tenants to the batch''s tenants inside the transaction.';
    END IF;
    RETURN string_to_array(listed, ',');
END $$;
"""

_ISOLATED = (
    "events",
    "orchestrations",
    "journal",
    "payloads",
    "decisions",
    "actions",
    "reference_entries",
)

_ROLES = """
DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['interlock_worker', 'interlock_api', 'interlock_control'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN NOBYPASSRLS', name);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;  -- roles belong to the cluster, and another of its databases was here first
        END;
    END LOOP;
END $$;
GRANT USAGE ON SCHEMA public TO interlock_worker, interlock_api, interlock_control;
GRANT SELECT ON tenants, documents, releases, channels TO interlock_worker, interlock_api, interlock_control;
GRANT SELECT ON reference_entries TO interlock_worker;
GRANT SELECT, INSERT ON documents, releases TO interlock_control;
GRANT SELECT, INSERT, UPDATE, DELETE ON tenants, channels, reference_entries TO interlock_control;
GRANT SELECT, INSERT ON events, journal, payloads TO interlock_worker, interlock_api;
GRANT SELECT, INSERT, UPDATE ON orchestrations, work_index, actions TO interlock_worker, interlock_api;
GRANT SELECT, INSERT ON decisions TO interlock_worker;
GRANT SELECT ON decisions TO interlock_api;
"""


def upgrade() -> None:
    """Create the first tables, their policies and their roles."""
    for statements in (_CONTROL_PLANE, _DATA_PLANE, _READ_MODELS, _TENANTS_OF_THE_TRANSACTION):
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
    """Drop everything; roles stay, as they belong to the cluster."""
    control = ("tenants", "documents", "channels", "releases")
    op.execute(f"DROP TABLE {', '.join((*_ISOLATED, *control, 'work_index'))}")
    op.execute("DROP FUNCTION interlock_refuse_change(), interlock_tenants()")
