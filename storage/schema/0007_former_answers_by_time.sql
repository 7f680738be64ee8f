-- former answers by the time they were given: an export with history reads both tables in one order, page by page
CREATE INDEX former_answers_answered ON former_answers (answered_ms);
