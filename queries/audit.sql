-- name: AuditAppend :exec
INSERT INTO parako.audit_events (id, type, status, actor_type, actor_id, target_type, target_id, client_id, request_id, ip, user_agent, detail)
VALUES (@id, @type, @status, @actor_type, @actor_id, @target_type, @target_id, @client_id, @request_id, @ip, @user_agent, @detail);

-- name: AuditList :many
SELECT *
  FROM parako.audit_events
 WHERE tenant_id = @tenant_id
   AND (occurred_at, id) < (@before_at::timestamptz, @before_id::uuid)
 ORDER BY occurred_at DESC, id DESC
 LIMIT @page_size;
