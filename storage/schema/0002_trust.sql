-- An enquiry's replies need not name the customer: they are found by their ticket. Promises are looked through by the
-- time they were made, however long ago that was.
CREATE INDEX events_ticket ON events (ticket_id) WHERE ticket_id <> '';
CREATE INDEX events_promise ON events (occurred_ms) WHERE type = 'promise';

-- trust balances that fell, each once; case_id is '' when nobody had to be told
CREATE TABLE trust_drops (
    customer_id TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    high DOUBLE PRECISION NOT NULL,
    balance DOUBLE PRECISION NOT NULL,
    case_id TEXT NOT NULL,
    PRIMARY KEY (customer_id, at_ms)
) WITHOUT ROWID;
CREATE INDEX trust_drops_at ON trust_drops (at_ms);
