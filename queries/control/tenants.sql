-- Statements that cross tenants. They run as parako_platform, which can reach tenants and tenant_locators and append to
-- the audit trail, and nothing else.

-- name: TenantCreate :exec
INSERT INTO parako.tenants (id, slug, display_name, domain, issuer_url)
VALUES (@id, @slug, @display_name, sqlc.narg(domain), sqlc.narg(issuer_url));

-- TenantProvision adds a tenant that is about to be filled. Nobody is served there, and if that never ends, it is removed.
-- name: TenantProvision :exec
INSERT INTO parako.tenants (id, slug, display_name, issuer_url, max_users, max_clients, max_sessions, max_requests_per_second, max_mails_per_hour,
                            status, delete_after, deletion)
VALUES (@id, @slug, @display_name, sqlc.narg(issuer_url), sqlc.narg(max_users), sqlc.narg(max_clients), sqlc.narg(max_sessions),
        sqlc.narg(max_requests_per_second), sqlc.narg(max_mails_per_hour), 'archived',
        now() + make_interval(secs => @patience_seconds::double precision),
        jsonb_build_object('provisioning', true, 'requested_by', @operator::text, 'requested_at', now()));

-- TenantProvisioned has a tenant served that was filled. What was issued before, by whoever had it, is dead. No row: it is not such a
-- tenant, or was not filled in time.
-- name: TenantProvisioned :one
   UPDATE parako.tenants
      SET status = 'active',
          revoked_before = now(),
          delete_after = NULL,
          deletion = NULL,
          revision = revision + 1,
          updated_at = now()
    WHERE id = @id
      AND status = 'archived'
      AND deletion ? 'provisioning'
      AND NOT deletion ? 'rows'
RETURNING *;

-- TenantDiscard has a tenant that could not be filled be due for its removal.
-- name: TenantDiscard :execrows
UPDATE parako.tenants
   SET delete_after = now()
 WHERE id = @id
   AND status = 'archived'
   AND deletion ? 'provisioning';

-- LocatorCreate claims a slug, an issuer, or the keys of an origin; no row means that it is taken, or held after the end of its tenant.
-- name: LocatorCreate :execrows
INSERT INTO parako.tenant_locators (kind, name, tenant_id, verified_at)
VALUES (@kind, @name, @tenant_id, now())
    ON CONFLICT (kind, name) DO UPDATE
   SET tenant_id = excluded.tenant_id,
       verified_at = excluded.verified_at,
       created_at = now(),
       held_until = NULL
 WHERE tenant_locators.held_until <= now();

-- LocatorClaimHost gives a host to the tenant; no row means that another one has it, or may still have it back. Of several
-- that want it at once one gets it.
-- name: LocatorClaimHost :execrows
INSERT INTO parako.tenant_locators AS l (kind, name, tenant_id, verified_at)
VALUES ('host', @name, @tenant_id, now())
    ON CONFLICT (kind, name) DO UPDATE
   SET tenant_id = excluded.tenant_id,
       verified_at = now(),
       reserved_until = NULL
 WHERE l.tenant_id = excluded.tenant_id
    OR l.verified_at IS NULL AND l.reserved_until <= now();

-- LocatorRelease stops a host from leading to the tenant, and keeps it from others for a while.
-- name: LocatorRelease :exec
UPDATE parako.tenant_locators
   SET verified_at = NULL,
       reserved_until = @reserved_until::timestamptz
 WHERE kind = 'host'
   AND name = @name
   AND tenant_id = @tenant_id
   AND verified_at IS NOT NULL;

-- LocatorForget removes what is left of a host that was released, once others may have it.
-- name: LocatorForget :exec
DELETE FROM parako.tenant_locators
 WHERE kind = 'host'
   AND name = @name
   AND tenant_id = @tenant_id
   AND verified_at IS NULL
   AND reserved_until <= now();

-- TenantDomainsChanged makes every server instance notice that a host leads to the tenant or does not any more. The one that
-- is gone is not its primary domain any more either.
-- name: TenantDomainsChanged :one
   UPDATE parako.tenants
      SET domain = nullif(domain, @gone::text),
          revision = revision + 1,
          updated_at = now()
    WHERE id = @id
      AND id > '00000000-0000-4000-8000-0000000000ff'
RETURNING revision;

-- TenantSetDomain makes one of the tenant's hosts its primary domain, and with it its issuer. NULL is the one below the base domain. No
-- row: the host does not lead to the tenant, or the tenant is not at the revision that was expected.
-- name: TenantSetDomain :one
   UPDATE parako.tenants AS t
      SET domain = sqlc.narg(domain),
          revision = t.revision + 1,
          updated_at = now()
    WHERE t.id = @id
      AND t.id > '00000000-0000-4000-8000-0000000000ff'
      AND (sqlc.narg(domain)::text IS NULL
           OR EXISTS (SELECT
                        FROM parako.tenant_locators AS l
                       WHERE l.kind = 'host'
                         AND l.name = sqlc.narg(domain)
                         AND l.tenant_id = t.id
                         AND l.verified_at IS NOT NULL))
      AND (sqlc.narg(revision)::bigint IS NULL OR t.revision = sqlc.narg(revision))
RETURNING *;

-- TenantBySlug finds the tenant that a slug leads to. One that is held after the end of its tenant belongs to the platform's, and leads
-- nowhere.
-- name: TenantBySlug :one
SELECT t.*
  FROM parako.tenants AS t
  JOIN parako.tenant_locators AS l
    ON l.tenant_id = t.id
 WHERE l.kind = 'slug'
   AND l.name = @slug
   AND l.verified_at IS NOT NULL;

-- TenantList pages by slug, of those that begin with the prefix. The rows that the migrations make are not listed: the built-in tenant
-- and the canaries. No slug has a character behind z. Served by tenants_slug_idx and tenants_status_idx.
-- name: TenantList :many
SELECT *
  FROM parako.tenants
 WHERE slug COLLATE "C" > @after::text
   AND slug COLLATE "C" >= @prefix::text
   AND slug COLLATE "C" < @prefix::text || '{'
   AND id > '00000000-0000-4000-8000-0000000000ff'
   AND (sqlc.narg(status)::text IS NULL OR status = sqlc.narg(status))
 ORDER BY slug COLLATE "C"
 LIMIT @page_size;

-- TenantStatusCount counts the tenants of a status, those that TenantList lists, up to a bound.
-- name: TenantStatusCount :one
SELECT count(*)
  FROM (
    SELECT 1
      FROM parako.tenants
     WHERE status = @status::text
       AND id > '00000000-0000-4000-8000-0000000000ff'
     LIMIT @bound
  ) AS counted;

-- TenantSetStatus changes the status, ends for good whatever was issued before, and makes every server instance notice. No row:
-- the tenant is protected, or its status is not what it was any more.
-- name: TenantSetStatus :one
   UPDATE parako.tenants
      SET status = @status,
          revoked_before = now(),
          revision = revision + 1,
          updated_at = now()
    WHERE id = @id
      AND id > '00000000-0000-4000-8000-0000000000ff'
      AND slug <> '_platforms'
      AND status = @was
      AND (sqlc.narg(revision)::bigint IS NULL OR revision = sqlc.narg(revision))
      AND delete_after IS NULL
RETURNING *;

-- TenantDeletionRequest has an archived tenant removed, later. No row: it is not archived, protected, on its way already, or not at the
-- revision that was expected.
-- name: TenantDeletionRequest :one
   UPDATE parako.tenants
      SET delete_after = now() + make_interval(secs => @grace_seconds::double precision),
          deletion = jsonb_build_object('requested_by', @operator::text, 'requested_at', now()),
          revision = revision + 1,
          updated_at = now()
    WHERE id = @id
      AND id > '00000000-0000-4000-8000-0000000000ff'
      AND slug <> '_platforms'
      AND status = 'archived'
      AND delete_after IS NULL
      AND (sqlc.narg(revision)::bigint IS NULL OR revision = sqlc.narg(revision))
RETURNING *;

-- TenantDeletionCancel lets the tenant stay. No row: nothing was asked for, its removal has begun, it is about to be filled, or it is not
-- at the revision that was expected.
-- name: TenantDeletionCancel :one
   UPDATE parako.tenants
      SET delete_after = NULL,
          deletion = NULL,
          revision = revision + 1,
          updated_at = now()
    WHERE id = @id
      AND delete_after IS NOT NULL
      AND NOT deletion ? 'rows'
      AND NOT deletion ? 'provisioning'
      AND (sqlc.narg(revision)::bigint IS NULL OR revision = sqlc.narg(revision))
RETURNING *;

-- TenantToRemove finds a tenant for whoever removes it. It waits for a request that is just being made, or taken back, but not for
-- whoever writes rows that refer to the tenant, as an import does for long.
-- name: TenantToRemove :one
SELECT *
  FROM parako.tenants
 WHERE id = @id
   FOR NO KEY UPDATE;

-- TenantDeletionBegin notes what there was. From then on there is no way back. It is no change that instances have to hear of.
-- name: TenantDeletionBegin :one
   UPDATE parako.tenants
      SET deletion = @deletion
    WHERE id = @id
      AND status = 'archived'
      AND delete_after <= now()
      AND NOT deletion ? 'rows'
RETURNING *;

-- TenantDelete removes the row and, by the foreign keys, what is left of the tenant. A policy demands that it is archived and due.
-- name: TenantDelete :execrows
DELETE FROM parako.tenants
 WHERE id = @id;

-- LocatorsDelete gives the issuers of a tenant back, and the keys that it had come with.
-- name: LocatorsDelete :exec
DELETE FROM parako.tenant_locators
 WHERE tenant_id = @tenant_id
   AND kind IN ('issuer', 'origin');

-- LocatorsForget gives every name of a tenant back that was never served.
-- name: LocatorsForget :exec
DELETE FROM parako.tenant_locators
 WHERE tenant_id = @tenant_id;

-- TenantOrigins are the tenants whose keys a tenant has come with. Served by tenant_locators_tenant_id_idx.
-- name: TenantOrigins :many
SELECT name
  FROM parako.tenant_locators
 WHERE tenant_id = @tenant_id
   AND kind = 'origin'
 ORDER BY name;

-- TenantAmong says whether one of the tenants is here.
-- name: TenantAmong :one
SELECT EXISTS (
    SELECT
      FROM parako.tenants
     WHERE id = ANY(@ids::uuid[])
);

-- LocatorHold keeps the slug and the hosts of a tenant from everybody for a while. They lead nowhere.
-- name: LocatorHold :exec
UPDATE parako.tenant_locators
   SET tenant_id = @holder,
       verified_at = NULL,
       held_until = CASE WHEN kind = 'slug' THEN now() + make_interval(secs => @hold_seconds::double precision) END,
       reserved_until = CASE WHEN kind = 'host' THEN now() + make_interval(secs => @hold_seconds::double precision) END
 WHERE tenant_id = @tenant_id;

-- LocatorFree gives a slug or a host back that LocatorHold keeps, and tells which it was: no slug has a dot, and every host one. No row:
-- it is not kept.
-- name: LocatorFree :one
DELETE FROM parako.tenant_locators
 WHERE name = @name
   AND tenant_id = @holder
   AND (kind = 'slug' AND held_until IS NOT NULL
        OR kind = 'host' AND verified_at IS NULL AND reserved_until IS NOT NULL)
RETURNING kind;

-- JobsForget removes the jobs of a tenant but for the one that removes it. Served by river_job_args_index.
-- name: JobsForget :exec
DELETE FROM jobs.river_job
 WHERE args @> jsonb_build_object('tenant_id', @tenant_id::uuid)
   AND kind <> @but::text;

-- TenantUpdate changes what a tenant is called; an empty issuer_url is the computed one. No row: the tenant is
-- protected, or not at the revision that was expected; or the issuer that is to be replaced is not the former one, whose name was given back.
-- name: TenantUpdate :one
   UPDATE parako.tenants
      SET display_name = coalesce(sqlc.narg(display_name), display_name),
          issuer_url = CASE WHEN sqlc.narg(issuer_url)::text IS NULL THEN issuer_url ELSE nullif(sqlc.narg(issuer_url)::text, '') END,
          revision = revision + 1,
          updated_at = now()
    WHERE id = @id
      AND id > '00000000-0000-4000-8000-0000000000ff'
      AND slug <> '_platforms'
      AND (sqlc.narg(revision)::bigint IS NULL OR revision = sqlc.narg(revision))
      AND (sqlc.narg(issuer_url)::text IS NULL OR coalesce(issuer_url, '') = @former::text)
RETURNING *;

-- LocatorOfAnother says whether a name belongs to another tenant.
-- name: LocatorOfAnother :one
SELECT EXISTS (
    SELECT
      FROM parako.tenant_locators AS l
     WHERE l.kind = @kind
       AND l.name = @name
       AND l.tenant_id <> @tenant_id
);

-- LocatorLock keeps whoever else wants the host, or an issuer on it, waiting until the transaction ends.
-- name: LocatorLock :exec
SELECT pg_advisory_xact_lock(hashtextextended('parako host ' || @host::text, 0));

-- IssuerOfAnother says whether another tenant has an issuer on the host, with any port and path. Served by tenant_locators_issuer_idx.
-- name: IssuerOfAnother :one
SELECT EXISTS (
    SELECT
      FROM parako.tenant_locators AS l
     CROSS JOIN unnest(ARRAY['https://' || @host::text, 'http://' || @host::text]) AS o (origin)
     WHERE l.kind = 'issuer'
       AND l.name COLLATE "C" >= o.origin
       AND l.name COLLATE "C" < o.origin || '{'
       AND substr(l.name, length(o.origin) + 1, 1) IN ('', '/', ':')
       AND l.tenant_id <> @tenant_id
);

-- LocatorDrop gives a name of the tenant back.
-- name: LocatorDrop :exec
DELETE FROM parako.tenant_locators
 WHERE kind = @kind
   AND name = @name
   AND tenant_id = @tenant_id;

-- Clock is the moment the transaction began, by the clock that dates changes.
-- name: Clock :one
SELECT now()::timestamptz;

-- TenantsChanged is what the poll of every server instance reads: changes since a moment, by tenants_updated_at_idx.
-- name: TenantsChanged :many
SELECT id, revision, updated_at
  FROM parako.tenants
 WHERE (updated_at, id) > (@since::timestamptz, @after::uuid)
 ORDER BY updated_at, id
 LIMIT @page_size;

-- name: AuditAppend :exec
INSERT INTO parako.audit_events (tenant_id, id, type, status, actor_type, actor_id, target_type, target_id, request_id, detail)
VALUES (@tenant_id, @id, @type, @status, @actor_type, @actor_id, @target_type, @target_id, @request_id, @detail);

-- TenantIDs pages through every row by its id, the built-in tenant and the canaries included: each may have a data key.
-- name: TenantIDs :many
SELECT id
  FROM parako.tenants
 WHERE id > @after::uuid
 ORDER BY id
 LIMIT @page_size;

-- TenantCount counts what TenantIDs lists.
-- name: TenantCount :one
SELECT count(*)
  FROM parako.tenants;

-- TenantSetQuota sets what is given; a negative number takes a bound away. No row: the tenant is protected, or not at the revision that
-- was expected.
-- name: TenantSetQuota :one
   UPDATE parako.tenants
      SET max_users = CASE WHEN sqlc.narg(max_users)::integer < 0 THEN NULL ELSE coalesce(sqlc.narg(max_users)::integer, max_users) END,
          max_clients = CASE WHEN sqlc.narg(max_clients)::integer < 0 THEN NULL ELSE coalesce(sqlc.narg(max_clients)::integer, max_clients) END,
          max_sessions = CASE WHEN sqlc.narg(max_sessions)::integer < 0 THEN NULL ELSE coalesce(sqlc.narg(max_sessions)::integer, max_sessions) END,
          max_requests_per_second = CASE WHEN sqlc.narg(max_requests_per_second)::integer < 0 THEN NULL ELSE coalesce(sqlc.narg(max_requests_per_second)::integer, max_requests_per_second) END,
          max_mails_per_hour = CASE WHEN sqlc.narg(max_mails_per_hour)::integer < 0 THEN NULL ELSE coalesce(sqlc.narg(max_mails_per_hour)::integer, max_mails_per_hour) END,
          revision = revision + 1,
          updated_at = now()
    WHERE id = @id
      AND id > '00000000-0000-4000-8000-0000000000ff'
      AND slug <> '_platforms'
      AND (sqlc.narg(revision)::bigint IS NULL OR revision = sqlc.narg(revision))
RETURNING *;
