-- name: ClientCreate :exec
INSERT INTO parako.clients (id, client_name, application_type, preset, token_endpoint_auth_method, secret_digest, secret_sealed, jwks,
                            redirect_uris, post_logout_redirect_uris, grant_types, response_types, scope, allowed_resources,
                            resources_scopes, require_pkce, id_token_signed_response_alg, is_internal_client, default_max_age,
                            client_uri, logo_uri, policy_uri, tos_uri, contacts, audience, metadata, registration_digest, registration_policy)
VALUES (@id, @client_name, @application_type, sqlc.narg(preset), @token_endpoint_auth_method, sqlc.narg(secret_digest),
        sqlc.narg(secret_sealed), sqlc.narg(jwks), @redirect_uris, @post_logout_redirect_uris, @grant_types, @response_types, @scope,
        @allowed_resources, @resources_scopes, @require_pkce, @id_token_signed_response_alg, @is_internal_client,
        sqlc.narg(default_max_age), sqlc.narg(client_uri), sqlc.narg(logo_uri), sqlc.narg(policy_uri), sqlc.narg(tos_uri), @contacts,
        sqlc.narg(audience), @metadata, sqlc.narg(registration_digest), sqlc.narg(registration_policy));

-- name: ClientByID :one
SELECT *
  FROM parako.clients
 WHERE tenant_id = @tenant_id
   AND id = @id;

-- ClientForUpdate is ClientByID for who changes it.
-- name: ClientForUpdate :one
SELECT *
  FROM parako.clients
 WHERE tenant_id = @tenant_id
   AND id = @id
   FOR UPDATE;

-- ClientUpdate replaces what a client registered. Whether it is active, and who it is, stays.
-- name: ClientUpdate :execrows
UPDATE parako.clients
   SET client_name = @client_name,
       application_type = @application_type,
       token_endpoint_auth_method = @token_endpoint_auth_method,
       secret_digest = sqlc.narg(secret_digest),
       secret_sealed = sqlc.narg(secret_sealed),
       previous_secret_digest = sqlc.narg(previous_secret_digest),
       previous_secret_sealed = sqlc.narg(previous_secret_sealed),
       previous_secret_expires_at = sqlc.narg(previous_secret_expires_at),
       jwks = sqlc.narg(jwks),
       redirect_uris = @redirect_uris,
       post_logout_redirect_uris = @post_logout_redirect_uris,
       grant_types = @grant_types,
       response_types = @response_types,
       scope = @scope,
       allowed_resources = @allowed_resources,
       resources_scopes = @resources_scopes,
       require_pkce = @require_pkce,
       id_token_signed_response_alg = @id_token_signed_response_alg,
       is_internal_client = @is_internal_client,
       default_max_age = sqlc.narg(default_max_age),
       client_uri = sqlc.narg(client_uri),
       logo_uri = sqlc.narg(logo_uri),
       policy_uri = sqlc.narg(policy_uri),
       tos_uri = sqlc.narg(tos_uri),
       contacts = @contacts,
       audience = sqlc.narg(audience),
       metadata = @metadata,
       updated_at = now()
 WHERE tenant_id = @tenant_id
   AND id = @id;

-- ClientRotateSecret makes the secret the previous one, for a while.
-- name: ClientRotateSecret :execrows
UPDATE parako.clients
   SET previous_secret_digest = secret_digest,
       previous_secret_sealed = secret_sealed,
       previous_secret_expires_at = @previous_secret_expires_at::timestamptz,
       secret_digest = @secret_digest,
       secret_sealed = sqlc.narg(secret_sealed),
       updated_at = now()
 WHERE tenant_id = @tenant_id
   AND id = @id;

-- ClientRenewRegistration replaces the token with which a client manages itself; no row means that it is not the present one, or
-- that the client was switched off. The token is used up by this.
-- name: ClientRenewRegistration :execrows
UPDATE parako.clients
   SET registration_digest = @registration_digest,
       updated_at = now()
 WHERE tenant_id = @tenant_id
   AND id = @id
   AND registration_digest = @presented_digest
   AND active;

-- name: ClientSetActive :execrows
UPDATE parako.clients
   SET active = @active,
       updated_at = now()
 WHERE tenant_id = @tenant_id
   AND id = @id;

-- name: ClientDelete :execrows
DELETE FROM parako.clients
 WHERE tenant_id = @tenant_id
   AND id = @id;

-- ClientList pages by client_id.
-- name: ClientList :many
SELECT *
  FROM parako.clients
 WHERE tenant_id = @tenant_id
   AND id > @after::text
 ORDER BY id
 LIMIT @page_size;

-- ClientCount counts the clients up to a bound.
-- name: ClientCount :one
SELECT count(*)
  FROM (
    SELECT 1
      FROM parako.clients
     WHERE tenant_id = @tenant_id
     LIMIT @bound
  ) AS counted;

-- ClientsWithLogin lists the clients in which a login can be started from here, by name. It reads the tenant's clients.
-- name: ClientsWithLogin :many
SELECT client_name,
       coalesce(logo_uri, '')::text AS logo_uri,
       coalesce(client_uri, '')::text AS client_uri,
       (metadata ->> 'initiate_login_uri')::text AS login_uri
  FROM parako.clients
 WHERE tenant_id = @tenant_id
   AND active
   AND metadata ->> 'initiate_login_uri' LIKE 'https://%'
 ORDER BY client_name, id
 LIMIT @page_size;

-- ClientAssertionSpend uses a client assertion up; no row means that it was used before.
-- name: ClientAssertionSpend :execrows
INSERT INTO parako.client_assertions (id, expires_at)
VALUES (@id, @expires_at)
    ON CONFLICT (tenant_id, id) DO NOTHING;

-- ClientSetURIs moves a client's addresses; the development server calls it when its ports have changed.
-- name: ClientSetURIs :execrows
UPDATE parako.clients
   SET redirect_uris = @redirect_uris,
       post_logout_redirect_uris = @post_logout_redirect_uris,
       updated_at = now()
 WHERE tenant_id = @tenant_id
   AND id = @id;

-- ClientByAudience finds the client that a resource (RFC 8707) is.
-- name: ClientByAudience :one
SELECT *
  FROM parako.clients
 WHERE tenant_id = @tenant_id
   AND audience = @audience::text;

-- ClientOfToken is the client that a JSON Web Token of its own, which is stored nowhere, lets act: it is active, and the token was not
-- revoked, by itself or with everything of its tenant.
-- name: ClientOfToken :one
SELECT c.allowed_resources,
       c.resources_scopes
  FROM parako.clients AS c
  JOIN parako.tenants AS t
    ON t.id = @tenant_id
   AND t.revoked_before < @issued_at
 WHERE c.tenant_id = @tenant_id
   AND c.id = @id
   AND c.active
   AND NOT EXISTS (
    SELECT
      FROM parako.revoked_tokens AS r
     WHERE r.tenant_id = @tenant_id
       AND r.id = @token
);
