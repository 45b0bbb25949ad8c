-- How far a re-plan is, for a gauge and for whoever waits for it.

ALTER TABLE replan
    ADD COLUMN total_items bigint,                     -- what the setting touched when the re-plan began; NULL: not yet begun
    ADD COLUMN done_items  bigint NOT NULL DEFAULT 0,
    ADD COLUMN begun_at    timestamptz;
