-- TenantLocate answers which tenant a slug or a verified host leads to. The policy shows only the row that set_locator named.
-- name: TenantLocate :one
-- cross-tenant: the tenant is not known yet
SELECT tenant_id
  FROM parako.tenant_locators
 WHERE kind = @kind
   AND name = @name
   AND verified_at IS NOT NULL;

-- name: TenantByID :one
SELECT *
  FROM parako.tenants
 WHERE id = @tenant_id;

-- TenantTouch makes every server instance reload what it holds of the tenant.
-- name: TenantTouch :one
   UPDATE parako.tenants
      SET revision = revision + 1,
          updated_at = now()
    WHERE id = @tenant_id
RETURNING revision;

-- TenantUserQuota is how many people the tenant may have, and has whoever else adds one wait. No row: any number, and nobody waits.
-- Rows that refer to the tenant can be added meanwhile.
-- name: TenantUserQuota :one
SELECT max_users::integer AS quota
  FROM parako.tenants
 WHERE id = @tenant_id
   AND max_users IS NOT NULL
   FOR NO KEY UPDATE;

-- TenantClientQuota is TenantUserQuota for applications.
-- name: TenantClientQuota :one
SELECT max_clients::integer AS quota
  FROM parako.tenants
 WHERE id = @tenant_id
   AND max_clients IS NOT NULL
   FOR NO KEY UPDATE;

-- TenantSessionQuota is TenantUserQuota for sessions.
-- name: TenantSessionQuota :one
SELECT max_sessions::integer AS quota
  FROM parako.tenants
 WHERE id = @tenant_id
   AND max_sessions IS NOT NULL
   FOR NO KEY UPDATE;

-- TenantUsers counts the people of the tenant, up to a number. Served by users_pkey.
-- name: TenantUsers :one
SELECT count(*)
  FROM (SELECT u.id
          FROM parako.users AS u
         WHERE u.tenant_id = @tenant_id
         LIMIT @up_to::bigint) AS found;

-- TenantClients counts the applications of the tenant, up to a number. Served by clients_pkey.
-- name: TenantClients :one
SELECT count(*)
  FROM (SELECT c.id
          FROM parako.clients AS c
         WHERE c.tenant_id = @tenant_id
         LIMIT @up_to::bigint) AS found;

-- TenantSessions counts the sessions of the tenant that have not ended and were used since a moment, up to a number. Served by
-- sessions_expires_at_idx.
-- name: TenantSessions :one
SELECT count(*)
  FROM (SELECT s.id
          FROM parako.sessions AS s
          JOIN parako.tenants AS t
            ON t.id = @tenant_id
           AND t.revoked_before < s.created_at
         WHERE s.tenant_id = @tenant_id
           AND s.ended_at IS NULL
           AND s.expires_at > now()
           AND s.last_seen_at >= @used_since
         LIMIT @up_to::bigint) AS found;
