-- The beginnings and ends of logins, elevations and jobs, by the grant that held them and by the host's name for them.
CREATE INDEX host_event_sessions_of_grant ON host_event (host, json_extract(line, '$.event.grant'))
    WHERE json_extract(line, '$.event.kind') IN ('session.opened', 'session.ended', 'session.closed',
        'elevation.opened', 'elevation.ended', 'elevation.closed', 'job.opened', 'job.ended', 'job.closed');
CREATE INDEX host_event_session ON host_event (host, json_extract(line, '$.event.id'))
    WHERE json_extract(line, '$.event.kind') IN ('session.opened', 'session.ended', 'session.closed',
        'elevation.opened', 'elevation.ended', 'elevation.closed', 'job.opened', 'job.ended', 'job.closed');
