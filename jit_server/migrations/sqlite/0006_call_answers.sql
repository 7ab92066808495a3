-- Answers to calls with an Idempotency-Key, for whoever repeats one within a day. Not part of the record: rows go when they are old.
CREATE TABLE call_answer (
    key    TEXT    PRIMARY KEY,  -- SHA-256 of the caller and his key
    seq    INTEGER NOT NULL,     -- the first event that the call made
    at     INTEGER NOT NULL,     -- milliseconds since 1970
    status INTEGER NOT NULL,
    body   TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX call_answer_at ON call_answer (at);
