-- name: PushedRequestCreate :exec
INSERT INTO parako.pushed_requests (id, client_id, request, expires_at)
VALUES (@id, @client_id, @request, @expires_at);

-- PushedRequestByID finds a request that its client pushed and that no code was issued for.
-- name: PushedRequestByID :one
SELECT *
  FROM parako.pushed_requests
 WHERE tenant_id = @tenant_id
   AND id = @id
   AND client_id = @client_id
   AND spent_at IS NULL
   AND expires_at > now();

-- PushedRequestSpend uses the request up; no row means that another answer did. Its time may have run out meanwhile: whoever
-- began to sign in may finish.
-- name: PushedRequestSpend :execrows
UPDATE parako.pushed_requests
   SET spent_at = now()
 WHERE tenant_id = @tenant_id
   AND id = @id
   AND spent_at IS NULL;
