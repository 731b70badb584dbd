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

-- TenantList pages by slug. The rows that the migrations make are not listed: the built-in tenant and the canaries.
-- name: TenantList :many
SELECT *
  FROM parako.tenants
 WHERE slug > @after::text
   AND id > '00000000-0000-4000-8000-0000000000ff'
   AND (sqlc.narg(status)::text IS NULL OR status = sqlc.narg(status))
 ORDER BY slug
 LIMIT @page_size;

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

-- TenantCount counts what TenantList lists.
-- name: TenantCount :one
SELECT count(*)
  FROM parako.tenants
 WHERE id > '00000000-0000-4000-8000-0000000000ff'
   AND (sqlc.narg(status)::text IS NULL OR status = sqlc.narg(status));

-- TenantRename changes what people read, and makes every server instance notice. No row: it is not there, it is the platform's
-- own, or it is not at the revision that was expected.
-- name: TenantRename :one
   UPDATE parako.tenants
      SET display_name = @display_name,
          revision = revision + 1,
          updated_at = now()
    WHERE id = @id
      AND id > '00000000-0000-4000-8000-0000000000ff'
      AND slug <> '_platforms'
      AND (sqlc.narg(revision)::bigint IS NULL OR revision = sqlc.narg(revision))
RETURNING *;
