-- Surveys that staff send to a list. Rows are there while the list is looked at or sent; what was decided about each customer
-- stays with the invitations.
CREATE TABLE batches (
    id TEXT PRIMARY KEY,
    flow_id TEXT NOT NULL,
    channel TEXT NOT NULL,
    note TEXT NOT NULL,
    file_id TEXT NOT NULL,
    requested_by TEXT NOT NULL,
    workspace TEXT NOT NULL,
    lang TEXT NOT NULL,
    state TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    message_ref TEXT NOT NULL
);
CREATE TABLE batch_rows (
    batch_id TEXT NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
    line BIGINT NOT NULL,
    customer_id TEXT NOT NULL,
    outcome TEXT NOT NULL,
    PRIMARY KEY (batch_id, line)
) WITHOUT ROWID;
CREATE INDEX batch_rows_customer ON batch_rows (customer_id) WHERE customer_id <> '';
