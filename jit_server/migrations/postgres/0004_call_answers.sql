-- Answers to calls with an Idempotency-Key, for whoever repeats one within a day. Not part of the record: rows go when they are old.
CREATE TABLE call_answer (
    key    TEXT   PRIMARY KEY,  -- SHA-256 of the caller and his key
    seq    BIGINT NOT NULL,     -- the first event that the call made
    at     BIGINT NOT NULL,     -- milliseconds since 1970
    status BIGINT NOT NULL,
    body   TEXT   NOT NULL
);
CREATE INDEX call_answer_at ON call_answer (at);
