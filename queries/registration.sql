-- name: RegistrationTokenCreate :exec
INSERT INTO parako.registration_tokens (id, token_digest, policy, max_uses, note, created_by, expires_at)
VALUES (@id, @token_digest, @policy, @max_uses, @note, @created_by, sqlc.narg(expires_at));

-- RegistrationTokenLive finds a token that can still be used. Nothing is done for whoever brings another.
-- name: RegistrationTokenLive :one
SELECT *
  FROM parako.registration_tokens
 WHERE tenant_id = @tenant_id
   AND token_digest = @token_digest
   AND uses < max_uses
   AND revoked_at IS NULL
   AND (expires_at IS NULL OR expires_at > now());

-- RegistrationTokenSpend uses a token once, in the transaction that registers the client; no row means that it can be used no
-- more. Of those that use it at once each waits for the one before, and counts what that one left.
-- name: RegistrationTokenSpend :execrows
UPDATE parako.registration_tokens
   SET uses = uses + 1
 WHERE tenant_id = @tenant_id
   AND token_digest = @token_digest
   AND uses < max_uses
   AND revoked_at IS NULL
   AND (expires_at IS NULL OR expires_at > now());

-- RegistrationTokenList pages in the order in which they were made.
-- name: RegistrationTokenList :many
SELECT *
  FROM parako.registration_tokens
 WHERE tenant_id = @tenant_id
   AND id > @after::uuid
 ORDER BY id
 LIMIT @page_size;

-- name: RegistrationTokenRevoke :execrows
UPDATE parako.registration_tokens
   SET revoked_at = now()
 WHERE tenant_id = @tenant_id
   AND id = @id
   AND revoked_at IS NULL;
