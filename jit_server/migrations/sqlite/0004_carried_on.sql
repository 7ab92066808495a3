-- As in 0003, with what one grant held open and another carried on.
DROP INDEX host_event_sessions_of_grant;
DROP INDEX host_event_session;
CREATE INDEX host_event_sessions_of_grant ON host_event (host, json_extract(line, '$.event.grant'))
    WHERE json_extract(line, '$.event.kind') IN ('session.opened', 'session.carried_on', 'session.ended', 'session.closed',
        'elevation.opened', 'elevation.carried_on', 'elevation.ended', 'elevation.closed',
        'job.opened', 'job.carried_on', 'job.ended', 'job.closed');
CREATE INDEX host_event_session ON host_event (host, json_extract(line, '$.event.id'))
    WHERE json_extract(line, '$.event.kind') IN ('session.opened', 'session.carried_on', 'session.ended', 'session.closed',
        'elevation.opened', 'elevation.carried_on', 'elevation.ended', 'elevation.closed',
        'job.opened', 'job.carried_on', 'job.ended', 'job.closed');
