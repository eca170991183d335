-- The tables of order_fsm in MariaDB, schema 1. Statements end with a semicolon at the end of a line.
--
-- Text sorts by code points and keeps trailing blanks, as in all other stores. An index key has at most 3072 bytes, and
-- a character up to four. InnoDB adds the primary key to every index.
--
-- Each statement commits, so after an interruption the next installation runs all of them again. The last statement
-- marks the installation as complete.

CREATE TABLE IF NOT EXISTS order_fsm_order (
    id VARCHAR(200) NOT NULL PRIMARY KEY,
    state VARCHAR(500) NOT NULL,
    invoiced_by_payment TINYINT NOT NULL,
    version INTEGER NOT NULL,
    reserved LONGTEXT,
    payments LONGTEXT NOT NULL,
    shipments LONGTEXT NOT NULL,
    updated_at VARCHAR(32) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
    refund_is_due TINYINT NOT NULL,
    is_unmatched TINYINT NOT NULL,
    is_part_dispatched TINYINT NOT NULL,
    last_seal VARBINARY(32) NOT NULL,
    seal VARBINARY(32) NOT NULL,
    counted TINYINT NOT NULL,
    placed_at VARCHAR(32) CHARACTER SET ascii COLLATE ascii_nopad_bin,
    total VARCHAR(64) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
    currency VARCHAR(8) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
    `lines` LONGTEXT NOT NULL,
    unit VARCHAR(64) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
    units BIGINT NOT NULL,
    customer VARCHAR(200),
    email LONGTEXT,
    data LONGTEXT NOT NULL,
    salt VARBINARY(16),
    personal VARBINARY(32),
    created_at VARCHAR(32) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
    -- How often a relay has locked the order.
    relayed BIGINT NOT NULL DEFAULT 0,
    INDEX order_fsm_order_by_state (state, created_at),
    INDEX order_fsm_order_by_customer (customer, state, created_at),
    INDEX order_fsm_order_refund_due (refund_is_due, created_at),
    INDEX order_fsm_order_refund_due_by_customer (customer, refund_is_due, created_at),
    INDEX order_fsm_order_unmatched (is_unmatched, created_at),
    INDEX order_fsm_order_part_dispatched (is_part_dispatched, created_at),
    -- These two cover the sums over the orders placed in an interval.
    INDEX order_fsm_order_placed (placed_at, id, counted, currency, unit, units),
    INDEX order_fsm_order_placed_by_customer (customer, placed_at, id, counted, currency, unit, units)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS order_fsm_entry (
    order_id VARCHAR(200) NOT NULL,
    version INTEGER NOT NULL,
    `trigger` VARCHAR(200) NOT NULL,
    state_before VARCHAR(500) NOT NULL,
    state_after VARCHAR(500) NOT NULL,
    `at` VARCHAR(32) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
    `by` VARCHAR(200),
    comment LONGTEXT NOT NULL,
    visible TINYINT NOT NULL,
    notify TINYINT NOT NULL,
    `key` VARCHAR(200),
    override TINYINT NOT NULL,
    facts LONGTEXT NOT NULL,
    rules_fingerprint VARCHAR(200),
    personal_facts LONGTEXT NOT NULL,
    salt VARBINARY(16),
    personal VARBINARY(32),
    seal VARBINARY(32) NOT NULL,
    PRIMARY KEY (order_id, version)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS order_fsm_key (
    `key` VARCHAR(200) NOT NULL PRIMARY KEY,
    order_id VARCHAR(200),
    `first` INTEGER NOT NULL,
    `last` INTEGER NOT NULL,
    request_fingerprint VARCHAR(300) NOT NULL,
    seal VARBINARY(32) NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS order_fsm_reference (
    reference VARCHAR(200) NOT NULL,
    order_id VARCHAR(200) NOT NULL,
    PRIMARY KEY (reference, order_id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_nopad_bin;

-- The key starts with the time: sums over an interval read one range, and new rows are appended.
CREATE TABLE IF NOT EXISTS order_fsm_payment (
    `at` VARCHAR(32) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
    order_id VARCHAR(200) NOT NULL,
    number INTEGER NOT NULL,
    kind VARCHAR(32) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
    currency VARCHAR(8) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
    unit VARCHAR(64) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
    units BIGINT NOT NULL,
    PRIMARY KEY (`at`, order_id, number, kind)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_nopad_bin;

-- Orders whose erased values may still be in the tally.
CREATE TABLE IF NOT EXISTS order_fsm_unscrubbed (
    order_id VARCHAR(200) NOT NULL PRIMARY KEY
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS order_fsm_stock (
    sku VARCHAR(200) NOT NULL PRIMARY KEY,
    available BIGINT,
    held BIGINT NOT NULL,
    shipped BIGINT NOT NULL,
    lost BIGINT NOT NULL,
    backorder TINYINT NOT NULL,
    seal VARBINARY(32) NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_nopad_bin;

-- The id of a message contains the order's id, so it is longer.
CREATE TABLE IF NOT EXISTS order_fsm_message (
    number BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    id VARCHAR(300) NOT NULL UNIQUE,
    order_id VARCHAR(200) NOT NULL,
    topic VARCHAR(200) NOT NULL,
    payload LONGTEXT NOT NULL,
    created_at VARCHAR(32) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
    remaining LONGTEXT NOT NULL,
    seal VARBINARY(32) NOT NULL,
    attempts INTEGER NOT NULL,
    due VARCHAR(32) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
    head TINYINT NOT NULL,
    INDEX order_fsm_message_by_order (order_id, number),
    INDEX order_fsm_message_claimable (head, due, number)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS order_fsm_dead_letter (
    number BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    id VARCHAR(300) NOT NULL UNIQUE,
    order_id VARCHAR(200) NOT NULL,
    topic VARCHAR(200) NOT NULL,
    payload LONGTEXT NOT NULL,
    created_at VARCHAR(32) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
    remaining LONGTEXT NOT NULL,
    seal VARBINARY(32) NOT NULL,
    attempts INTEGER NOT NULL,
    INDEX order_fsm_dead_letter_by_age (created_at, number),
    INDEX order_fsm_dead_letter_by_order (order_id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_nopad_bin;

-- Counters, and steps that are not yet added to them. If every commit updated a counter, commits would queue. An empty
-- customer marks the counters over all orders.
CREATE TABLE IF NOT EXISTS order_fsm_tally_base (
    customer VARCHAR(200) NOT NULL,
    state VARCHAR(500) NOT NULL,
    currency VARCHAR(8) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
    refund_is_due TINYINT NOT NULL,
    is_unmatched TINYINT NOT NULL,
    is_part_dispatched TINYINT NOT NULL,
    unit VARCHAR(64) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
    orders BIGINT NOT NULL,
    units BIGINT NOT NULL,
    PRIMARY KEY (customer, state, currency, refund_is_due, is_unmatched, is_part_dispatched, unit)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS order_fsm_tally_step (
    number BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    customer VARCHAR(200),
    state VARCHAR(500) NOT NULL,
    currency VARCHAR(8) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
    refund_is_due TINYINT NOT NULL,
    is_unmatched TINYINT NOT NULL,
    is_part_dispatched TINYINT NOT NULL,
    unit VARCHAR(64) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
    orders BIGINT NOT NULL,
    units BIGINT NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_nopad_bin;

CREATE OR REPLACE VIEW order_fsm_tally AS
    SELECT state, currency, refund_is_due, is_unmatched, is_part_dispatched, unit,
        CAST(sum(orders) AS SIGNED) AS orders, sum(units) AS units
    FROM (
        SELECT state, currency, refund_is_due, is_unmatched, is_part_dispatched, unit, orders, units
        FROM order_fsm_tally_base WHERE customer = ''
        UNION ALL
        SELECT state, currency, refund_is_due, is_unmatched, is_part_dispatched, unit, orders, units
        FROM order_fsm_tally_step
    ) AS parts
    GROUP BY state, currency, refund_is_due, is_unmatched, is_part_dispatched, unit;

CREATE OR REPLACE VIEW order_fsm_customer_tally AS
    SELECT customer, state, currency, refund_is_due, is_unmatched, is_part_dispatched, unit,
        CAST(sum(orders) AS SIGNED) AS orders, sum(units) AS units
    FROM (
        SELECT customer, state, currency, refund_is_due, is_unmatched, is_part_dispatched, unit, orders, units
        FROM order_fsm_tally_base WHERE customer <> ''
        UNION ALL
        SELECT customer, state, currency, refund_is_due, is_unmatched, is_part_dispatched, unit, orders, units
        FROM order_fsm_tally_step WHERE customer IS NOT NULL
    ) AS parts
    GROUP BY customer, state, currency, refund_is_due, is_unmatched, is_part_dispatched, unit;

CREATE TABLE IF NOT EXISTS order_fsm_schema (
    version INTEGER NOT NULL PRIMARY KEY
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC SELECT 1 AS version;
