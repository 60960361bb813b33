-- The layout in PostgreSQL, version 1. COLLATE "C" compares and orders bytewise, whatever the database's own collation.

-- A counter; generation, newer and older tell how many live keys it has (ledger.LiveKeys). A row at version 0 was never
-- changed: it only holds keys. Half of each page stays free, so that a hot counter is updated in place.
CREATE TABLE quart_counters (
    name       text COLLATE "C" PRIMARY KEY,
    value      bigint NOT NULL DEFAULT 0,
    version    bigint NOT NULL DEFAULT 0,
    generation bigint NOT NULL DEFAULT 0,
    newer      bigint NOT NULL DEFAULT 0,
    older      bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- An idempotency key: the request it stood for and the answer that request got (ledger.record_to_text).
CREATE TABLE quart_counter_keys (
    name       text COLLATE "C" NOT NULL,
    key        text COLLATE "C" NOT NULL,
    record     text NOT NULL,
    expires_ms bigint NOT NULL,
    PRIMARY KEY (name, key)
);

CREATE INDEX quart_counter_keys_by_end ON quart_counter_keys (expires_ms);

-- The receipt of each worker's last flush: its number, and what it saw (ledger.pages_to_text).
CREATE TABLE quart_counter_flushes (
    worker     text COLLATE "C" PRIMARY KEY,
    number     bigint NOT NULL,
    saw        text NOT NULL,
    expires_ms bigint NOT NULL
) WITH (fillfactor = 50);
