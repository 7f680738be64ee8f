-- Column types both databases know: TEXT (ids, codes, JSON), BIGINT (milliseconds UTC, counts, 0/1). No autoincrement, no
-- database clock. "" means "none" in ids and codes, so that unique keys and comparisons need no NULL logic; an instant
-- that has not come is NULL. WITHOUT ROWID (rows stored in the order of the primary key, one tree instead of two) is
-- SQLite's; the engine of another database leaves the two words out.

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- ------------------------------------------------------------------------------------------------------ what came in

CREATE TABLE inbound (
    channel TEXT NOT NULL,
    workspace TEXT NOT NULL,
    event_id TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (channel, workspace, event_id)
) WITHOUT ROWID;

CREATE TABLE events (
    id TEXT PRIMARY KEY,
    type TEXT NOT NULL,
    occurred_ms BIGINT NOT NULL,
    received_ms BIGINT NOT NULL,
    customer_id TEXT NOT NULL,
    data TEXT NOT NULL,
    imported BIGINT NOT NULL,
    -- data.order and data.ticket, taken out so that finding them needs no JSON functions, which differ between databases
    order_id TEXT NOT NULL,
    ticket_id TEXT NOT NULL
);
CREATE INDEX events_customer ON events (customer_id, occurred_ms);
CREATE INDEX events_occurred ON events (occurred_ms);
CREATE INDEX events_order ON events (order_id) WHERE order_id <> '';

-- -------------------------------------------------------------------------------------------------------- who is who

CREATE TABLE customers (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    language TEXT NOT NULL,
    created_ms BIGINT NOT NULL
) WITHOUT ROWID;

CREATE TABLE match_keys (
    kind TEXT NOT NULL,
    key_hash TEXT NOT NULL,
    customer_id TEXT NOT NULL,
    source TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (kind, key_hash)
) WITHOUT ROWID;
CREATE INDEX match_keys_customer ON match_keys (customer_id);

CREATE TABLE addresses (
    channel TEXT NOT NULL,
    workspace TEXT NOT NULL,
    external_id TEXT NOT NULL,
    customer_id TEXT NOT NULL,
    source TEXT NOT NULL,
    certainty TEXT NOT NULL,
    language TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    blocked_ms BIGINT,
    PRIMARY KEY (channel, workspace, external_id)
) WITHOUT ROWID;
CREATE INDEX addresses_customer ON addresses (customer_id) WHERE customer_id <> '';

CREATE TABLE consents (
    customer_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    given BIGINT NOT NULL,
    source TEXT NOT NULL,
    PRIMARY KEY (customer_id, kind, at_ms)
) WITHOUT ROWID;

-- people who were erased: a keyed hash of the customer's id (the key is in meta), so that a late webhook revives nobody
CREATE TABLE tombstones (
    pseudonym TEXT PRIMARY KEY,
    erased_ms BIGINT NOT NULL
) WITHOUT ROWID;

-- ------------------------------------------------------------------------------------------- invitations and sessions

CREATE TABLE invitations (
    id TEXT PRIMARY KEY,
    trigger_id TEXT NOT NULL,
    flow_id TEXT NOT NULL,
    survey_kind TEXT NOT NULL,
    touchpoint TEXT NOT NULL,
    customer_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    channel TEXT NOT NULL,
    segment TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    planned_ms BIGINT NOT NULL,
    due_ms BIGINT NOT NULL,
    expires_ms BIGINT,
    sent_ms BIGINT,
    session_id TEXT NOT NULL,
    note TEXT NOT NULL,
    requested_by TEXT NOT NULL
);
CREATE INDEX invitations_customer ON invitations (customer_id, planned_ms);
CREATE INDEX invitations_sent ON invitations (sent_ms) WHERE sent_ms IS NOT NULL;
CREATE INDEX invitations_skipped ON invitations (planned_ms) WHERE state = 'skipped';

CREATE TABLE revisions (
    revision TEXT PRIMARY KEY,
    flow_id TEXT NOT NULL,
    definition TEXT NOT NULL,
    created_ms BIGINT NOT NULL
);

CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    invitation_id TEXT NOT NULL,
    flow_id TEXT NOT NULL,
    revision TEXT NOT NULL,
    survey_kind TEXT NOT NULL,
    touchpoint TEXT NOT NULL,
    segment TEXT NOT NULL,
    customer_id TEXT NOT NULL,
    channel TEXT NOT NULL,
    workspace TEXT NOT NULL,
    external_id TEXT NOT NULL,
    lang TEXT NOT NULL,
    state TEXT NOT NULL,
    status TEXT NOT NULL,
    version BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    started_ms BIGINT,
    ended_ms BIGINT,
    expires_ms BIGINT
);
CREATE INDEX sessions_customer ON sessions (customer_id, created_ms);
CREATE INDEX sessions_address ON sessions (channel, workspace, external_id, created_ms, id);
-- two workers that start the same invitation: one of them meets this
CREATE UNIQUE INDEX sessions_invitation ON sessions (invitation_id) WHERE status = 'open' AND invitation_id <> '';

-- where a question was shown, as the platform names it, so that the message can be updated later
CREATE TABLE prompts (
    session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    question TEXT NOT NULL,
    ref TEXT NOT NULL,
    PRIMARY KEY (session_id, question)
) WITHOUT ROWID;

-- ----------------------------------------------------------------------------------------------------------- answers

-- The answers that count, and only those: that one answer counts per (session, question) is the primary key. Stored in
-- the order of session and question: the answers of a conversation lie together, and ids of sessions grow with time, so a
-- busy hour works on few pages however many customers are stored.
CREATE TABLE answers (
    session_id TEXT NOT NULL,
    question TEXT NOT NULL,
    id TEXT NOT NULL,
    customer_id TEXT NOT NULL,
    instrument TEXT NOT NULL,
    wording_id TEXT NOT NULL,
    label_set TEXT NOT NULL,
    value TEXT NOT NULL,
    missing TEXT NOT NULL,
    countable BIGINT NOT NULL,
    lang TEXT NOT NULL,
    channel TEXT NOT NULL,
    survey_kind TEXT NOT NULL,
    touchpoint TEXT NOT NULL,
    segment TEXT NOT NULL,
    flow_id TEXT NOT NULL,
    revision TEXT NOT NULL,
    shown_ms BIGINT NOT NULL,
    answered_ms BIGINT NOT NULL,
    week TEXT NOT NULL,
    late BIGINT NOT NULL,
    message_ids TEXT NOT NULL,
    quote_ok BIGINT NOT NULL,
    PRIMARY KEY (session_id, question)
) WITHOUT ROWID;
-- finds a customer's latest answer of a week; leads with the customer so that it serves answers_of and erasure, too
CREATE INDEX answers_customer ON answers (customer_id, instrument, week);
CREATE INDEX answers_answered ON answers (answered_ms);

-- their history: answers that were corrected, left the path or were taken back
CREATE TABLE former_answers (
    session_id TEXT NOT NULL,
    question TEXT NOT NULL,
    id TEXT NOT NULL,
    customer_id TEXT NOT NULL,
    instrument TEXT NOT NULL,
    wording_id TEXT NOT NULL,
    label_set TEXT NOT NULL,
    value TEXT NOT NULL,
    missing TEXT NOT NULL,
    countable BIGINT NOT NULL,
    lang TEXT NOT NULL,
    channel TEXT NOT NULL,
    survey_kind TEXT NOT NULL,
    touchpoint TEXT NOT NULL,
    segment TEXT NOT NULL,
    flow_id TEXT NOT NULL,
    revision TEXT NOT NULL,
    shown_ms BIGINT NOT NULL,
    answered_ms BIGINT NOT NULL,
    week TEXT NOT NULL,
    late BIGINT NOT NULL,
    message_ids TEXT NOT NULL,
    quote_ok BIGINT NOT NULL,
    replaced_ms BIGINT NOT NULL,
    PRIMARY KEY (session_id, question, id)
) WITHOUT ROWID;
CREATE INDEX former_answers_customer ON former_answers (customer_id);

CREATE TABLE rollup (
    week TEXT NOT NULL,
    instrument TEXT NOT NULL,
    value TEXT NOT NULL,
    missing TEXT NOT NULL,
    survey_kind TEXT NOT NULL,
    touchpoint TEXT NOT NULL,
    segment TEXT NOT NULL,
    channel TEXT NOT NULL,
    lang TEXT NOT NULL,
    wording_id TEXT NOT NULL,
    label_set TEXT NOT NULL,
    answers BIGINT NOT NULL,
    customers BIGINT NOT NULL,
    PRIMARY KEY (week, instrument, value, missing, survey_kind, touchpoint, segment, channel, lang, wording_id, label_set)
) WITHOUT ROWID;

-- -------------------------------------------------------------------------------------------------------------- jobs

CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    due_ms BIGINT NOT NULL,
    payload TEXT NOT NULL,
    lane TEXT NOT NULL,
    key TEXT NOT NULL,
    channel TEXT NOT NULL,
    session_id TEXT NOT NULL,
    customer_id TEXT NOT NULL,
    asks TEXT NOT NULL,
    updates TEXT NOT NULL,
    expires_ms BIGINT,
    created_ms BIGINT NOT NULL,
    state TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    lease_owner TEXT NOT NULL,
    lease_until_ms BIGINT,
    fence BIGINT NOT NULL,
    error TEXT NOT NULL,
    ref TEXT NOT NULL,
    -- when it may be claimed: due_ms while ready, lease_until_ms while leased, NULL otherwise
    claim_ms BIGINT,
    -- NULL while it is ready, leased or held; until then it keeps its lane
    finished_ms BIGINT
);
CREATE UNIQUE INDEX jobs_key ON jobs (key) WHERE key <> '';
-- The indexes the worker lives on hold unfinished jobs only: they stay small whatever the history.
CREATE INDEX jobs_claim ON jobs (claim_ms) WHERE claim_ms IS NOT NULL;
CREATE INDEX jobs_lane ON jobs (lane, id) WHERE finished_ms IS NULL;
CREATE INDEX jobs_finished ON jobs (kind, state) WHERE finished_ms IS NOT NULL;
CREATE INDEX jobs_session ON jobs (session_id) WHERE session_id <> '';
-- A customer's unfinished jobs, and those that belong to no session; finished ones of a session are found through it. An
-- index of all jobs by customer would touch one page somewhere in the file for every message sent.
CREATE INDEX jobs_customer ON jobs (customer_id) WHERE finished_ms IS NULL AND customer_id <> '';
CREATE INDEX jobs_loose ON jobs (customer_id) WHERE session_id = '' AND customer_id <> '';

-- ------------------------------------------------------------------------------------------- cases, digests, the audit

CREATE TABLE cases (
    id TEXT PRIMARY KEY,
    customer_id TEXT NOT NULL,
    session_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    words TEXT NOT NULL,
    state TEXT NOT NULL,
    contact TEXT NOT NULL,
    opened_ms BIGINT NOT NULL,
    due_ms BIGINT,
    outcome TEXT NOT NULL,
    settled_ms BIGINT,
    card_ref TEXT NOT NULL
);
CREATE UNIQUE INDEX cases_open ON cases (customer_id) WHERE state <> 'settled' AND customer_id <> '';
CREATE INDEX cases_customer ON cases (customer_id);
CREATE INDEX cases_session ON cases (session_id);
CREATE INDEX cases_opened ON cases (opened_ms);

CREATE TABLE digests (
    id TEXT NOT NULL,
    period TEXT NOT NULL,
    state TEXT NOT NULL,
    content TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    posted_ms BIGINT,
    ref TEXT NOT NULL,
    PRIMARY KEY (id, period)
);

CREATE TABLE audit (
    id TEXT PRIMARY KEY,
    at_ms BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE INDEX audit_at ON audit (at_ms);
CREATE INDEX audit_subject ON audit (subject);
