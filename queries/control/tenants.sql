-- Statements that cross tenants. They run as parako_platform, which can reach tenants and tenant_locators and append to
-- the audit trail, and nothing else.

-- name: TenantCreate :exec
INSERT INTO parako.tenants (id, slug, display_name, domain, issuer_url)
VALUES (@id, @slug, @display_name, sqlc.narg(domain), sqlc.narg(issuer_url));

-- LocatorCreate claims a slug or a host; no row means that it is taken.
-- name: LocatorCreate :execrows
INSERT INTO parako.tenant_locators (kind, name, tenant_id, verified_at)
VALUES (@kind, @name, @tenant_id, now())
    ON CONFLICT (kind, name) DO NOTHING;

-- name: TenantBySlug :one
SELECT t.*
  FROM parako.tenants AS t
  JOIN parako.tenant_locators AS l
    ON l.tenant_id = t.id
 WHERE l.kind = 'slug'
   AND l.name = @slug;

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

-- TenantCount counts the tenants of a status, those that TenantList lists, up to a bound.
-- name: TenantCount :one
SELECT count(*)
  FROM (
    SELECT 1
      FROM parako.tenants
     WHERE status = @status::text
       AND id > '00000000-0000-4000-8000-0000000000ff'
     LIMIT @bound
  ) AS counted;

-- TenantSetStatus changes the status and makes every server instance notice.
-- name: TenantSetStatus :one
   UPDATE parako.tenants
      SET status = @status,
          revision = revision + 1,
          updated_at = now()
    WHERE id = @id
      AND id > '00000000-0000-4000-8000-0000000000ff'
      AND slug <> '_platforms'
RETURNING revision;

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
