-- Series: a master is written first, then the occurrences that deviate from it, one by one and resumable.

ALTER TABLE entry
    ADD COLUMN master_hash     bytea,  -- the content whose master stands while its exceptions are still due
    ADD COLUMN standing_series jsonb;  -- what may deviate in the calendar, and how far the exceptions are; NULL: nothing
