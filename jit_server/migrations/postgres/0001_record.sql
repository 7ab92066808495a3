-- The record. Nothing in it is ever changed: the state of the servers is the replay of `event`.

CREATE TABLE event (
    seq   BIGINT PRIMARY KEY,  -- place in the whole record, which `host_event` shares
    at    TEXT NOT NULL,       -- RFC 3339, UTC
    actor TEXT NOT NULL,
    body  TEXT NOT NULL        -- JSON, see event.rs
);

CREATE TABLE host_event (
    seq      BIGINT PRIMARY KEY,  -- place in the whole record
    host_id  TEXT   NOT NULL,
    host     TEXT   NOT NULL,     -- the host's name when this came
    host_seq BIGINT NOT NULL,     -- place in the host's own chain
    head     TEXT   NOT NULL,     -- SHA-256 of the line: what the next one names as `prev`
    line     TEXT   NOT NULL,     -- as the host wrote it
    -- Of lines about sessions and about what was left behind, what the line says: it is looked for by these.
    kind     TEXT,
    grant_id TEXT,
    session  TEXT,
    UNIQUE (host_id, host_seq)
);

CREATE INDEX host_event_of_grant ON host_event (host, grant_id, seq) WHERE grant_id IS NOT NULL;
CREATE INDEX host_event_session ON host_event (host, session, seq) WHERE session IS NOT NULL;

-- The last signature of each host over its chain, up to host_seq.
CREATE TABLE checkpoint (
    host_id  TEXT   NOT NULL,
    host_seq BIGINT NOT NULL,
    document TEXT   NOT NULL,
    PRIMARY KEY (host_id, host_seq)
);

CREATE TABLE bundle_revision (
    host_id  TEXT   PRIMARY KEY,
    revision BIGINT NOT NULL,
    write_no BIGINT NOT NULL      -- the write that it came with, by which others find what is new
);

-- How far the record has come. Whoever writes raises it in the same transaction, and only from what it knows: of two who would write
-- after the same place one finds another number here and writes nothing.
CREATE TABLE head (
    one      BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (one),
    last_seq BIGINT  NOT NULL,
    writes   BIGINT  NOT NULL
);
INSERT INTO head (last_seq, writes) VALUES (0, 0);

-- Whose turn it is to write: the server that has locked the row.
CREATE TABLE turn (
    one BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (one)
);
INSERT INTO turn DEFAULT VALUES;

-- The key that signed first. Later ones are in the record.
CREATE TABLE first_key (
    one        BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (one),
    public_key TEXT    NOT NULL
);

-- That hosts which may fall silent were heard, by any server: a number that rises. Not part of the record.
CREATE TABLE heard (
    host_id TEXT   PRIMARY KEY,
    beats   BIGINT NOT NULL
);

CREATE FUNCTION record_is_append_only() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'the record is append-only'; END $$;
CREATE FUNCTION never_falls() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'this number never falls'; END $$;

CREATE TRIGGER event_is_never_changed BEFORE UPDATE OR DELETE ON event
    FOR EACH ROW EXECUTE FUNCTION record_is_append_only();
CREATE TRIGGER event_is_never_emptied BEFORE TRUNCATE ON event
    FOR EACH STATEMENT EXECUTE FUNCTION record_is_append_only();
CREATE TRIGGER host_event_is_never_changed BEFORE UPDATE OR DELETE ON host_event
    FOR EACH ROW EXECUTE FUNCTION record_is_append_only();
CREATE TRIGGER host_event_is_never_emptied BEFORE TRUNCATE ON host_event
    FOR EACH STATEMENT EXECUTE FUNCTION record_is_append_only();
CREATE TRIGGER first_key_is_never_changed BEFORE UPDATE OR DELETE ON first_key
    FOR EACH ROW EXECUTE FUNCTION record_is_append_only();
CREATE TRIGGER revision_never_falls BEFORE UPDATE ON bundle_revision
    FOR EACH ROW WHEN (NEW.revision <= OLD.revision) EXECUTE FUNCTION never_falls();
CREATE TRIGGER head_never_falls BEFORE UPDATE ON head
    FOR EACH ROW WHEN (NEW.last_seq < OLD.last_seq OR NEW.writes <= OLD.writes) EXECUTE FUNCTION never_falls();
