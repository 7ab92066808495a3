-- What no other database is called, so that a machine knows of which one it noted how far it had come. A copy of it has the same.
CREATE TABLE database_id (
    one BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (one),
    id  TEXT    NOT NULL             -- 16 bytes in hex digits
);
INSERT INTO database_id (id) VALUES (replace(gen_random_uuid()::TEXT, '-', ''));
CREATE TRIGGER database_id_is_never_changed BEFORE UPDATE OR DELETE ON database_id
    FOR EACH ROW EXECUTE FUNCTION record_is_append_only();
