-- name: AuditAppend :exec
INSERT INTO parako.audit_events (id, type, status, actor_type, actor_id, target_type, target_id, client_id, request_id, ip, user_agent, detail)
VALUES (@id, @type, @status, @actor_type, @actor_id, @target_type, @target_id, @client_id, @request_id, @ip, @user_agent, @detail);
