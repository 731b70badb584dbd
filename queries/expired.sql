-- What has expired is removed a page at a time, in the tenant it belongs to. Every statement is served by the table's
-- expires_at index. Rows are kept a while after they expire, so that a late reuse is still recognised.

-- name: InteractionExpire :exec
DELETE FROM parako.interactions AS i
 WHERE i.tenant_id = @tenant_id
   AND i.id IN (SELECT e.id
                  FROM parako.interactions AS e
                 WHERE e.tenant_id = @tenant_id
                   AND e.expires_at < @before
                 LIMIT @page_size);

-- name: CodeExpire :exec
DELETE FROM parako.codes AS c
 WHERE c.tenant_id = @tenant_id
   AND c.id IN (SELECT e.id
                  FROM parako.codes AS e
                 WHERE e.tenant_id = @tenant_id
                   AND e.expires_at < @before
                 LIMIT @page_size);

-- name: AccessTokenExpire :exec
DELETE FROM parako.access_tokens AS a
 WHERE a.tenant_id = @tenant_id
   AND a.id IN (SELECT e.id
                  FROM parako.access_tokens AS e
                 WHERE e.tenant_id = @tenant_id
                   AND e.expires_at < @before
                 LIMIT @page_size);

-- name: RefreshTokenExpire :exec
DELETE FROM parako.refresh_tokens AS r
 WHERE r.tenant_id = @tenant_id
   AND r.id IN (SELECT e.id
                  FROM parako.refresh_tokens AS e
                 WHERE e.tenant_id = @tenant_id
                   AND e.expires_at < @before
                 LIMIT @page_size);

-- GrantExpire takes what is left of the grant's tokens along.
-- name: GrantExpire :exec
DELETE FROM parako.grants AS g
 WHERE g.tenant_id = @tenant_id
   AND g.id IN (SELECT e.id
                  FROM parako.grants AS e
                 WHERE e.tenant_id = @tenant_id
                   AND e.expires_at < @before
                 LIMIT @page_size);

-- name: RevokedTokenExpire :exec
DELETE FROM parako.revoked_tokens AS r
 WHERE r.tenant_id = @tenant_id
   AND r.id IN (SELECT e.id
                  FROM parako.revoked_tokens AS e
                 WHERE e.tenant_id = @tenant_id
                   AND e.expires_at < @before
                 LIMIT @page_size);

-- name: ClientAssertionExpire :exec
DELETE FROM parako.client_assertions AS a
 WHERE a.tenant_id = @tenant_id
   AND a.id IN (SELECT e.id
                  FROM parako.client_assertions AS e
                 WHERE e.tenant_id = @tenant_id
                   AND e.expires_at < @before
                 LIMIT @page_size);

-- name: SessionExpire :exec
DELETE FROM parako.sessions AS s
 WHERE s.tenant_id = @tenant_id
   AND s.id IN (SELECT e.id
                  FROM parako.sessions AS e
                 WHERE e.tenant_id = @tenant_id
                   AND e.expires_at < @before
                 LIMIT @page_size);

-- name: PushedRequestExpire :exec
DELETE FROM parako.pushed_requests AS r
 WHERE r.tenant_id = @tenant_id
   AND r.id IN (SELECT e.id
                  FROM parako.pushed_requests AS e
                 WHERE e.tenant_id = @tenant_id
                   AND e.expires_at < @before
                 LIMIT @page_size);

-- name: DeviceCodeExpire :exec
DELETE FROM parako.device_codes AS d
 WHERE d.tenant_id = @tenant_id
   AND d.id IN (SELECT e.id
                  FROM parako.device_codes AS e
                 WHERE e.tenant_id = @tenant_id
                   AND e.expires_at < @before
                 LIMIT @page_size);

-- RegistrationTokenExpire leaves those that have no end, and those that were revoked before theirs.
-- name: RegistrationTokenExpire :exec
DELETE FROM parako.registration_tokens AS r
 WHERE r.tenant_id = @tenant_id
   AND r.id IN (SELECT e.id
                  FROM parako.registration_tokens AS e
                 WHERE e.tenant_id = @tenant_id
                   AND e.expires_at < @before::timestamptz
                 LIMIT @page_size);

-- name: LogoutDeliveryExpire :exec
DELETE FROM parako.logout_deliveries AS d
 WHERE d.tenant_id = @tenant_id
   AND d.id IN (SELECT e.id
                  FROM parako.logout_deliveries AS e
                 WHERE e.tenant_id = @tenant_id
                   AND e.expires_at < @before
                 LIMIT @page_size);

-- name: MailExpire :exec
DELETE FROM parako.mails AS m
 WHERE m.tenant_id = @tenant_id
   AND m.id IN (SELECT e.id
                  FROM parako.mails AS e
                 WHERE e.tenant_id = @tenant_id
                   AND e.expires_at < @before
                 LIMIT @page_size);

-- ExpiredLeft reports whether a page was not enough somewhere.
-- name: ExpiredLeft :one
SELECT (   EXISTS (SELECT FROM parako.interactions AS e1 WHERE e1.tenant_id = @tenant_id AND e1.expires_at < @before::timestamptz)
        OR EXISTS (SELECT FROM parako.codes AS e2 WHERE e2.tenant_id = @tenant_id AND e2.expires_at < @before::timestamptz)
        OR EXISTS (SELECT FROM parako.access_tokens AS e3 WHERE e3.tenant_id = @tenant_id AND e3.expires_at < @before::timestamptz)
        OR EXISTS (SELECT FROM parako.refresh_tokens AS e4 WHERE e4.tenant_id = @tenant_id AND e4.expires_at < @before::timestamptz)
        OR EXISTS (SELECT FROM parako.grants AS e5 WHERE e5.tenant_id = @tenant_id AND e5.expires_at < @before::timestamptz)
        OR EXISTS (SELECT FROM parako.revoked_tokens AS e6 WHERE e6.tenant_id = @tenant_id AND e6.expires_at < @before::timestamptz)
        OR EXISTS (SELECT FROM parako.client_assertions AS e7 WHERE e7.tenant_id = @tenant_id AND e7.expires_at < @before::timestamptz)
        OR EXISTS (SELECT FROM parako.sessions AS e8 WHERE e8.tenant_id = @tenant_id AND e8.expires_at < @before::timestamptz)
        OR EXISTS (SELECT FROM parako.pushed_requests AS e9 WHERE e9.tenant_id = @tenant_id AND e9.expires_at < @before::timestamptz)
        OR EXISTS (SELECT FROM parako.device_codes AS e10 WHERE e10.tenant_id = @tenant_id AND e10.expires_at < @before::timestamptz)
        OR EXISTS (SELECT FROM parako.registration_tokens AS e11 WHERE e11.tenant_id = @tenant_id AND e11.expires_at < @before::timestamptz)
        OR EXISTS (SELECT FROM parako.logout_deliveries AS e12 WHERE e12.tenant_id = @tenant_id AND e12.expires_at < @before::timestamptz)
        OR EXISTS (SELECT FROM parako.mails AS e13 WHERE e13.tenant_id = @tenant_id AND e13.expires_at < @before::timestamptz))::boolean AS more;
