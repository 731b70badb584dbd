-- +goose Up
-- The audit trail by months, so that old ones can be dropped, and sealed, so that a change to what is sealed is found.
SET LOCAL lock_timeout = '3s';

-- lint: allow rename: the old table stays under another name, as the first partition of the new one
-- lint: allow drop: there was no release yet; the new table has a key, an index and grants of its own
-- lint: allow policy: there was no release yet; the new table has the policies of the old one
-- The rows stay where they are. Its key has to begin with the tenant and to contain the time.
-- +goose StatementBegin
DO $partition$
DECLARE
    until timestamptz := (date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC';
BEGIN
    ALTER TABLE parako.audit_events RENAME TO audit_events_begin;
    ALTER TABLE parako.audit_events_begin DROP CONSTRAINT audit_events_pkey;
    DROP INDEX parako.audit_events_occurred_at_idx;
    DROP POLICY tenant_boundary ON parako.audit_events_begin;
    DROP POLICY tenant_access ON parako.audit_events_begin;
    DROP POLICY platform_append ON parako.audit_events_begin;
    REVOKE ALL ON parako.audit_events_begin FROM parako_app, parako_platform;
    CREATE TABLE parako.audit_events (
        LIKE parako.audit_events_begin INCLUDING DEFAULTS INCLUDING CONSTRAINTS,
        CONSTRAINT audit_events_pkey           PRIMARY KEY (tenant_id, occurred_at, id),
        CONSTRAINT audit_events_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES parako.tenants (id) ON DELETE CASCADE
    ) PARTITION BY RANGE (occurred_at);
    COMMENT ON TABLE parako.audit_events IS 'No UPDATE and no DELETE is granted to anyone. One partition a month; audit.extend makes them.';
    PERFORM parako.shard_table('parako.audit_events');
    ALTER TABLE parako.audit_events ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    CREATE POLICY tenant_boundary ON parako.audit_events AS RESTRICTIVE TO parako_app
        USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
    CREATE POLICY tenant_access ON parako.audit_events AS PERMISSIVE TO parako_app
        USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
    GRANT SELECT, INSERT ON parako.audit_events TO parako_app;
    CREATE POLICY platform_append ON parako.audit_events AS PERMISSIVE FOR INSERT TO parako_platform WITH CHECK (true);
    GRANT INSERT ON parako.audit_events TO parako_platform;
    COMMENT ON TABLE parako.audit_events_begin IS NULL;
    EXECUTE format('ALTER TABLE parako.audit_events ATTACH PARTITION parako.audit_events_begin FOR VALUES FROM (MINVALUE) TO (%L)', until);
    -- Nothing is lost when nobody makes partitions in time: what fits nowhere is kept here.
    CREATE TABLE parako.audit_events_rest PARTITION OF parako.audit_events DEFAULT;
    ALTER TABLE parako.audit_events_rest ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
END
$partition$;
-- +goose StatementEnd

-- audit_seals: a chain for each tenant. A seal fixes some events by the root of a Merkle tree (RFC 9162 section 2.1).
CREATE TABLE parako.audit_seals (
    tenant_id uuid        NOT NULL DEFAULT parako.current_tenant() REFERENCES parako.tenants (id) ON DELETE CASCADE,
    seal_no   bigint      NOT NULL,
    events    integer     NOT NULL,
    first_at  timestamptz NOT NULL,
    last_at   timestamptz NOT NULL,
    root      bytea       NOT NULL,
    horizon   timestamptz NOT NULL,
    sealed_at timestamptz NOT NULL DEFAULT now(),
    previous  bytea       NOT NULL,
    hash      bytea       NOT NULL,
    CONSTRAINT audit_seals_pkey     PRIMARY KEY (tenant_id, seal_no),
    CONSTRAINT audit_seals_counting CHECK (seal_no > 0 AND events > 0)
);
COMMENT ON TABLE parako.audit_seals IS 'hash covers the other columns and, through previous, every seal before. What is older than horizon and not sealed came too late. No UPDATE and no DELETE is granted to anyone.';
SELECT parako.shard_table('parako.audit_seals');
ALTER TABLE parako.audit_seals ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_boundary ON parako.audit_seals AS RESTRICTIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
CREATE POLICY tenant_access ON parako.audit_seals AS PERMISSIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
GRANT SELECT, INSERT ON parako.audit_seals TO parako_app;

-- audit_leaves: the events behind a seal, in their order, and the hash of each.
CREATE TABLE parako.audit_leaves (
    tenant_id uuid        NOT NULL DEFAULT parako.current_tenant() REFERENCES parako.tenants (id) ON DELETE CASCADE,
    last_at   timestamptz NOT NULL,
    seal_no   bigint      NOT NULL,
    event_ids uuid[]      NOT NULL,
    hashes    bytea[]     NOT NULL,
    CONSTRAINT audit_leaves_pkey      PRIMARY KEY (tenant_id, last_at, seal_no),
    CONSTRAINT audit_leaves_seal_fkey FOREIGN KEY (tenant_id, seal_no) REFERENCES parako.audit_seals (tenant_id, seal_no) ON DELETE CASCADE
) PARTITION BY RANGE (last_at);
COMMENT ON TABLE parako.audit_leaves IS 'By months as audit_events, and dropped together with them. The seal stays.';
SELECT parako.shard_table('parako.audit_leaves');
ALTER TABLE parako.audit_leaves ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_boundary ON parako.audit_leaves AS RESTRICTIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
CREATE POLICY tenant_access ON parako.audit_leaves AS PERMISSIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
GRANT SELECT, INSERT ON parako.audit_leaves TO parako_app;
-- +goose StatementBegin
DO $partition$
BEGIN
    EXECUTE format('CREATE TABLE parako.audit_leaves_begin PARTITION OF parako.audit_leaves FOR VALUES FROM (MINVALUE) TO (%L)',
                   (date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC');
    ALTER TABLE parako.audit_leaves_begin ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    CREATE TABLE parako.audit_leaves_rest PARTITION OF parako.audit_leaves DEFAULT;
    ALTER TABLE parako.audit_leaves_rest ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
END
$partition$;
-- +goose StatementEnd

-- audit_drops: what is no longer there because its time was over.
CREATE TABLE parako.audit_drops (
    partition  text        NOT NULL,
    until      timestamptz NOT NULL,
    rows       bigint      NOT NULL,
    dropped_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    dropped_by text        NOT NULL DEFAULT session_user,
    CONSTRAINT audit_drops_pkey PRIMARY KEY (partition, dropped_at)
);
COMMENT ON TABLE parako.audit_drops IS 'Global: a partition holds the events of all tenants. Written by audit.expire.';
SELECT parako.reference_table('parako.audit_drops');
ALTER TABLE parako.audit_drops ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY drops_read ON parako.audit_drops AS PERMISSIVE FOR SELECT TO parako_app USING (true);
GRANT SELECT (partition, until, dropped_at) ON parako.audit_drops TO parako_app;

-- +goose StatementBegin
DO $views$
BEGIN

CREATE VIEW audit.partitions (table_name, partition, since, until) WITH (security_invoker = true) AS
SELECT p.relname::text, c.relname::text,
       CASE WHEN pg_get_expr(c.relpartbound, c.oid) = 'DEFAULT' THEN NULL
            ELSE coalesce(substring(pg_get_expr(c.relpartbound, c.oid) FROM 'FROM \(''([^'']+)''\)'), '-infinity')::timestamptz
       END,
       substring(pg_get_expr(c.relpartbound, c.oid) FROM 'TO \(''([^'']+)''\)')::timestamptz
  FROM pg_inherits AS i
  JOIN pg_class AS c ON c.oid = i.inhrelid
  JOIN pg_class AS p ON p.oid = i.inhparent
 WHERE p.relnamespace = 'parako'::regnamespace
   AND p.relkind = 'p'
 ORDER BY 1, 3;
COMMENT ON VIEW audit.partitions IS 'The partitions of the audit trail and their bounds: since is included, until is not. Without bounds: what fits nowhere else.';

END
$views$;
-- +goose StatementEnd

-- One partition a month of each table of the trail, up to so many months after the present one. It runs as the owner, and
-- says how many it made.
-- lint: allow data: it runs later, with FORCE lifted; a SET LOCAL would last until its caller's transaction ends
-- +goose StatementBegin
CREATE FUNCTION audit.extend(months integer) RETURNS integer
    LANGUAGE plpgsql
    AS $$
DECLARE
    part   record;
    owner  text;
    since  timestamp;
    until  timestamp;
    child  text;
    made   integer := 0;
BEGIN
    FOR part IN SELECT v.parent, v.key FROM (VALUES ('audit_events', 'occurred_at'), ('audit_leaves', 'last_at')) AS v (parent, key) LOOP
        SELECT pg_get_userbyid(c.relowner) INTO owner FROM pg_class AS c WHERE c.oid = ('parako.' || part.parent)::regclass;
        SELECT max(p.until) AT TIME ZONE 'UTC' INTO since FROM audit.partitions AS p WHERE p.table_name = part.parent;
        WHILE since <= date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => extend.months) LOOP
            until := since + interval '1 month';
            child := part.parent || to_char(since, '_YYYY_MM');
            EXECUTE format('CREATE TABLE parako.%I (LIKE parako.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', child, part.parent);
            EXECUTE format('ALTER TABLE parako.%I OWNER TO %I', child, owner);
            -- What came before the partition was there. FORCE hides the rows from the owner, too, until it is back.
            EXECUTE format('ALTER TABLE parako.%I NO FORCE ROW LEVEL SECURITY', part.parent || '_rest');
            EXECUTE format('WITH moved AS (DELETE FROM parako.%1$I WHERE %2$I >= %3$L AND %2$I < %4$L RETURNING *) INSERT INTO parako.%5$I SELECT * FROM moved',
                           part.parent || '_rest', part.key, since AT TIME ZONE 'UTC', until AT TIME ZONE 'UTC', child);
            EXECUTE format('ALTER TABLE parako.%I FORCE ROW LEVEL SECURITY', part.parent || '_rest');
            EXECUTE format('ALTER TABLE parako.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', child);
            EXECUTE format('ALTER TABLE parako.%I ATTACH PARTITION parako.%I FOR VALUES FROM (%L) TO (%L)',
                           part.parent, child, since AT TIME ZONE 'UTC', until AT TIME ZONE 'UTC');
            made := made + 1;
            since := until;
        END LOOP;
    END LOOP;
    RETURN made;
END
$$;
-- +goose StatementEnd

-- Drops the partitions whose events are all older, and records it. It runs as the owner, and says how many it dropped.
-- lint: allow drop: it runs later, for months whose time is over
-- lint: allow data: it runs later, with FORCE lifted; a SET LOCAL would last until its caller's transaction ends
-- +goose StatementBegin
CREATE FUNCTION audit.expire(before timestamptz) RETURNS integer
    LANGUAGE plpgsql
    AS $$
DECLARE
    part    record;
    held    bigint;
    dropped integer := 0;
BEGIN
    ALTER TABLE parako.audit_drops NO FORCE ROW LEVEL SECURITY;
    FOR part IN SELECT p.* FROM audit.partitions AS p WHERE p.until <= expire.before LOOP
        EXECUTE format('ALTER TABLE parako.%I NO FORCE ROW LEVEL SECURITY', part.partition);
        EXECUTE format('SELECT count(*) FROM parako.%I', part.partition) INTO held;
        EXECUTE format('DROP TABLE parako.%I', part.partition);
        INSERT INTO parako.audit_drops (partition, until, rows) VALUES (part.partition, part.until, held);
        dropped := dropped + 1;
    END LOOP;
    ALTER TABLE parako.audit_drops FORCE ROW LEVEL SECURITY;
    RETURN dropped;
END
$$;
-- +goose StatementEnd

-- The hash of an event: of its columns as a JSON array, times in microseconds since 1970, the same in every session.
-- +goose StatementBegin
CREATE FUNCTION audit.leaf(e parako.audit_events) RETURNS bytea
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
SELECT sha256('\x00'::bytea || convert_to(jsonb_build_array(
           e.tenant_id, e.id, (extract(epoch FROM e.occurred_at) * 1000000)::bigint, e.type, e.status, e.actor_type, e.actor_id,
           e.target_type, e.target_id, e.client_id, e.request_id, e.ip, e.user_agent, e.detail)::text, 'UTF8'))
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION audit.merkle_root(leaves bytea[]) RETURNS bytea
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    level bytea[] := leaves;
BEGIN
    WHILE cardinality(level) > 1 LOOP
        level := ARRAY(SELECT CASE count(*) WHEN 1 THEN string_agg(h.hash, '') ELSE sha256('\x01'::bytea || string_agg(h.hash, '' ORDER BY h.n)) END
                         FROM unnest(level) WITH ORDINALITY AS h (hash, n)
                        GROUP BY (h.n - 1) / 2
                        ORDER BY (h.n - 1) / 2);
    END LOOP;
    RETURN level[1];
END
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION audit.seal_hash(s parako.audit_seals) RETURNS bytea
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
SELECT sha256('\x02'::bytea || convert_to(jsonb_build_array(
           s.tenant_id, s.seal_no, s.events, (extract(epoch FROM s.first_at) * 1000000)::bigint, (extract(epoch FROM s.last_at) * 1000000)::bigint,
           encode(s.root, 'hex'), (extract(epoch FROM s.horizon) * 1000000)::bigint, (extract(epoch FROM s.sealed_at) * 1000000)::bigint,
           encode(s.previous, 'hex'))::text, 'UTF8'))
$$;
-- +goose StatementEnd

-- Seals what the tenant has not sealed yet, at most 4096 events and those of one month, and returns the seal; no row when
-- there was nothing to seal. It waits for nobody: an event whose transaction commits late is in a later seal, for five
-- minutes.
-- lint: allow data: parako_app runs it, in a transaction of the tenant
-- +goose StatementBegin
CREATE FUNCTION audit.seal(tenant uuid) RETURNS TABLE (seal_no bigint, events integer, hash bytea)
    LANGUAGE plpgsql
    AS $$
DECLARE
    last     parako.audit_seals;
    next     parako.audit_seals;
    since    timestamptz;
    ids      uuid[];
    times    timestamptz[];
    leaves   bytea[];
    enough   CONSTANT integer := 4096;
    lateness CONSTANT interval := '5 minutes';
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('parako.audit_seals:' || tenant, 0)) THEN
        RETURN; -- another server seals
    END IF;
    SELECT s.* INTO last FROM parako.audit_seals AS s WHERE s.tenant_id = tenant ORDER BY s.seal_no DESC LIMIT 1;
    since := coalesce(last.horizon, '-infinity');
    SELECT array_agg(w.id ORDER BY w.occurred_at, w.id), array_agg(w.occurred_at ORDER BY w.occurred_at, w.id), array_agg(audit.leaf(w.event) ORDER BY w.occurred_at, w.id)
      INTO ids, times, leaves
      FROM (SELECT e.id, e.occurred_at, e AS event, min(e.occurred_at) OVER () AS first_at
              FROM parako.audit_events AS e
             WHERE e.tenant_id = tenant
               AND e.occurred_at >= since
               AND NOT EXISTS (SELECT
                                 FROM (SELECT unnest(l.event_ids) AS id
                                         FROM parako.audit_leaves AS l
                                        WHERE l.tenant_id = tenant
                                          AND l.last_at >= since) AS sealed
                                WHERE sealed.id = e.id)
             ORDER BY e.occurred_at, e.id
             LIMIT enough) AS w
     WHERE date_trunc('month', w.occurred_at, 'UTC') = date_trunc('month', w.first_at, 'UTC');
    IF ids IS NULL THEN
        RETURN;
    END IF;
    next.tenant_id := tenant;
    next.seal_no := coalesce(last.seal_no, 0) + 1;
    next.events := cardinality(ids);
    next.first_at := times[1];
    next.last_at := times[next.events];
    next.root := audit.merkle_root(leaves);
    next.sealed_at := now();
    -- More may wait behind the last of these.
    next.horizon := greatest(last.horizon, least(now(), next.last_at) - lateness);
    next.previous := coalesce(last.hash, '\x');
    next.hash := audit.seal_hash(next);
    INSERT INTO parako.audit_seals (tenant_id, seal_no, events, first_at, last_at, root, horizon, sealed_at, previous, hash)
    VALUES (next.tenant_id, next.seal_no, next.events, next.first_at, next.last_at, next.root, next.horizon, next.sealed_at, next.previous, next.hash);
    INSERT INTO parako.audit_leaves (tenant_id, last_at, seal_no, event_ids, hashes)
    VALUES (tenant, next.last_at, next.seal_no, ids, leaves);
    RETURN QUERY SELECT next.seal_no, next.events, next.hash;
END
$$;
-- +goose StatementEnd

-- What does not fit the seals of a tenant's events between two moments. No rows: nothing of what is sealed was changed,
-- removed or moved since, and nothing was slipped in. It fails for a tenant that the caller may not see.
-- +goose StatementBegin
CREATE FUNCTION audit.verify(tenant uuid, since timestamptz DEFAULT '-infinity', until timestamptz DEFAULT 'infinity')
    RETURNS TABLE (seal_no bigint, event_id uuid, occurred_at timestamptz, finding text)
    LANGUAGE plpgsql STABLE
    AS $$
DECLARE
    kept    timestamptz; -- what ended before was dropped: the record of a drop counts where the partition is gone
    first   bigint;
    last    bigint;
    horizon timestamptz;
BEGIN
    IF NOT EXISTS (SELECT FROM parako.tenants AS t WHERE t.id = tenant) THEN
        RAISE EXCEPTION '% sees no tenant %', current_user, tenant USING ERRCODE = 'no_data_found';
    END IF;
    SELECT least(coalesce((SELECT max(d.until) FROM parako.audit_drops AS d), '-infinity'), min(p.since)) INTO kept
      FROM audit.partitions AS p
     WHERE p.table_name = 'audit_events';
    SELECT min(s.seal_no), max(s.seal_no) INTO first, last
      FROM parako.audit_seals AS s
     WHERE s.tenant_id = tenant AND s.first_at <= verify.until AND s.last_at >= since;
    SELECT max(s.horizon) INTO horizon FROM parako.audit_seals AS s WHERE s.tenant_id = tenant;

    RETURN QUERY -- the chain
    SELECT s.seal_no, NULL::uuid, s.last_at, f.finding
      FROM (SELECT a.*, audit.seal_hash(a) AS computed, lag(a.seal_no) OVER w AS before_no, lag(a.hash) OVER w AS before_hash
              FROM parako.audit_seals AS a
             WHERE a.tenant_id = tenant AND a.seal_no BETWEEN first - 1 AND last
            WINDOW w AS (ORDER BY a.seal_no)) AS s
     CROSS JOIN LATERAL (VALUES
           (s.hash <> s.computed, 'the seal was changed'),
           (s.seal_no <> coalesce(s.before_no, 0) + 1, 'the seal before it is missing'),
           (s.seal_no = coalesce(s.before_no, 0) + 1 AND s.previous <> coalesce(s.before_hash, '\x'), 'the seal does not continue the one before it')) AS f (applies, finding)
     WHERE f.applies AND s.seal_no >= first;

    RETURN QUERY -- the leaves
    SELECT s.seal_no, NULL::uuid, s.last_at, CASE WHEN l.seal_no IS NULL THEN 'the list of its events is missing' ELSE 'the list of its events was changed' END
      FROM parako.audit_seals AS s
      LEFT JOIN parako.audit_leaves AS l ON l.tenant_id = tenant AND l.last_at = s.last_at AND l.seal_no = s.seal_no
     WHERE s.tenant_id = tenant AND s.seal_no BETWEEN first AND last AND s.last_at >= kept
       AND (l.seal_no IS NULL OR cardinality(l.event_ids) <> s.events OR audit.merkle_root(l.hashes) IS DISTINCT FROM s.root);

    RETURN QUERY -- the events
    WITH sealed AS (
        SELECT l.seal_no, u.event_id, u.hash, u.n
          FROM parako.audit_leaves AS l
         CROSS JOIN LATERAL unnest(l.event_ids, l.hashes) WITH ORDINALITY AS u (event_id, hash, n)
         WHERE l.tenant_id = tenant AND l.seal_no BETWEEN first AND last AND l.last_at >= kept
    ), found AS (
        SELECT e.id, e.occurred_at, audit.leaf(e) AS hash
          FROM parako.audit_events AS e
         WHERE e.tenant_id = tenant
           AND (e.occurred_at BETWEEN since AND verify.until OR e.id IN (SELECT x.event_id FROM sealed AS x))
    ), compared AS (
        SELECT x.seal_no, coalesce(x.event_id, f.id) AS id, f.occurred_at, x.hash AS was, f.hash AS is, x.n,
               row_number() OVER (PARTITION BY x.seal_no ORDER BY f.occurred_at, f.id) AS place
          FROM sealed AS x
          FULL JOIN found AS f ON f.id = x.event_id
    )
    SELECT c.seal_no, c.id, c.occurred_at,
           CASE WHEN c.was IS NULL THEN 'the event was inserted' WHEN c.is IS NULL THEN 'the event was deleted'
                WHEN c.n <> c.place THEN 'the event was edited and changed its place' ELSE 'the event was edited' END
      FROM compared AS c
     WHERE c.was IS DISTINCT FROM c.is
       AND (c.was IS NOT NULL OR c.occurred_at < horizon AND c.occurred_at BETWEEN since AND verify.until)
     ORDER BY c.seal_no, c.n, c.occurred_at;
END
$$;
-- +goose StatementEnd

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA audit FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit.leaf(parako.audit_events), audit.merkle_root(bytea[]), audit.seal_hash(parako.audit_seals), audit.seal(uuid),
    audit.verify(uuid, timestamptz, timestamptz) TO parako_app;
-- +goose StatementBegin
DO $$ BEGIN PERFORM audit.extend(12); END $$;
-- +goose StatementEnd

-- +goose Down
SET LOCAL lock_timeout = '3s';
DROP FUNCTION audit.verify(uuid, timestamptz, timestamptz);
DROP FUNCTION audit.seal(uuid);
DROP FUNCTION audit.seal_hash(parako.audit_seals);
DROP FUNCTION audit.merkle_root(bytea[]);
DROP FUNCTION audit.leaf(parako.audit_events);
DROP FUNCTION audit.expire(timestamptz);
DROP FUNCTION audit.extend(integer);
DROP TABLE parako.audit_drops;
DROP TABLE parako.audit_leaves;
DROP TABLE parako.audit_seals;
-- The rows of all partitions return into the first one, which becomes the table again.
-- lint: allow force: the first one is forced again under its old name, the others are dropped with their parent
-- lint: allow data: FORCE is lifted from all that it reads and writes
-- +goose StatementBegin
DO $partition$
DECLARE
    part text;
BEGIN
    ALTER TABLE parako.audit_events DETACH PARTITION parako.audit_events_begin;
    ALTER TABLE parako.audit_events_begin NO FORCE ROW LEVEL SECURITY;
    FOR part IN SELECT p.partition FROM audit.partitions AS p WHERE p.table_name = 'audit_events' LOOP
        EXECUTE format('ALTER TABLE parako.%I NO FORCE ROW LEVEL SECURITY', part);
        EXECUTE format('INSERT INTO parako.audit_events_begin SELECT * FROM parako.%I', part);
    END LOOP;
    DROP TABLE parako.audit_events;
    ALTER TABLE parako.audit_events_begin RENAME TO audit_events;
    ALTER TABLE parako.audit_events DROP CONSTRAINT audit_events_begin_pkey, ADD CONSTRAINT audit_events_pkey PRIMARY KEY (tenant_id, id),
        FORCE ROW LEVEL SECURITY;
    CREATE INDEX audit_events_occurred_at_idx ON parako.audit_events (tenant_id, occurred_at, id);
    COMMENT ON TABLE parako.audit_events IS 'No UPDATE and no DELETE is granted to anyone.';
    CREATE POLICY tenant_boundary ON parako.audit_events AS RESTRICTIVE TO parako_app
        USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
    CREATE POLICY tenant_access ON parako.audit_events AS PERMISSIVE TO parako_app
        USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
    GRANT SELECT, INSERT ON parako.audit_events TO parako_app;
    CREATE POLICY platform_append ON parako.audit_events AS PERMISSIVE FOR INSERT TO parako_platform WITH CHECK (true);
    GRANT INSERT ON parako.audit_events TO parako_platform;
    DROP VIEW audit.partitions;
END
$partition$;
-- +goose StatementEnd
