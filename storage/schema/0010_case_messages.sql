-- which message of the customer's an entry of a case's history shows: a message that is taken back is found by it
ALTER TABLE case_events ADD COLUMN message_id TEXT NOT NULL DEFAULT '';
