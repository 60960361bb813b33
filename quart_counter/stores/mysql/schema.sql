-- The layout in MySQL and MariaDB, version 1. ascii_bin compares and orders bytewise.

-- A counter; generation, newer and older tell how many live keys it has (ledger.LiveKeys). A row at version 0 was never
-- changed: it only holds keys.
CREATE TABLE IF NOT EXISTS quart_counters (
    name       VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    value      BIGINT NOT NULL DEFAULT 0,
    version    BIGINT NOT NULL DEFAULT 0,
    generation BIGINT NOT NULL DEFAULT 0,
    newer      BIGINT NOT NULL DEFAULT 0,
    older      BIGINT NOT NULL DEFAULT 0
) ENGINE = InnoDB;

-- An idempotency key: the request it stood for and the answer that request got (ledger.record_to_text).
CREATE TABLE IF NOT EXISTS quart_counter_keys (
    name       VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    `key`      VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    record     VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    expires_ms BIGINT NOT NULL,
    PRIMARY KEY (name, `key`),
    KEY by_end (expires_ms)
) ENGINE = InnoDB;

-- The receipt of each worker's last flush: its number, and what it saw (ledger.pages_to_text).
CREATE TABLE IF NOT EXISTS quart_counter_flushes (
    worker     VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    number     BIGINT NOT NULL,
    saw        MEDIUMTEXT CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    expires_ms BIGINT NOT NULL
) ENGINE = InnoDB;
