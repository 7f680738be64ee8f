-- Nearly every job ends "done" and is never looked for by that: an entry for each was written for nobody.
DROP INDEX jobs_finished;
CREATE INDEX jobs_ended ON jobs (kind, state) WHERE finished_ms IS NOT NULL AND state <> 'done';

-- The latest answer of a customer's week stands at the end of its entries: one is read, not all.
DROP INDEX answers_customer;
CREATE INDEX answers_customer ON answers (customer_id, instrument, week, answered_ms);
