"""What is kept of circuit breakers: what operators ordered, and how breakers changed by themselves.

Where they stand is Redis's, which may forget it. Two tables, because two roles write: workers record what a breaker
did, and only people, through the API's role, order one. Neither can write what the other does, and nobody edits.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_ORDERS = """
CREATE TABLE breaker_orders (
    order_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    provider text NOT NULL,
    model text NOT NULL,
    state text NOT NULL CHECK (state IN ('forced_open', 'forced_closed', 'released')),
    actor text NOT NULL CHECK (actor <> ''),
    reason text NOT NULL CHECK (reason <> ''),
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE breaker_orders IS
    'Append-only: who forced a breaker, or gave it back to itself. The newest row of a (provider, model) counts.';
CREATE INDEX breaker_orders_newest ON breaker_orders (provider, model, order_id DESC);
CREATE INDEX breaker_orders_by_age ON breaker_orders (at);
"""

# The id is made with the change: a write whose answer was lost can be repeated.
_CHANGES = """
CREATE TABLE breaker_changes (
    change_id text PRIMARY KEY,
    provider text NOT NULL,
    model text NOT NULL,
    from_state text NOT NULL CHECK (from_state IN ('closed', 'open', 'half-open')),
    to_state text NOT NULL CHECK (to_state IN ('closed', 'open', 'half-open')),
    reason text NOT NULL,
    at timestamptz NOT NULL
);
COMMENT ON TABLE breaker_changes IS
    'Append-only: how breakers moved by themselves, each time one row, at the time of the Redis that they are in.';
CREATE INDEX breaker_changes_newest ON breaker_changes (provider, model, at DESC);
CREATE INDEX breaker_changes_by_age ON breaker_changes (at);
"""

_ROLES = """
GRANT SELECT ON breaker_orders TO interlock_worker;
GRANT SELECT, INSERT ON breaker_orders TO interlock_api;
GRANT SELECT, INSERT ON breaker_changes TO interlock_worker;
GRANT SELECT ON breaker_changes TO interlock_api;
"""


def upgrade() -> None:
    """Add both tables."""
    for statements in (_ORDERS, _CHANGES, _ROLES):
        op.execute(statements)


def downgrade() -> None:
    """Take them away."""
    op.execute("DROP TABLE breaker_orders, breaker_changes")
