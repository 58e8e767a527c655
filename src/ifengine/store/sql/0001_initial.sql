-- Append-only bodies, state by exception: only `exception`, `cursor`, `setting`, `guard` and `high`
-- rows are ever rewritten. Columns stand in the order of the records of store/base.py.

-- the store itself: store_id, clean (whether the last stop was orderly)
CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE data_key (
    key_id INTEGER PRIMARY KEY,
    kek_id TEXT NOT NULL,
    purpose TEXT NOT NULL,
    wrapped BLOB NOT NULL,
    created_us INTEGER NOT NULL
) STRICT;

CREATE TABLE name (
    number INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (kind, name)
) STRICT;

CREATE TABLE config_version (
    version INTEGER PRIMARY KEY,
    digest TEXT NOT NULL,
    at_us INTEGER NOT NULL
) STRICT;

CREATE TABLE inbox (
    inbox_id INTEGER PRIMARY KEY,
    received_us INTEGER NOT NULL,
    listener INTEGER NOT NULL,
    channel INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    size INTEGER NOT NULL,
    peer TEXT NOT NULL,
    reason TEXT NOT NULL,
    origin INTEGER NOT NULL,
    verdict INTEGER NOT NULL,
    sealed BLOB NOT NULL -- last: a scan that filters never touches its pages
) STRICT;

-- the latest content under a message id; holds the message that claimed it
CREATE TABLE guard (
    key BLOB PRIMARY KEY,
    inbox_id INTEGER NOT NULL,
    digest BLOB NOT NULL,
    contents INTEGER NOT NULL,
    at_us INTEGER NOT NULL,
    until_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE plan (
    inbox_id INTEGER NOT NULL,
    run INTEGER NOT NULL,
    channel INTEGER NOT NULL,
    config_version INTEGER NOT NULL,
    at_us INTEGER NOT NULL,
    fates BLOB NOT NULL, -- sqlite_rows.pack_fates
    PRIMARY KEY (inbox_id, run)
) STRICT, WITHOUT ROWID;

CREATE TABLE copy (copy_id INTEGER PRIMARY KEY, sealed BLOB NOT NULL) STRICT;

CREATE TABLE outbox (
    outbox INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    place INTEGER NOT NULL,
    inbox_id INTEGER NOT NULL,
    run INTEGER NOT NULL,
    channel INTEGER NOT NULL,
    destination INTEGER NOT NULL,
    copy_id INTEGER NOT NULL,
    ordered INTEGER NOT NULL,
    keys BLOB NOT NULL,
    at_us INTEGER NOT NULL,
    origin_seq INTEGER NOT NULL,
    config_version INTEGER NOT NULL,
    PRIMARY KEY (outbox, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE exception (
    outbox INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    state INTEGER NOT NULL,
    refusals INTEGER NOT NULL,
    doubts INTEGER NOT NULL,
    due_us INTEGER NOT NULL,
    since_us INTEGER NOT NULL,
    stage TEXT NOT NULL,
    step TEXT NOT NULL,
    reason TEXT NOT NULL,
    code TEXT NOT NULL,
    detail BLOB NOT NULL,
    config_version INTEGER NOT NULL,
    possible_duplicate INTEGER NOT NULL,
    PRIMARY KEY (outbox, seq)
) STRICT, WITHOUT ROWID;

-- at_us is part of the key: after a crash an attempt number may be used again
CREATE TABLE attempt (
    outbox INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    number INTEGER NOT NULL,
    at_us INTEGER NOT NULL,
    result TEXT NOT NULL,
    code TEXT NOT NULL,
    took_us INTEGER NOT NULL,
    detail BLOB NOT NULL,
    PRIMARY KEY (outbox, seq, number, at_us)
) STRICT, WITHOUT ROWID;

CREATE TABLE outcome (
    outbox INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    fate INTEGER NOT NULL,
    code TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    at_us INTEGER NOT NULL,
    took_us INTEGER NOT NULL,
    possible_duplicate INTEGER NOT NULL,
    superseded_by INTEGER NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (outbox, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE cursor (
    kind INTEGER NOT NULL,
    number INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (kind, number)
) STRICT, WITHOUT ROWID;

-- blind index; both ways, so that a purge finds what belongs to a message
CREATE TABLE tag (
    tag BLOB NOT NULL,
    inbox_id INTEGER NOT NULL,
    PRIMARY KEY (tag, inbox_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE tag_by_message (
    inbox_id INTEGER NOT NULL,
    tag BLOB NOT NULL,
    PRIMARY KEY (inbox_id, tag)
) STRICT, WITHOUT ROWID;

CREATE TABLE setting (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,
    at_us INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    object TEXT NOT NULL,
    inbox_id INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    detail BLOB NOT NULL,
    previous BLOB NOT NULL,
    digest BLOB NOT NULL
) STRICT;

CREATE INDEX audit_of_message ON audit (inbox_id) WHERE inbox_id <> 0;

-- the highest number a purge has removed, so that none is given twice: a number below a cursor
-- would never be processed. kind: see sqlite_rows.High; number: the outbox, else 0
CREATE TABLE high (
    kind INTEGER NOT NULL,
    number INTEGER NOT NULL,
    value INTEGER NOT NULL,
    PRIMARY KEY (kind, number)
) STRICT, WITHOUT ROWID;
