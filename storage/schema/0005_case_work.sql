-- How a case was looked after: who has it, by when, what was said. `claimed_ms` and the other instants are NULL until they
-- come; `replied_ms` is the first reply that a platform accepted (or a call that reached the customer).
ALTER TABLE cases ADD COLUMN assignee TEXT NOT NULL DEFAULT '';
ALTER TABLE cases ADD COLUMN assignee_name TEXT NOT NULL DEFAULT '';
ALTER TABLE cases ADD COLUMN claimed_ms BIGINT;
ALTER TABLE cases ADD COLUMN snoozed_ms BIGINT;
ALTER TABLE cases ADD COLUMN replied_ms BIGINT;
ALTER TABLE cases ADD COLUMN overdue_ms BIGINT;
ALTER TABLE cases ADD COLUMN apologised_ms BIGINT;
ALTER TABLE cases ADD COLUMN asked_ms BIGINT;
ALTER TABLE cases ADD COLUMN after TEXT NOT NULL DEFAULT '';
-- the customer's latest single-use reply token, while a case is open, and when it was given out
ALTER TABLE cases ADD COLUMN reply_token TEXT NOT NULL DEFAULT '';
ALTER TABLE cases ADD COLUMN reply_token_ms BIGINT NOT NULL DEFAULT 0;

-- what happened to a case, in order: who, what, in which words; `job_id` is the message it sent to the customer, `ref` where
-- it stands in the card's thread
CREATE TABLE case_events (
    id TEXT PRIMARY KEY,
    case_id TEXT NOT NULL REFERENCES cases (id) ON DELETE CASCADE,
    at_ms BIGINT NOT NULL,
    actor TEXT NOT NULL,
    actor_name TEXT NOT NULL,
    kind TEXT NOT NULL,
    words TEXT NOT NULL,
    job_id TEXT NOT NULL,
    ref TEXT NOT NULL
);
CREATE INDEX case_events_case ON case_events (case_id, id);
