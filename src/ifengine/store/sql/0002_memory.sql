-- What steps remember, messages that wait, several deliveries of one message to one destination,
-- and the files of each configuration. `state` and `parked` rows are replaced and removed.

ALTER TABLE outbox ADD COLUMN part INTEGER NOT NULL DEFAULT 0;

CREATE TABLE state (
    space INTEGER NOT NULL,
    key BLOB NOT NULL,
    inbox_id INTEGER NOT NULL,
    at_us INTEGER NOT NULL,
    until_us INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (space, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX state_that_ends ON state (until_us) WHERE until_us <> 0;

CREATE TABLE parked (
    channel INTEGER NOT NULL,
    inbox_id INTEGER NOT NULL,
    since_us INTEGER NOT NULL,
    until_us INTEGER NOT NULL,
    keys BLOB NOT NULL,
    reason TEXT NOT NULL,
    step TEXT NOT NULL,
    detail BLOB NOT NULL,
    config_version INTEGER NOT NULL,
    PRIMARY KEY (channel, inbox_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX parked_by_message ON parked (inbox_id);

CREATE TABLE config_content (version INTEGER PRIMARY KEY, sealed BLOB NOT NULL) STRICT;
