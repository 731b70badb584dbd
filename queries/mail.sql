-- name: MailCreate :exec
INSERT INTO parako.mails (id, user_id, kind, detail, expires_at)
VALUES (@id, @user_id, @kind, @detail, @expires_at);

-- MailByID also finds the person it is for.
-- name: MailByID :one
SELECT sqlc.embed(m), u.email, u.email_verified, u.account_enabled, u.name, u.username, u.locale
  FROM parako.mails AS m
  JOIN parako.users AS u
    ON u.tenant_id = @tenant_id
   AND u.id = m.user_id
 WHERE m.tenant_id = @tenant_id
   AND m.id = @id;

-- MailDone forgets a mail that the mail server has taken, or that nobody is to get any more.
-- name: MailDone :exec
DELETE FROM parako.mails
 WHERE tenant_id = @tenant_id
   AND id = @id;

-- MailTried keeps what came of an attempt; the last one gives up. No row: it was sent or given up meanwhile.
-- name: MailTried :execrows
UPDATE parako.mails
   SET attempts = attempts + 1,
       last_error = @last_error,
       tried_at = now(),
       failed_at = CASE WHEN @last::boolean THEN now() END
 WHERE tenant_id = @tenant_id
   AND id = @id
   AND failed_at IS NULL;

-- MailsFailed lists what was given up, the latest first. Served by mails_failed_idx.
-- name: MailsFailed :many
SELECT *
  FROM parako.mails
 WHERE tenant_id = @tenant_id
   AND failed_at IS NOT NULL
 ORDER BY failed_at DESC, id DESC
 LIMIT @page_size;
