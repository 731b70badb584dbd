-- name: GrantCreate :exec
INSERT INTO parako.grants (id, client_id, user_id, session_id, scopes, resources, auth_time, acr, amr, nonce, claims, expires_at)
VALUES (@id, @client_id, @user_id, sqlc.narg(session_id), @scopes, @resources, @auth_time, @acr, @amr, @nonce, sqlc.narg(claims), @expires_at);

-- A grant from before its tenant's revoked_before is not found, and neither is what belongs to it: tenants that come back from a
-- suspension begin anew.

-- GrantByID finds a grant that has not ended.
-- name: GrantByID :one
SELECT g.*
  FROM parako.grants AS g
  JOIN parako.tenants AS t
    ON t.id = @tenant_id
   AND t.revoked_before < g.created_at
 WHERE g.tenant_id = @tenant_id
   AND g.id = @id
   AND g.revoked_at IS NULL
   AND g.expires_at > now();

-- GrantEvenRevoked finds a grant, also when it has ended. A disabled account has none.
-- name: GrantEvenRevoked :one
SELECT g.*
  FROM parako.grants AS g
  JOIN parako.users AS u
    ON u.tenant_id = @tenant_id
   AND u.id = g.user_id
   AND u.account_enabled
  JOIN parako.tenants AS t
    ON t.id = @tenant_id
   AND t.revoked_before < g.created_at
 WHERE g.tenant_id = @tenant_id
   AND g.id = @id;

-- GrantRevoke ends a family of tokens: every look-up of a token asks its grant.
-- name: GrantRevoke :execrows
UPDATE parako.grants
   SET revoked_at = now()
 WHERE tenant_id = @tenant_id
   AND id = @id
   AND revoked_at IS NULL;

-- GrantRevokeBySession ends what dies with a session: every grant without offline_access.
-- name: GrantRevokeBySession :exec
UPDATE parako.grants
   SET revoked_at = now()
 WHERE tenant_id = @tenant_id
   AND session_id = @session_id::uuid
   AND revoked_at IS NULL
   AND NOT 'offline_access' = ANY(scopes);

-- name: CodeCreate :exec
INSERT INTO parako.codes (id, grant_id, redirect_uri, redirect_uri_sent, code_challenge, code_challenge_method, dpop_jkt, expires_at)
VALUES (@id, @grant_id, @redirect_uri, @redirect_uri_sent, @code_challenge, @code_challenge_method, sqlc.narg(dpop_jkt), @expires_at);

-- CodeByID returns spent and expired codes too: the caller must notice the reuse. A disabled account has none.
-- name: CodeByID :one
SELECT sqlc.embed(c), sqlc.embed(g)
  FROM parako.codes AS c
  JOIN parako.grants AS g
    ON g.tenant_id = @tenant_id
   AND g.id = c.grant_id
  JOIN parako.users AS u
    ON u.tenant_id = @tenant_id
   AND u.id = g.user_id
   AND u.account_enabled
  JOIN parako.tenants AS t
    ON t.id = @tenant_id
   AND t.revoked_before < g.created_at
 WHERE c.tenant_id = @tenant_id
   AND c.id = @id;

-- CodeSpend succeeds for one caller only.
-- name: CodeSpend :execrows
UPDATE parako.codes
   SET spent_at = now()
 WHERE tenant_id = @tenant_id
   AND id = @id
   AND spent_at IS NULL
   AND expires_at > now();

-- name: RefreshTokenCreate :exec
INSERT INTO parako.refresh_tokens (id, grant_id, cnf, expires_at)
VALUES (@id, @grant_id, sqlc.narg(cnf), @expires_at)
    ON CONFLICT (tenant_id, id) DO NOTHING;

-- RefreshTokenByID returns used and expired tokens too: the caller must notice the reuse. A disabled account has none.
-- session_live says whether the session of the authorization goes on, on which grants without offline_access depend.
-- name: RefreshTokenByID :one
SELECT sqlc.embed(r), sqlc.embed(g), now()::timestamptz AS now,
       coalesce(s.ended_at IS NULL AND s.expires_at > now(), false)::boolean AS session_live
  FROM parako.refresh_tokens AS r
  JOIN parako.grants AS g
    ON g.tenant_id = @tenant_id
   AND g.id = r.grant_id
  JOIN parako.users AS u
    ON u.tenant_id = @tenant_id
   AND u.id = g.user_id
   AND u.account_enabled
  JOIN parako.tenants AS t
    ON t.id = @tenant_id
   AND t.revoked_before < g.created_at
  LEFT JOIN parako.sessions AS s
    ON s.tenant_id = @tenant_id
   AND s.id = g.session_id
 WHERE r.tenant_id = @tenant_id
   AND r.id = @id;

-- RefreshTokenUse rotates a token out, or repeats the rotation within the grace period. No row: it is too late.
-- name: RefreshTokenUse :execrows
UPDATE parako.refresh_tokens
   SET used_at = coalesce(used_at, now())
 WHERE tenant_id = @tenant_id
   AND id = @id
   AND expires_at > now()
   AND (used_at IS NULL OR used_at > now() - make_interval(secs => @grace_seconds::double precision));

-- name: AccessTokenCreate :exec
INSERT INTO parako.access_tokens (id, grant_id, client_id, scopes, resources, cnf, act, expires_at)
VALUES (@id, sqlc.narg(grant_id), @client_id, @scopes, @resources, sqlc.narg(cnf), sqlc.narg(act), @expires_at);

-- AccessTokenByID finds a live token and the grant behind it, which a client_credentials token does not have. A token
-- whose grant was revoked, whose account is disabled, or whose client was switched off, is not live.
-- name: AccessTokenByID :one
SELECT sqlc.embed(a), g.user_id, g.session_id, g.auth_time, g.acr, g.amr, c.metadata, c.redirect_uris
  FROM parako.access_tokens AS a
  JOIN parako.clients AS c
    ON c.tenant_id = @tenant_id
   AND c.id = a.client_id
   AND c.active
  LEFT JOIN parako.grants AS g
    ON g.tenant_id = @tenant_id
   AND g.id = a.grant_id
  LEFT JOIN parako.users AS u
    ON u.tenant_id = @tenant_id
   AND u.id = g.user_id
  JOIN parako.tenants AS t
    ON t.id = @tenant_id
   AND t.revoked_before < coalesce(g.created_at, a.created_at)
 WHERE a.tenant_id = @tenant_id
   AND a.id = @id
   AND a.revoked_at IS NULL
   AND a.expires_at > now()
   AND (a.grant_id IS NULL OR (g.revoked_at IS NULL AND g.expires_at > now() AND u.account_enabled));

-- AccessTokenUser finds a live token of a person, the person's account and the client.
-- name: AccessTokenUser :one
SELECT sqlc.embed(a), sqlc.embed(u), g.claims, g.session_id, sqlc.embed(c)
  FROM parako.access_tokens AS a
  JOIN parako.clients AS c
    ON c.tenant_id = @tenant_id
   AND c.id = a.client_id
   AND c.active
  JOIN parako.grants AS g
    ON g.tenant_id = @tenant_id
   AND g.id = a.grant_id
  JOIN parako.users AS u
    ON u.tenant_id = @tenant_id
   AND u.id = g.user_id
  JOIN parako.tenants AS t
    ON t.id = @tenant_id
   AND t.revoked_before < g.created_at
 WHERE a.tenant_id = @tenant_id
   AND a.id = @id
   AND a.revoked_at IS NULL
   AND a.expires_at > now()
   AND g.revoked_at IS NULL
   AND g.expires_at > now()
   AND u.account_enabled;

-- name: AccessTokenRevoke :execrows
UPDATE parako.access_tokens
   SET revoked_at = now()
 WHERE tenant_id = @tenant_id
   AND id = @id
   AND revoked_at IS NULL;

-- name: RevokedTokenCreate :exec
INSERT INTO parako.revoked_tokens (id, expires_at)
VALUES (@id, @expires_at)
    ON CONFLICT (tenant_id, id) DO NOTHING;
