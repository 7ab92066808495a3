-- Which write it was, drawn at random by the database: of two copies that went on from the same place, each with as many writes, one lacks
-- what was acknowledged by the other. Writes of before have no row here.
CREATE TABLE written (
    write_no BIGINT PRIMARY KEY,
    id       TEXT   NOT NULL      -- 16 bytes in hex digits
);

ALTER TABLE head ADD COLUMN write_id TEXT;

-- By the database, so that servers of a version before do it as well.
CREATE FUNCTION names_the_write() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN
        NEW.write_id := replace(gen_random_uuid()::TEXT, '-', '');
        INSERT INTO written (write_no, id) VALUES (NEW.writes, NEW.write_id);
        RETURN NEW;
    END $$;

CREATE TRIGGER head_names_the_write BEFORE UPDATE ON head
    FOR EACH ROW EXECUTE FUNCTION names_the_write();
CREATE TRIGGER written_is_never_changed BEFORE UPDATE OR DELETE ON written
    FOR EACH ROW EXECUTE FUNCTION record_is_append_only();
CREATE TRIGGER written_is_never_emptied BEFORE TRUNCATE ON written
    FOR EACH STATEMENT EXECUTE FUNCTION record_is_append_only();
