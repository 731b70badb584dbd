-- name: ClientCreate :exec
INSERT INTO parako.clients (id, client_name, application_type, preset, token_endpoint_auth_method, secret_digest, jwks,
                            redirect_uris, post_logout_redirect_uris, grant_types, response_types, scope, allowed_resources,
                            resources_scopes, require_pkce, id_token_signed_response_alg, is_internal_client)
VALUES (@id, @client_name, @application_type, sqlc.narg(preset), @token_endpoint_auth_method, sqlc.narg(secret_digest),
        sqlc.narg(jwks), @redirect_uris, @post_logout_redirect_uris, @grant_types, @response_types, @scope,
        @allowed_resources, @resources_scopes, @require_pkce, @id_token_signed_response_alg, @is_internal_client);

-- name: ClientByID :one
SELECT *
  FROM parako.clients
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
