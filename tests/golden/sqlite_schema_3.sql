-- What schema 3 of the SQLite store added to the database in sqlite_schema_2.sql, with two dead letters. It stays as it is.

CREATE TABLE order_fsm_dead_letter (
    order_id TEXT NOT NULL,
    id TEXT NOT NULL,
    topic TEXT NOT NULL,
    payload TEXT NOT NULL,
    created_at TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    PRIMARY KEY (order_id, id)
) STRICT, WITHOUT ROWID;
INSERT INTO order_fsm_dead_letter
VALUES ('1001', '1001#2.1', 'order.updated', '{"state":"sent"}', '2026-01-05T09:01:00.000000+00:00', 20),
    ('1002', '1002#1.1', 'order.updated', '{"state":"unfinished"}', '2026-01-05T09:01:00.000000+00:00', 20);
UPDATE order_fsm_schema SET version = 3;
