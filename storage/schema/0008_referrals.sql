-- Customers who were offered to refer somebody, and the code under which they do; code is '' until they ask for it.
CREATE TABLE referrers (
    customer_id TEXT PRIMARY KEY,
    code TEXT NOT NULL,
    offered_ms BIGINT NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX referrers_code ON referrers (code) WHERE code <> '';
