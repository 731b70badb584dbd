-- DeviceCodeCreate stores a request of a device. No row: the user code is taken, by one that lives or one that died lately.
-- name: DeviceCodeCreate :execrows
INSERT INTO parako.device_codes (id, user_code_digest, client_id, request, ip, interval_seconds, expires_at)
VALUES (@id, @user_code_digest, @client_id, @request, @ip, @interval_seconds, @expires_at)
    ON CONFLICT (tenant_id, user_code_digest) DO NOTHING;

-- DeviceCodeByUserCode finds the request that a person may still answer. What was answered or has expired is not there.
-- name: DeviceCodeByUserCode :one
SELECT d.*
  FROM parako.device_codes AS d
  JOIN parako.tenants AS t
    ON t.id = @tenant_id
   AND t.revoked_before < d.created_at
 WHERE d.tenant_id = @tenant_id
   AND d.user_code_digest = @user_code_digest
   AND d.answered_at IS NULL
   AND d.expires_at > now();

-- DeviceCodeWaiting is DeviceCodeByUserCode for who has typed the code already.
-- name: DeviceCodeWaiting :one
SELECT d.*
  FROM parako.device_codes AS d
  JOIN parako.tenants AS t
    ON t.id = @tenant_id
   AND t.revoked_before < d.created_at
 WHERE d.tenant_id = @tenant_id
   AND d.id = @id
   AND d.answered_at IS NULL
   AND d.expires_at > now();

-- DeviceCodeAnswer lets the device in, with a grant, or refuses it, without. It succeeds for one caller only.
-- name: DeviceCodeAnswer :execrows
UPDATE parako.device_codes
   SET answered_at = now(),
       grant_id = sqlc.narg(grant_id)
 WHERE tenant_id = @tenant_id
   AND id = @id
   AND answered_at IS NULL
   AND expires_at > now();

-- DeviceCodePoll notes that a client asks for a request that still waits, and says whether it asked too soon: it has to wait
-- longer from then on. Whoever asks at the same time, at whatever instance, waits for the row. No row: the request does not
-- wait any more, or never did.
-- name: DeviceCodePoll :one
WITH asked AS (
    SELECT d.id, (d.polled_at + make_interval(secs => d.interval_seconds - @grace_seconds::double precision) > now()) IS TRUE AS hasty
      FROM parako.device_codes AS d
      JOIN parako.tenants AS t
        ON t.id = @tenant_id
       AND t.revoked_before < d.created_at
     WHERE d.tenant_id = @tenant_id
       AND d.id = @id
       AND d.client_id = @client_id
       AND d.answered_at IS NULL
       AND d.expires_at > now()
       FOR UPDATE OF d
)
UPDATE parako.device_codes AS d
   SET polled_at = now(),
       interval_seconds = CASE WHEN asked.hasty THEN d.interval_seconds + @slower_by_seconds::integer ELSE d.interval_seconds END
  FROM asked
 WHERE d.tenant_id = @tenant_id
   AND d.id = asked.id
RETURNING asked.hasty::boolean AS hasty;

-- DeviceCodeByID returns what was spent, refused or has expired too: the caller must notice the reuse.
-- name: DeviceCodeByID :one
SELECT d.answered_at, d.grant_id, d.spent_at, (d.expires_at <= now() OR d.created_at <= t.revoked_before)::boolean AS expired
  FROM parako.device_codes AS d
  JOIN parako.tenants AS t
    ON t.id = @tenant_id
 WHERE d.tenant_id = @tenant_id
   AND d.id = @id
   AND d.client_id = @client_id;

-- DeviceCodeSpend succeeds for one caller only.
-- name: DeviceCodeSpend :execrows
UPDATE parako.device_codes
   SET spent_at = now()
 WHERE tenant_id = @tenant_id
   AND id = @id
   AND grant_id IS NOT NULL
   AND spent_at IS NULL
   AND expires_at > now();
