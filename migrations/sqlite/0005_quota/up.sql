-- What nodes have spent of quotas that they share: of a project at Google, on a day in Pacific time, which is counted from 1970.
CREATE TABLE quota_spent (
    project TEXT NOT NULL CHECK (project <> ''),
    day BIGINT NOT NULL,
    inserts BIGINT NOT NULL CHECK (inserts >= 0),
    units BIGINT NOT NULL CHECK (units >= 0),
    PRIMARY KEY (project, day)
);
