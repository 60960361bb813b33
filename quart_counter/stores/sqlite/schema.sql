-- The layout of a SQLite file of counters: user_version 1, application_id 0x51436e74 ("QCnt").

-- A counter; generation, newer and older tell how many live keys it has (ledger.LiveKeys). A row at version 0 was never
-- changed: it only holds keys. BINARY, SQLite's default, compares and orders bytewise.
CREATE TABLE counters (
    name       TEXT PRIMARY KEY,
    value      INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    newer      INTEGER NOT NULL,
    older      INTEGER NOT NULL
) WITHOUT ROWID;

-- An idempotency key: the request it stood for and the answer that request got (ledger.record_to_text).
CREATE TABLE keys (
    name       TEXT NOT NULL,
    key        TEXT NOT NULL,
    record     TEXT NOT NULL,
    expires_ms INTEGER NOT NULL,
    PRIMARY KEY (name, key)
) WITHOUT ROWID;

CREATE INDEX keys_by_end ON keys (expires_ms);

PRAGMA application_id = 0x51436e74;

PRAGMA user_version = 1;
