-- The host names that a tenant claims. Which of them lead to the tenant is decided in tenant_locators, by the platform's queries.
-- A name that was released is claimed anew as another row: tenant_domains_name_key lets each name be claimed once at a time.

-- DomainCreate claims a name; no row means that the tenant claims it already. An operator who vouches for it gives no token.
-- name: DomainCreate :execrows
INSERT INTO parako.tenant_domains (id, name, token, verified_at)
VALUES (@id, @name, @token, sqlc.narg(verified_at))
    ON CONFLICT (tenant_id, name) WHERE released_at IS NULL DO NOTHING;

-- name: DomainCount :one
SELECT count(*)
  FROM parako.tenant_domains
 WHERE tenant_id = @tenant_id;

-- name: DomainList :many
SELECT *
  FROM parako.tenant_domains
 WHERE tenant_id = @tenant_id
 ORDER BY name, created_at, id
 LIMIT @page_size;

-- name: DomainByName :one
SELECT *
  FROM parako.tenant_domains
 WHERE tenant_id = @tenant_id
   AND name = @name
   AND released_at IS NULL;

-- DomainHold is DomainByName for whoever is about to change what the name leads to: one at a time.
-- name: DomainHold :one
SELECT *
  FROM parako.tenant_domains
 WHERE tenant_id = @tenant_id
   AND name = @name
   AND released_at IS NULL
   FOR UPDATE;

-- name: DomainByID :one
SELECT *
  FROM parako.tenant_domains
 WHERE tenant_id = @tenant_id
   AND id = @id;

-- DomainProve notes that the record was there.
-- name: DomainProve :one
   UPDATE parako.tenant_domains
      SET verified_at = coalesce(verified_at, now()),
          checked_at = now(),
          missing_checks = 0,
          missing_since = NULL,
          failing_since = NULL
    WHERE tenant_id = @tenant_id
      AND id = @id
      AND released_at IS NULL
RETURNING *;

-- DomainMiss notes that the record was not there, of a name that was verified.
-- name: DomainMiss :one
   UPDATE parako.tenant_domains
      SET checked_at = now(),
          missing_checks = missing_checks + 1,
          missing_since = coalesce(missing_since, now())
    WHERE tenant_id = @tenant_id
      AND id = @id
      AND verified_at IS NOT NULL
      AND released_at IS NULL
RETURNING *;

-- name: DomainFail :exec
UPDATE parako.tenant_domains
   SET failing_since = now()
 WHERE tenant_id = @tenant_id
   AND id = @id
   AND released_at IS NULL;

-- name: DomainRelease :exec
UPDATE parako.tenant_domains
   SET released_at = now()
 WHERE tenant_id = @tenant_id
   AND id = @id
   AND released_at IS NULL;

-- name: DomainDelete :exec
DELETE FROM parako.tenant_domains
 WHERE tenant_id = @tenant_id
   AND id = @id;
