-- A database as schema 1 of the SQLite store wrote it. It stays as it is: there are files like it.

CREATE TABLE order_fsm_order (
    id TEXT NOT NULL PRIMARY KEY,
    state TEXT NOT NULL,
    counted INTEGER NOT NULL,
    version INTEGER NOT NULL,
    total TEXT NOT NULL,
    currency TEXT NOT NULL,
    customer TEXT,
    email TEXT,
    lines TEXT NOT NULL,
    data TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    refund_is_due INTEGER NOT NULL
) STRICT;
CREATE TABLE order_fsm_entry (
    order_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    trigger TEXT NOT NULL,
    state_before TEXT NOT NULL,
    state_after TEXT NOT NULL,
    at TEXT NOT NULL,
    by TEXT,
    comment TEXT NOT NULL,
    visible INTEGER NOT NULL,
    notify INTEGER NOT NULL,
    key TEXT,
    override INTEGER NOT NULL,
    facts TEXT NOT NULL,
    PRIMARY KEY (order_id, version)
) STRICT, WITHOUT ROWID;
CREATE TABLE order_fsm_payment (
    order_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    kind TEXT NOT NULL,
    amount TEXT NOT NULL,
    reference TEXT,
    at TEXT NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (order_id, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE order_fsm_key (
    key TEXT NOT NULL PRIMARY KEY,
    order_id TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    content TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE order_fsm_stock (sku TEXT NOT NULL PRIMARY KEY, on_hand INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE order_fsm_message (
    number INTEGER NOT NULL PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    order_id TEXT NOT NULL,
    topic TEXT NOT NULL,
    payload TEXT NOT NULL,
    created_at TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    not_before TEXT
) STRICT;
CREATE TABLE order_fsm_schema (version INTEGER NOT NULL) STRICT;

INSERT INTO "order_fsm_entry" VALUES('1001',1,'create','unfinished','unfinished','2026-01-05T09:00:00.000000+00:00',NULL,'',0,0,NULL,0,'{}');
INSERT INTO "order_fsm_entry" VALUES('1001',2,'place','unfinished','sent','2026-01-05T09:01:00.000000+00:00','bob','by phone',0,0,NULL,0,'{}');
INSERT INTO "order_fsm_entry" VALUES('1001',3,'pay','sent','sent+paid','2026-01-05T09:02:00.000000+00:00',NULL,'',1,0,'evt_1',0,'{"amount":{"decimal":"12.00"},"currency":"GBP","reference":"ch_1"}');
INSERT INTO "order_fsm_entry" VALUES('1002',1,'create','unfinished','unfinished','2026-01-05T09:01:00.000000+00:00',NULL,'',0,0,NULL,0,'{}');
INSERT INTO "order_fsm_key" VALUES('evt_1','1001',3,3,'c0ffee');
INSERT INTO "order_fsm_message" VALUES(1,'1001#3.1','1001','order.paid','{"state":"sent+paid"}','2026-01-05T09:02:00.000000+00:00',0,NULL);
INSERT INTO "order_fsm_order" VALUES('1001','sent+paid',1,3,'10.00','GBP','ann','ann@example.com','[{"sku":"TEAPOT","quantity":2}]','{"gift":true}','2026-01-05T09:00:00.000000+00:00','2026-01-05T09:02:00.000000+00:00',1);
INSERT INTO "order_fsm_order" VALUES('1002','unfinished',0,1,'7.50','GBP',NULL,NULL,'[]','{}','2026-01-05T09:01:00.000000+00:00','2026-01-05T09:01:00.000000+00:00',0);
INSERT INTO "order_fsm_payment" VALUES('1001',1,'captured','12.00','ch_1','2026-01-05T09:02:00.000000+00:00',3);
INSERT INTO "order_fsm_schema" VALUES(1);
INSERT INTO "order_fsm_stock" VALUES('TEAPOT',8);
