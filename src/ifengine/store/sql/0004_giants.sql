-- Bodies of giants, written in transactions of their own before the one that holds their message
-- (ADR 0035). The column of a message or a copy then holds what comes before the body.

-- whose body it is. kind: see store.base.GiantOf; number: inbox_id or copy_id
CREATE TABLE giant (
    giant INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    number INTEGER NOT NULL,
    UNIQUE (kind, number)
) STRICT;

-- pieces of no row in `giant` belong to a message that was never committed, or is purged. Not WITHOUT
-- ROWID: a search in such a table reads the bodies it passes
CREATE TABLE giant_piece (
    giant INTEGER NOT NULL,
    n INTEGER NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (giant, n)
) STRICT;
