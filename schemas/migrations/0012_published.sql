-- When a setting was switched on, as its publisher tells; and the owners of items from before they were kept.

ALTER TABLE setting
    ADD COLUMN on_since timestamptz;          -- when the message was published since which it is on; NULL: off, or not known

-- Without it a re-plan of an owner's account passes over these items.
UPDATE item SET owner = body ->> 'owner' WHERE owner IS NULL AND body ->> 'owner' IS NOT NULL;
