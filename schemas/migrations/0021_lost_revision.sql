-- The item's newest revision that a writer knew when it found the event removed: newer ones may come before it is told.

ALTER TABLE lost_event
    ADD COLUMN revision bigint;               -- NULL: found by a program that did not say
