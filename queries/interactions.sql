-- name: InteractionCreate :exec
INSERT INTO parako.interactions (id, browser_digest, client_id, request, login_required, consent_prompt, select_account, session_id,
                                 pushed_id, device_id, target, expires_at)
VALUES (@id, @browser_digest, sqlc.narg(client_id), @request, @login_required, @consent_prompt, @select_account, sqlc.narg(session_id),
        sqlc.narg(pushed_id), sqlc.narg(device_id), sqlc.narg(target), @expires_at);

-- InteractionByID finds a request, and whether it still waits in the browser that began it.
-- name: InteractionByID :one
SELECT sqlc.embed(i),
       (i.browser_digest = @browser_digest AND i.finished_at IS NULL AND i.expires_at > now() AND i.created_at > t.revoked_before)::boolean AS waiting
  FROM parako.interactions AS i
  JOIN parako.tenants AS t
    ON t.id = @tenant_id
 WHERE i.tenant_id = @tenant_id
   AND i.id = @id;

-- InteractionSignedIn ties the session of a fresh login to the request.
-- name: InteractionSignedIn :execrows
UPDATE parako.interactions
   SET session_id = @session_id,
       login_required = false,
       select_account = false
 WHERE tenant_id = @tenant_id
   AND id = @id
   AND finished_at IS NULL
   AND expires_at > now();

-- InteractionChosen remembers that the person chose the account that is signed in.
-- name: InteractionChosen :execrows
UPDATE parako.interactions
   SET select_account = false
 WHERE tenant_id = @tenant_id
   AND id = @id
   AND finished_at IS NULL
   AND expires_at > now();

-- InteractionSwitch asks for another login within the request.
-- name: InteractionSwitch :execrows
UPDATE parako.interactions
   SET session_id = NULL,
       login_required = true,
       select_account = false
 WHERE tenant_id = @tenant_id
   AND id = @id
   AND finished_at IS NULL
   AND expires_at > now();

-- InteractionFinish spends the request; no row means that it was answered already.
-- name: InteractionFinish :execrows
UPDATE parako.interactions
   SET finished_at = now()
 WHERE tenant_id = @tenant_id
   AND id = @id
   AND finished_at IS NULL
   AND expires_at > now();

-- name: ConsentByClient :one
SELECT scopes
  FROM parako.consents
 WHERE tenant_id = @tenant_id
   AND user_id = @user_id
   AND client_id = @client_id;

-- ConsentPut remembers the scopes a person has agreed to, on top of those agreed to before.
-- name: ConsentPut :exec
INSERT INTO parako.consents (id, user_id, client_id, scopes)
VALUES (@id, @user_id, @client_id, @scopes)
    ON CONFLICT (tenant_id, user_id, client_id) DO UPDATE
   SET scopes = ARRAY(SELECT DISTINCT s FROM unnest(consents.scopes || excluded.scopes) AS s ORDER BY s),
       updated_at = now();
