-- name: PushedRequestCreate :exec
INSERT INTO parako.pushed_requests (id, client_id, request, expires_at)
VALUES (@id, @client_id, @request, @expires_at);

-- PushedRequestByID finds a request that its client pushed and that no code was issued for.
-- name: PushedRequestByID :one
SELECT r.*
  FROM parako.pushed_requests AS r
  JOIN parako.tenants AS t
    ON t.id = @tenant_id
   AND t.revoked_before < r.created_at
 WHERE r.tenant_id = @tenant_id
   AND r.id = @id
   AND r.client_id = @client_id
   AND r.spent_at IS NULL
   AND r.expires_at > now();

-- PushedRequestSpend uses the request up; no row means that another answer did. Its time may have run out meanwhile: whoever
-- began to sign in may finish.
-- name: PushedRequestSpend :execrows
UPDATE parako.pushed_requests
   SET spent_at = now()
 WHERE tenant_id = @tenant_id
   AND id = @id
   AND spent_at IS NULL;
