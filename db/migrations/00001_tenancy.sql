-- +goose Up
-- The ground every table stands on: the schema, the four roles, and the functions that carry the tenant of a transaction.
SET LOCAL lock_timeout = '3s';

-- Roles belong to the cluster, not to this database: they are created when missing and left alone otherwise, so that an
-- operator of a managed database can create them beforehand (docs/operators.md).
-- +goose StatementBegin
DO $$
DECLARE
    missing text[];
    role    text;
BEGIN
    SELECT array_agg(r ORDER BY r)
      INTO missing
      FROM unnest(ARRAY['parako_app', 'parako_platform', 'parako_auditor']) AS r
     WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r);
    IF missing IS NULL THEN
        RETURN;
    END IF;
    IF NOT (SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        RAISE EXCEPTION 'roles % do not exist and % may not create roles', array_to_string(missing, ', '), current_user
            USING HINT = 'Create them first: CREATE ROLE <name> LOGIN NOINHERIT NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE;';
    END IF;
    FOREACH role IN ARRAY missing LOOP
        EXECUTE format('CREATE ROLE %I LOGIN NOINHERIT NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION', role);
        EXECUTE format('ALTER ROLE %I SET statement_timeout = ''5s''', role);
        EXECUTE format('ALTER ROLE %I SET lock_timeout = ''2s''', role);
        EXECUTE format('ALTER ROLE %I SET idle_in_transaction_session_timeout = ''5s''', role);
    END LOOP;
END
$$;
-- +goose StatementEnd

CREATE SCHEMA parako;
GRANT USAGE ON SCHEMA parako TO parako_app, parako_platform, parako_auditor;

-- The tenant of this transaction. No missing_ok and no SET clause: a transaction that forgot its tenant fails loudly
-- (42704 on a fresh connection, 22P02 on a reused one), and the planner can inline the body into every policy.
-- +goose StatementBegin
CREATE FUNCTION parako.current_tenant() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT pg_catalog.current_setting('app.tenant_id')::pg_catalog.uuid $$;
-- +goose StatementEnd

-- The only way to choose a tenant. A real SET LOCAL, because Citus sends that to its workers and not set_config.
-- +goose StatementBegin
CREATE FUNCTION parako.set_tenant(tenant uuid) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF tenant IS NULL THEN
        RAISE EXCEPTION 'set_tenant needs a tenant' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    EXECUTE pg_catalog.format('SET LOCAL app.tenant_id = %L', tenant);
END
$$;
-- +goose StatementEnd

-- Names the one host or slug this transaction may look up in tenant_locators.
-- +goose StatementBegin
CREATE FUNCTION parako.set_locator(kind text, name text) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    EXECUTE pg_catalog.format('SET LOCAL app.locator = %L', kind || ':' || name);
END
$$;
-- +goose StatementEnd

-- Distributes a tenant's table when Citus is installed and does nothing otherwise.
-- +goose StatementBegin
CREATE FUNCTION parako.shard_table(rel regclass, col text DEFAULT 'tenant_id') RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF pg_catalog.to_regproc('pg_catalog.create_distributed_table') IS NULL THEN
        RETURN;
    END IF;
    PERFORM pg_catalog.set_config('citus.multi_shard_modify_mode', 'sequential', true);
    IF rel = 'parako.tenants'::regclass THEN
        EXECUTE pg_catalog.format('SELECT pg_catalog.create_distributed_table(%L::regclass, %L)', rel, col);
    ELSE
        EXECUTE pg_catalog.format('SELECT pg_catalog.create_distributed_table(%L::regclass, %L, colocate_with => %L)',
                                  rel, col, 'parako.tenants');
    END IF;
END
$$;
-- +goose StatementEnd

-- Copies a small global table to every node when Citus is installed and does nothing otherwise.
-- +goose StatementBegin
CREATE FUNCTION parako.reference_table(rel regclass) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF pg_catalog.to_regproc('pg_catalog.create_reference_table') IS NOT NULL THEN
        EXECUTE pg_catalog.format('SELECT pg_catalog.create_reference_table(%L::regclass)', rel);
    END IF;
END
$$;
-- +goose StatementEnd

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA parako FROM PUBLIC;
GRANT EXECUTE ON FUNCTION parako.current_tenant(), parako.set_tenant(uuid) TO parako_app, parako_platform;
GRANT EXECUTE ON FUNCTION parako.set_locator(text, text) TO parako_app;

-- The server compares the version of the schema with the one it was built for. Goose creates its table before it runs us.
-- +goose StatementBegin
DO $$
BEGIN
    GRANT SELECT ON goose_db_version TO parako_app, parako_platform, parako_auditor;
END
$$;
-- +goose StatementEnd

-- +goose Down
SET LOCAL lock_timeout = '3s';
DROP SCHEMA parako CASCADE;
