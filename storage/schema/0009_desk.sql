-- What staff decide about surveys: which ones pause, and why one was sent past the contact cap.
CREATE TABLE pauses (
    flow_id TEXT PRIMARY KEY,
    at_ms BIGINT NOT NULL,
    actor TEXT NOT NULL
) WITHOUT ROWID;

ALTER TABLE invitations ADD COLUMN override_reason TEXT NOT NULL DEFAULT '';
