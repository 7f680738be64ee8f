-- Closed weeks as columns, made of rows by whoever looks back on many of them and dropped when one of these rows goes. Bytes
-- are a BYTEA for one database and a blob for the other, which takes any name of a type.
CREATE TABLE week_columns (
    subject TEXT NOT NULL,
    start_ms BIGINT NOT NULL,
    end_ms BIGINT NOT NULL,
    -- who is at it; '' once the columns are there
    builder TEXT NOT NULL,
    form TEXT NOT NULL,
    -- rows of the week when the columns were made of them
    stored BIGINT NOT NULL,
    columns BYTEA NOT NULL,
    PRIMARY KEY (subject, start_ms)
);

-- contracts are looked through however long ago they began, without passing all other events
CREATE INDEX events_contract ON events (occurred_ms)
WHERE type IN ('contract_start', 'contract_renew', 'contract_cancel');
