-- A/B tests: what was registered, and which arm an invitation belongs to. "" is no experiment.
CREATE TABLE experiments (
    id TEXT PRIMARY KEY,
    definition TEXT NOT NULL,
    registered_ms BIGINT NOT NULL
) WITHOUT ROWID;

ALTER TABLE invitations ADD COLUMN experiment TEXT NOT NULL DEFAULT '';
ALTER TABLE invitations ADD COLUMN arm TEXT NOT NULL DEFAULT '';
CREATE INDEX invitations_experiment ON invitations (experiment, customer_id) WHERE experiment <> '';
