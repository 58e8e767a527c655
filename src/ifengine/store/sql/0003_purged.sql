-- What was purged, counted with its end: the balance of everything ever received stays whole.
-- destination 0: messages; else what was owed to that destination. fate: store.base.Fate

CREATE TABLE purged (
    channel INTEGER NOT NULL,
    destination INTEGER NOT NULL,
    fate INTEGER NOT NULL,
    units INTEGER NOT NULL,
    PRIMARY KEY (channel, destination, fate)
) STRICT, WITHOUT ROWID;
