-- A survey asked in several sessions, days apart, is one wave: its sessions, their invitations and their answers carry the
-- id of its first session; "" in surveys of one session.
ALTER TABLE invitations ADD COLUMN wave_id TEXT NOT NULL DEFAULT '';
-- which session of its wave: 1, 2, 3
ALTER TABLE invitations ADD COLUMN part BIGINT NOT NULL DEFAULT 1;
ALTER TABLE sessions ADD COLUMN wave_id TEXT NOT NULL DEFAULT '';
ALTER TABLE answers ADD COLUMN wave_id TEXT NOT NULL DEFAULT '';
ALTER TABLE former_answers ADD COLUMN wave_id TEXT NOT NULL DEFAULT '';
