-- SessionClients lists the clients that were given something in a session, as far as they want to know its end. Served by
-- grants_session_idx.
-- name: SessionClients :many
SELECT c.id,
       coalesce(c.metadata ->> 'backchannel_logout_uri', '')::text AS backchannel_uri,
       coalesce(c.metadata ->> 'frontchannel_logout_uri', '')::text AS frontchannel_uri,
       coalesce((c.metadata ->> 'frontchannel_logout_session_required')::boolean, false)::boolean AS frontchannel_session
  FROM (SELECT DISTINCT g.client_id
          FROM parako.grants AS g
         WHERE g.tenant_id = @tenant_id
           AND g.session_id = @session_id::uuid) AS used
  JOIN parako.clients AS c
    ON c.tenant_id = @tenant_id
   AND c.id = used.client_id
 WHERE c.active
   AND (c.metadata ->> 'backchannel_logout_uri' IS NOT NULL OR c.metadata ->> 'frontchannel_logout_uri' IS NOT NULL)
 ORDER BY c.id;

-- name: LogoutDeliveryCreate :exec
INSERT INTO parako.logout_deliveries (id, client_id, user_id, session_id, expires_at)
VALUES (@id, @client_id, @user_id, @session_id, @expires_at);

-- name: LogoutDeliveryByID :one
SELECT *
  FROM parako.logout_deliveries
 WHERE tenant_id = @tenant_id
   AND id = @id;

-- LogoutDeliveryDone forgets a delivery that was made, or that nobody wants any more.
-- name: LogoutDeliveryDone :exec
DELETE FROM parako.logout_deliveries
 WHERE tenant_id = @tenant_id
   AND id = @id;

-- LogoutDeliveryTried keeps what came of an attempt; the last one gives up. No row: it was made or given up meanwhile.
-- name: LogoutDeliveryTried :execrows
UPDATE parako.logout_deliveries
   SET attempts = attempts + 1,
       last_error = @last_error,
       tried_at = now(),
       failed_at = CASE WHEN @last::boolean THEN now() END
 WHERE tenant_id = @tenant_id
   AND id = @id
   AND failed_at IS NULL;

-- LogoutDeliveriesFailed lists what was given up, the latest first. Served by logout_deliveries_failed_idx.
-- name: LogoutDeliveriesFailed :many
SELECT *
  FROM parako.logout_deliveries
 WHERE tenant_id = @tenant_id
   AND failed_at IS NOT NULL
 ORDER BY failed_at DESC, id DESC
 LIMIT @page_size;
