-- What no other database is called, so that a machine knows of which one it noted how far it had come. A copy of it has the same.
CREATE TABLE database_id (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    id  TEXT    NOT NULL             -- 16 bytes in hex digits
);
INSERT INTO database_id (one, id) VALUES (1, lower(hex(randomblob(16))));
