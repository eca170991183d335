-- What schema 2 of the SQLite store added to the database in sqlite_schema_1.sql. It stays as it is.

CREATE INDEX order_fsm_order_by_state ON order_fsm_order (state, created_at, id, currency, refund_is_due, total);
CREATE INDEX order_fsm_order_by_customer ON order_fsm_order (customer, created_at, id);
CREATE INDEX order_fsm_order_refund_due ON order_fsm_order (created_at, id) WHERE refund_is_due = 1;
CREATE INDEX order_fsm_message_by_order ON order_fsm_message (order_id, number);
UPDATE order_fsm_schema SET version = 2;
