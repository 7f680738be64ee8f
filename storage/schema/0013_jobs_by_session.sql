-- A customer's unfinished jobs are found by their sessions: each message wrote an entry here and took it back.
DROP INDEX jobs_customer;
