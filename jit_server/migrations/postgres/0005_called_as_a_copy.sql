-- A copy is called as what it is a copy of, so that whoever goes over to it finds how far the record had come. Only before anything is kept.
CREATE FUNCTION only_before_the_record() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN
        IF EXISTS (SELECT 1 FROM head WHERE last_seq > 0 OR writes > 0) THEN
            RAISE EXCEPTION 'the record has begun under this name';
        END IF;
        RETURN NEW;
    END $$;

DROP TRIGGER database_id_is_never_changed ON database_id;
CREATE TRIGGER database_id_is_changed_only_before_the_record BEFORE UPDATE ON database_id
    FOR EACH ROW EXECUTE FUNCTION only_before_the_record();
CREATE TRIGGER database_id_is_never_deleted BEFORE DELETE ON database_id
    FOR EACH ROW EXECUTE FUNCTION record_is_append_only();
