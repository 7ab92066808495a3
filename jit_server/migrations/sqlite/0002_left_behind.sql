-- What elevations left behind, by the grant that held them: few lines among very many.
CREATE INDEX host_event_left_behind ON host_event (host, json_extract(line, '$.event.grant'))
    WHERE json_extract(line, '$.event.kind') = 'elevation.residue';
