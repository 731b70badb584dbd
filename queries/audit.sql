-- name: AuditAppend :exec
INSERT INTO parako.audit_events (id, type, status, actor_type, actor_id, target_type, target_id, client_id, request_id, ip, user_agent, detail)
VALUES (@id, @type, @status, @actor_type, @actor_id, @target_type, @target_id, @client_id, @request_id, @ip, @user_agent, @detail);

-- AuditSeal seals what is not sealed yet, a few thousand events at most, and returns the seal; no row: there was nothing.
-- name: AuditSeal :one
SELECT s.seal_no::bigint AS seal_no, s.events::integer AS events, s.hash::bytea AS hash
  FROM audit.seal(@tenant_id) AS s (seal_no, events, hash);

-- AuditSealHead is the last seal of the tenant.
-- name: AuditSealHead :one
SELECT *
  FROM parako.audit_seals
 WHERE tenant_id = @tenant_id
 ORDER BY seal_no DESC
 LIMIT 1;

-- AuditSealHash is the hash of one seal of the tenant.
-- name: AuditSealHash :one
SELECT hash
  FROM parako.audit_seals
 WHERE tenant_id = @tenant_id
   AND seal_no = @seal_no;

-- AuditVerify tells what does not fit the seals; no rows: nothing. What a finding does not concern is empty: a deleted
-- event has no time, a seal no event.
-- name: AuditVerify :many
SELECT coalesce(f.seal_no, 0)::bigint AS seal_no,
       coalesce(f.event_id::text, '')::text AS event_id,
       coalesce(to_char(f.occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '')::text AS occurred_at,
       f.finding::text AS finding
  FROM audit.verify(@tenant_id, @since::timestamptz, @until::timestamptz) AS f (seal_no, event_id, occurred_at, finding);

-- AuditDeletions finds the certificates of a tenant that was removed, by its id or its slug, the last first. It is the platform's trail
-- that holds them.
-- name: AuditDeletions :many
SELECT *
  FROM parako.audit_events
 WHERE tenant_id = @tenant_id
   AND type = 'tenant.deleted'
   AND (target_id = @name::text OR detail ->> 'slug' = @name::text)
 ORDER BY occurred_at DESC, id DESC
 LIMIT 10;
