-- What people, and triage by itself, did. seq keeps entries of one instant in the order in which they were saved.
CREATE TABLE journal (
    seq      INTEGER PRIMARY KEY,
    tenant   TEXT NOT NULL,
    id       TEXT NOT NULL,
    incident TEXT NOT NULL,
    at       INTEGER NOT NULL,
    body     BLOB NOT NULL,
    UNIQUE (tenant, id)
) STRICT;
CREATE INDEX journal_by_time ON journal (tenant, at);
CREATE INDEX journal_by_incident ON journal (tenant, incident, at);
