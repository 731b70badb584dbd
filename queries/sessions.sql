-- name: SessionCreate :exec
INSERT INTO parako.sessions (id, token_digest, user_id, auth_time, acr, amr, ip, user_agent, expires_at)
VALUES (@id, @token_digest, @user_id, @auth_time, @acr, @amr, @ip, @user_agent, @expires_at);

-- SessionByToken finds the live session of a cookie and the account behind it, which must not have ended either.
-- name: SessionByToken :one
SELECT sqlc.embed(s), sqlc.embed(u)
  FROM parako.sessions AS s
  JOIN parako.users AS u
    ON u.tenant_id = @tenant_id
   AND u.id = s.user_id
  JOIN parako.tenants AS t
    ON t.id = @tenant_id
   AND t.revoked_before < s.created_at
 WHERE s.tenant_id = @tenant_id
   AND s.token_digest = @token_digest
   AND s.ended_at IS NULL
   AND s.expires_at > now()
   AND u.account_enabled
   AND (u.bootstrap_until IS NULL OR u.bootstrap_until > now());

-- SessionsByUser lists the live sessions of a person. Served by sessions_user_idx.
-- name: SessionsByUser :many
SELECT id
  FROM parako.sessions
 WHERE tenant_id = @tenant_id
   AND user_id = @user_id
   AND ended_at IS NULL
   AND expires_at > now();

-- SessionTouch records activity; the caller limits how often.
-- name: SessionTouch :exec
UPDATE parako.sessions
   SET last_seen_at = now()
 WHERE tenant_id = @tenant_id
   AND id = @id;

-- SessionEnd ends a session once: no row afterwards. It tells whose it was.
-- name: SessionEnd :one
   UPDATE parako.sessions
      SET ended_at = now()
    WHERE tenant_id = @tenant_id
      AND id = @id
      AND ended_at IS NULL
RETURNING user_id;

-- SessionRenew keeps a session through a new login of the same person: another token, a later time of proof.
-- name: SessionRenew :execrows
UPDATE parako.sessions
   SET token_digest = @token_digest,
       auth_time = @auth_time,
       acr = @acr,
       amr = @amr,
       last_seen_at = now(),
       expires_at = @expires_at
 WHERE tenant_id = @tenant_id
   AND id = @id
   AND user_id = @user_id
   AND ended_at IS NULL;

-- SessionSurplus lists the live sessions of a person beyond the newest ones.
-- name: SessionSurplus :many
SELECT id
  FROM parako.sessions
 WHERE tenant_id = @tenant_id
   AND user_id = @user_id
   AND ended_at IS NULL
   AND expires_at > now()
 ORDER BY created_at DESC, id DESC
OFFSET @most;
