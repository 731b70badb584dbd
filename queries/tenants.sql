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
