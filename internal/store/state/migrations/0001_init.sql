-- Times are nanoseconds since the Unix epoch; body columns hold the JSON of internal/model.
CREATE TABLE change (
    tenant TEXT NOT NULL,
    id     TEXT NOT NULL,
    at     INTEGER NOT NULL,
    body   BLOB NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX change_by_time ON change (tenant, at, id);

CREATE TABLE rule (
    tenant TEXT NOT NULL,
    name   TEXT NOT NULL,
    body   BLOB NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE alarm (
    tenant TEXT NOT NULL,
    id     TEXT NOT NULL,
    body   BLOB NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;

-- seq keeps transitions of one instant in the order in which they were saved.
CREATE TABLE transition (
    seq    INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    id     TEXT NOT NULL,
    alarm  TEXT NOT NULL,
    at     INTEGER NOT NULL,
    body   BLOB NOT NULL,
    UNIQUE (tenant, id)
) STRICT;
CREATE INDEX transition_by_time ON transition (tenant, at);
CREATE INDEX transition_by_alarm ON transition (tenant, alarm, at);

CREATE TABLE counter (
    tenant TEXT NOT NULL,
    name   TEXT NOT NULL,
    value  INTEGER NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE incident (
    tenant    TEXT NOT NULL,
    id        TEXT NOT NULL,
    status    TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    body      BLOB NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX incident_by_time ON incident (tenant, opened_at);
CREATE INDEX incident_by_status ON incident (tenant, status, opened_at);

-- answers are compressed by zstd.
CREATE TABLE verdict (
    tenant   TEXT NOT NULL,
    id       TEXT NOT NULL,
    revision INTEGER NOT NULL,
    incident TEXT NOT NULL,
    at       INTEGER NOT NULL,
    body     BLOB NOT NULL,
    answers  BLOB,
    PRIMARY KEY (tenant, id, revision)
) STRICT;
CREATE INDEX verdict_by_incident ON verdict (tenant, incident, revision, at);

-- id and alias are the unsigned hashes' bits.
CREATE TABLE template (
    tenant  TEXT NOT NULL,
    id      INTEGER NOT NULL,
    service TEXT NOT NULL,
    text    TEXT NOT NULL,
    first   INTEGER NOT NULL,
    alias   INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;
