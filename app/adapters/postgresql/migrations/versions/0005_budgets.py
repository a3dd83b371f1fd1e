"""Budgets: lines with a limit and what is taken of it, and the reservations that questions under way hold.

Every change lets the version before this one go on working beside the new one.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_BUDGETS = """
CREATE TABLE budget_lines (
    account_id text NOT NULL,
    unit text NOT NULL CHECK (unit IN ('tokens', 'nano_usd', 'calls', 'milliseconds')),
    tenant_id text NOT NULL,
    level text NOT NULL CHECK (level IN ('tenant', 'orchestration', 'run')),
    most bigint NOT NULL,
    reserved bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    spent bigint NOT NULL DEFAULT 0 CHECK (spent >= 0),
    presumed bigint NOT NULL DEFAULT 0 CHECK (presumed >= 0),
    began_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, unit)
) WITH (fillfactor = 50);
COMMENT ON COLUMN budget_lines.presumed IS
    'The worst case of questions whose cost nobody knows: their worker died, or the provider gave no answer.';
CREATE INDEX budget_lines_by_tenant ON budget_lines (tenant_id, level, began_at);
CREATE TABLE reservations (
    reservation_id text PRIMARY KEY,
    tenant_id text NOT NULL,
    step_id text NOT NULL,
    fence bigint NOT NULL,
    state text NOT NULL CHECK (state IN ('reserved', 'sending', 'presumed')),
    accounts text[] NOT NULL,
    units text[] NOT NULL,
    amounts bigint[] NOT NULL,
    reserved_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);
COMMENT ON TABLE reservations IS
    'Ids and numbers alone, and so without row-level security: the reconciler looks for those of ended leases.';
CREATE INDEX reservations_by_step ON reservations (step_id);
CREATE INDEX reservations_held ON reservations (reservation_id) WHERE state <> 'presumed';
"""

_ROLES = """
GRANT SELECT, INSERT, UPDATE ON budget_lines TO interlock_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON reservations TO interlock_worker;
GRANT SELECT ON budget_lines, reservations TO interlock_api;
GRANT SELECT, DELETE ON budget_lines, reservations TO interlock_retention;
"""


def upgrade() -> None:
    """Add the tables, and their policies and grants."""
    op.execute(_BUDGETS)
    op.execute("ALTER TABLE budget_lines ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE budget_lines FORCE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY budget_lines_of_the_tenant ON budget_lines"
        " USING (tenant_id = ANY ((SELECT interlock_tenants())::text[]))"
        " WITH CHECK (tenant_id = ANY ((SELECT interlock_tenants())::text[]))"
    )
    op.execute(_ROLES)


def downgrade() -> None:
    """Take them away."""
    op.execute("DROP TABLE budget_lines, reservations")
