-- The record. Nothing in it is ever changed: the state of the server is the replay of `event`.

CREATE TABLE event (
    seq   INTEGER PRIMARY KEY,  -- place in the whole record, which `host_event` shares
    at    TEXT NOT NULL,        -- RFC 3339, UTC
    actor TEXT NOT NULL,
    body  TEXT NOT NULL         -- JSON, see event.rs
) STRICT;

CREATE TABLE host_event (
    seq      INTEGER PRIMARY KEY,  -- place in the whole record
    host_id  TEXT    NOT NULL,
    host     TEXT    NOT NULL,     -- the host's name when this came
    host_seq INTEGER NOT NULL,     -- place in the host's own chain
    head     TEXT    NOT NULL,     -- SHA-256 of the line: what the next one names as `prev`
    line     TEXT    NOT NULL,     -- as the host wrote it
    UNIQUE (host_id, host_seq)
) STRICT;

-- The last signature of each host over its chain, up to host_seq.
CREATE TABLE checkpoint (
    host_id  TEXT    NOT NULL,
    host_seq INTEGER NOT NULL,
    document TEXT    NOT NULL,
    PRIMARY KEY (host_id, host_seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE bundle_revision (
    host_id  TEXT PRIMARY KEY,
    revision INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER event_is_never_changed BEFORE UPDATE ON event
BEGIN SELECT RAISE(ABORT, 'the record is append-only'); END;
CREATE TRIGGER event_is_never_deleted BEFORE DELETE ON event
BEGIN SELECT RAISE(ABORT, 'the record is append-only'); END;
CREATE TRIGGER host_event_is_never_changed BEFORE UPDATE ON host_event
BEGIN SELECT RAISE(ABORT, 'the record is append-only'); END;
CREATE TRIGGER host_event_is_never_deleted BEFORE DELETE ON host_event
BEGIN SELECT RAISE(ABORT, 'the record is append-only'); END;
CREATE TRIGGER revision_never_falls BEFORE UPDATE ON bundle_revision WHEN NEW.revision <= OLD.revision
BEGIN SELECT RAISE(ABORT, 'a revision never falls'); END;
