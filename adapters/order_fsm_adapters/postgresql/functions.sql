-- The functions that prepare and commit a change, each in one round trip. Their names end with a version, so a running
-- older release of order_fsm keeps calling its own functions.
--
-- Sequential scans are off: a plan cached while a table was small would otherwise still scan it when it is large. JSON
-- contains bytea as hexadecimal digits. Row locks are NO KEY: the shop's foreign keys lock the keys of orders, and with
-- full locks two such transactions would deadlock.

-- STABLE, like convert_to, so that callers inline it. Otherwise each call would plan it.
CREATE OR REPLACE FUNCTION order_fsm_stock_seal_1(
    sku text, available bigint, held bigint, shipped bigint, lost bigint, backorder smallint
) RETURNS bytea LANGUAGE sql STABLE AS $$
    SELECT sha256(convert_to(
        'stock|' || coalesce(available::text, '') || '|' || held || '|' || shipped || '|' || lost || '|' || backorder
        || '|' || sku, 'UTF8'))
$$;

-- Returns JSON for each need [order_id, key, [skus]]: [order row, key row, stock rows, whether the order row is gone
-- but its history remains]. Locks the orders if `locking`.
CREATE OR REPLACE FUNCTION order_fsm_prepare_1(needs jsonb, locking boolean) RETURNS SETOF text
LANGUAGE plpgsql SET enable_seqscan = off SET bytea_output = hex SET lock_timeout = '10s' AS $$
BEGIN
    IF locking THEN
        PERFORM FROM order_fsm_order WHERE id IN (SELECT value->>0 FROM jsonb_array_elements(needs))
        ORDER BY id FOR NO KEY UPDATE;
    END IF;
    RETURN QUERY
    SELECT json_build_array(row_to_json(one), (
        SELECT row_to_json(known) FROM order_fsm_key AS known WHERE known.key = need.value->>1
    ), (
        SELECT json_agg(item) FROM order_fsm_stock AS item WHERE item.sku = ANY (
            ARRAY(SELECT jsonb_array_elements_text(need.value->2))
            || ARRAY(SELECT line->>'sku' FROM json_array_elements(
                CASE WHEN one.reserved IS NULL THEN one.lines::json END) AS line)
        )
    ), one.id IS NULL AND EXISTS (
        SELECT FROM order_fsm_entry AS entry WHERE entry.order_id = need.value->>0
    ))::text
    FROM jsonb_array_elements(needs) WITH ORDINALITY AS need (value, place)
    LEFT JOIN LATERAL (SELECT * FROM order_fsm_order WHERE id = need.value->>0 OFFSET 0) AS one ON true
    ORDER BY need.place;
    -- A commit whose wait for the standby was cancelled is visible, but a failover may lose it. A repeated request must
    -- wait for the standby before it returns the receipt: this statement writes to the WAL, so its own commit waits.
    IF current_setting('synchronous_standby_names') <> '' AND EXISTS (
        SELECT FROM order_fsm_key WHERE key IN (SELECT value->>1 FROM jsonb_array_elements(needs))
    ) THEN
        PERFORM pg_logical_emit_message(true, 'order_fsm', '');
    END IF;
END
$$;

-- Writes a change whole or not at all. Returns refusals instead of raising them: the host's transaction stays usable.
-- Results: {done}, {key}, {exists}, {missing}, {gone}, {version,<present>}, {stock,<sku>}, {limit,<sku>},
-- {damaged,<sku>}.
CREATE OR REPLACE FUNCTION order_fsm_commit_1(change jsonb) RETURNS text[]
LANGUAGE plpgsql SET enable_seqscan = off SET lock_timeout = '10s' AS $$
DECLARE
    expected integer := (change->>'expected_version')::integer;
    wanted order_fsm_order;
    present order_fsm_order;
    identified order_fsm_key;
    entries order_fsm_entry[];
    entry order_fsm_entry;
    message order_fsm_message;
    waits boolean;
    refused text[];
BEGIN
    -- This must come first, even without an order: it waits for an upgrade that adds columns, so that no row is made
    -- with the old ones.
    SELECT * INTO present FROM order_fsm_order WHERE id = change->'order'->>'id' FOR NO KEY UPDATE;
    wanted := jsonb_populate_record(NULL::order_fsm_order, change->'order');
    identified := jsonb_populate_record(NULL::order_fsm_key, change->'key');
    -- After the lock on the order: the same change may have been committed during the wait.
    IF identified.key IS NOT NULL AND EXISTS (SELECT FROM order_fsm_key WHERE key = identified.key) THEN
        RETURN '{key}';
    END IF;
    IF wanted.id IS NOT NULL THEN
        IF expected = 0 THEN
            IF present.id IS NOT NULL THEN
                RETURN '{exists}';
            ELSIF EXISTS (SELECT FROM order_fsm_entry WHERE order_id = wanted.id) THEN
                -- Another transaction may have created the order since the first statement.
                RETURN CASE WHEN EXISTS (SELECT FROM order_fsm_order WHERE id = wanted.id)
                    THEN '{exists}'::text[] ELSE '{gone}' END;
            END IF;
        ELSIF present.id IS NULL THEN
            RETURN CASE WHEN EXISTS (SELECT FROM order_fsm_entry WHERE order_id = wanted.id)
                AND NOT EXISTS (SELECT FROM order_fsm_order WHERE id = wanted.id)
                THEN '{gone}'::text[] ELSE '{missing}' END;
        ELSIF present.version <> expected THEN
            RETURN ARRAY['version', present.version::text];
        END IF;
    END IF;
    IF jsonb_array_length(change->'stock') > 0 THEN
        PERFORM FROM order_fsm_stock
        WHERE sku = ANY (ARRAY(SELECT value->>0 FROM jsonb_array_elements(change->'stock')))
        ORDER BY sku FOR NO KEY UPDATE;
        SELECT ARRAY[fault, moves.sku] INTO refused FROM (
            SELECT move.sku, move.place, CASE
                WHEN item.seal <> order_fsm_stock_seal_1(
                    item.sku, item.available, item.held, item.shipped, item.lost, item.backorder) THEN 'damaged'
                WHEN item.available IS NULL AND move.available < 0 THEN 'stock'
                WHEN move.strict AND item.available + sum(move.available) OVER moved < 0 THEN 'stock'
            END AS fault
            FROM (
                SELECT value->>0 AS sku, (value->>1)::numeric AS available, (value->>2)::boolean AS strict, place
                FROM jsonb_array_elements(change->'stock') WITH ORDINALITY AS one (value, place)
            ) AS move LEFT JOIN order_fsm_stock AS item ON item.sku = move.sku
            WINDOW moved AS (PARTITION BY move.sku ORDER BY move.place)
        ) AS moves WHERE fault IS NOT NULL ORDER BY place LIMIT 1;
        IF FOUND THEN
            RETURN refused;
        END IF;
        SELECT ARRAY['limit', move.sku] INTO refused FROM order_fsm_moves_1(change->'stock') AS move
        LEFT JOIN order_fsm_stock AS item ON item.sku = move.sku
        WHERE greatest(item.available + move.available, coalesce(item.held, 0) + move.held,
                coalesce(item.shipped, 0) + move.shipped, coalesce(item.lost, 0) + move.lost) >= 2::numeric ^ 63
            OR least(item.available + move.available, coalesce(item.held, 0) + move.held,
                coalesce(item.shipped, 0) + move.shipped, coalesce(item.lost, 0) + move.lost) < - 2::numeric ^ 63
        LIMIT 1;
        IF FOUND THEN
            RETURN refused;
        END IF;
    END IF;
    IF identified.key IS NOT NULL THEN
        INSERT INTO order_fsm_key VALUES (identified.*) ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            RETURN '{key}';
        END IF;
    END IF;

    IF wanted.id IS NOT NULL THEN
        wanted.last_seal := coalesce(present.last_seal, '');
        FOR entry IN SELECT * FROM jsonb_populate_recordset(NULL::order_fsm_entry, change->'entries') LOOP
            entry.seal := sha256(wanted.last_seal || entry.seal);
            wanted.last_seal := entry.seal;
            entries := entries || entry;
        END LOOP;
        IF expected > 0 AND (wanted.customer, wanted.email, wanted.data)
            IS NOT DISTINCT FROM (present.customer, present.email, present.data) THEN
            wanted.salt := present.salt;
            wanted.personal := present.personal;
        END IF;
        wanted.seal := sha256(wanted.last_seal || coalesce(wanted.personal, '') || wanted.seal);
        IF expected = 0 THEN
            INSERT INTO order_fsm_order VALUES (wanted.*) ON CONFLICT DO NOTHING;
            IF NOT FOUND THEN
                DELETE FROM order_fsm_key WHERE key = identified.key;
                RETURN '{exists}';
            END IF;
        ELSE
            UPDATE order_fsm_order SET
                state = wanted.state, invoiced_by_payment = wanted.invoiced_by_payment, version = wanted.version,
                reserved = wanted.reserved, payments = wanted.payments, shipments = wanted.shipments,
                updated_at = wanted.updated_at, refund_is_due = wanted.refund_is_due,
                is_unmatched = wanted.is_unmatched, is_part_dispatched = wanted.is_part_dispatched,
                last_seal = wanted.last_seal, seal = wanted.seal, counted = wanted.counted,
                placed_at = wanted.placed_at, total = wanted.total, currency = wanted.currency, lines = wanted.lines,
                unit = wanted.unit, units = wanted.units, customer = wanted.customer, email = wanted.email,
                data = wanted.data, salt = wanted.salt, personal = wanted.personal
            WHERE id = wanted.id;
        END IF;
        INSERT INTO order_fsm_entry SELECT * FROM unnest(entries);
        IF (present.customer, present.state, present.currency, present.refund_is_due, present.is_unmatched,
                present.is_part_dispatched, present.unit, present.units)
            IS DISTINCT FROM (wanted.customer, wanted.state, wanted.currency, wanted.refund_is_due,
                wanted.is_unmatched, wanted.is_part_dispatched, wanted.unit, wanted.units) THEN
            INSERT INTO order_fsm_tally_step (customer, state, currency, refund_is_due, is_unmatched,
                is_part_dispatched, unit, orders, units)
            SELECT * FROM (VALUES
                (present.customer, present.state, present.currency, present.refund_is_due, present.is_unmatched,
                    present.is_part_dispatched, present.unit, -1, -present.units),
                (wanted.customer, wanted.state, wanted.currency, wanted.refund_is_due, wanted.is_unmatched,
                    wanted.is_part_dispatched, wanted.unit, 1, wanted.units)
            ) AS step (customer, state) WHERE state IS NOT NULL;
        END IF;
        IF change ? 'payments' THEN
            INSERT INTO order_fsm_reference
            SELECT value, wanted.id FROM jsonb_array_elements_text(change->'references');
            INSERT INTO order_fsm_payment
            SELECT * FROM jsonb_populate_recordset(NULL::order_fsm_payment, change->'payments');
        END IF;
    END IF;
    IF jsonb_array_length(change->'stock') > 0 THEN
        INSERT INTO order_fsm_stock
        SELECT sku, NULL, 0, 0, 0, 0, '' FROM order_fsm_moves_1(change->'stock') ORDER BY sku
        ON CONFLICT DO NOTHING;
        UPDATE order_fsm_stock AS item SET
            available = item.available + move.available, held = item.held + move.held,
            shipped = item.shipped + move.shipped, lost = item.lost + move.lost,
            seal = order_fsm_stock_seal_1(item.sku, (item.available + move.available)::bigint,
                (item.held + move.held)::bigint, (item.shipped + move.shipped)::bigint,
                (item.lost + move.lost)::bigint, item.backorder)
        FROM order_fsm_moves_1(change->'stock') AS move WHERE item.sku = move.sku;
    END IF;
    FOR message IN SELECT * FROM jsonb_populate_recordset(NULL::order_fsm_message, change->'messages') LOOP
        waits := message.remaining = '' AND EXISTS (
            SELECT FROM order_fsm_message AS other WHERE other.order_id = message.order_id AND other.remaining = '');
        IF waits AND current_setting('transaction_isolation') <> 'read committed' THEN
            -- The snapshot may be old. If a relay has since deleted the message that this one waits for, the lock
            -- fails. Otherwise this message would wait for ever.
            PERFORM FROM order_fsm_message AS other
            WHERE other.order_id = message.order_id AND other.remaining = ''
            ORDER BY number DESC LIMIT 1 FOR KEY SHARE;
        END IF;
        INSERT INTO order_fsm_message (id, order_id, topic, payload, created_at, remaining, seal, attempts, due, head)
        VALUES (message.id, message.order_id, message.topic, message.payload, message.created_at, message.remaining,
            message.seal, message.attempts, '', CASE WHEN waits THEN 0 ELSE 1 END);
    END LOOP;
    RETURN '{done}';
END
$$;

-- Commits changes in sequence, each whole or not at all. The member "after" of a change lists the positions of the
-- changes that lead to its expected version. If all of those were refused, the change is refused too ({after}).
CREATE OR REPLACE FUNCTION order_fsm_commit_all_1(changes jsonb) RETURNS SETOF text[]
LANGUAGE plpgsql SET enable_seqscan = off SET lock_timeout = '10s' AS $$
DECLARE
    change jsonb;
    answer text[];
    is_done boolean[];
BEGIN
    -- Lock in sorted order, so that two batches with the same orders and items do not deadlock.
    PERFORM FROM order_fsm_order
    WHERE id = ANY (ARRAY(SELECT value->'order'->>'id' FROM jsonb_array_elements(changes)))
    ORDER BY id FOR NO KEY UPDATE;
    PERFORM FROM order_fsm_stock
    WHERE sku = ANY (ARRAY(SELECT move->>0 FROM jsonb_array_elements(changes) AS one (value),
        jsonb_array_elements(value->'stock') AS move))
    ORDER BY sku FOR NO KEY UPDATE;
    FOR change IN SELECT value FROM jsonb_array_elements(changes) LOOP
        IF jsonb_array_length(change->'after') > 0 AND NOT EXISTS (
            SELECT FROM jsonb_array_elements(change->'after') AS place WHERE is_done[place::integer + 1]
        ) THEN
            answer := '{after}';
        ELSE
            answer := order_fsm_commit_1(change);
        END IF;
        is_done := is_done || (answer[1] = 'done');
        RETURN NEXT answer;
    END LOOP;
END
$$;

-- Sums the moves [sku, available, strict, held, shipped, lost] of one change by item.
CREATE OR REPLACE FUNCTION order_fsm_moves_1(moves jsonb)
RETURNS TABLE (sku text, available numeric, held numeric, shipped numeric, lost numeric)
LANGUAGE sql IMMUTABLE AS $$
    SELECT value->>0, sum((value->>1)::numeric), sum((value->>3)::numeric), sum((value->>4)::numeric),
        sum((value->>5)::numeric)
    FROM jsonb_array_elements(moves) GROUP BY value->>0
$$;

-- Adds the tally's steps to its counters. Does nothing if there are fewer than `enough` steps, or while another call
-- runs. With 0 it waits for that call, because erased values may be in steps that the other call does not see.
CREATE OR REPLACE FUNCTION order_fsm_fold_1(enough integer) RETURNS void LANGUAGE plpgsql SET lock_timeout = '10s' AS $$
BEGIN
    IF enough = 0 THEN
        PERFORM FROM order_fsm_schema FOR NO KEY UPDATE;
    END IF;
    PERFORM FROM (SELECT FROM order_fsm_tally_step LIMIT enough) AS steps HAVING count(*) < enough;
    IF FOUND THEN
        RETURN;
    END IF;
    PERFORM FROM order_fsm_schema FOR NO KEY UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    WITH gone AS (
        DELETE FROM order_fsm_tally_step RETURNING *
    ), grouped AS (
        SELECT coalesce(customer, '') AS customer, state, currency, refund_is_due, is_unmatched, is_part_dispatched,
            unit, sum(orders)::bigint AS orders, sum(units)::bigint AS units
        FROM gone
        GROUP BY GROUPING SETS (
            (state, currency, refund_is_due, is_unmatched, is_part_dispatched, unit),
            (customer, state, currency, refund_is_due, is_unmatched, is_part_dispatched, unit))
        HAVING grouping(customer) = 1 OR customer IS NOT NULL
    )
    INSERT INTO order_fsm_tally_base AS base SELECT * FROM grouped WHERE orders <> 0 OR units <> 0
    ON CONFLICT (customer, state, currency, refund_is_due, is_unmatched, is_part_dispatched, unit)
    DO UPDATE SET orders = base.orders + excluded.orders, units = base.units + excluded.units;
    -- An empty counter would keep the customer's name.
    DELETE FROM order_fsm_tally_base WHERE orders = 0;
END
$$;
