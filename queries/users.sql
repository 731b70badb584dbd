-- UserCreate leaves the claims it does not name empty; a taken username, email or phone number is a unique violation.
-- name: UserCreate :exec
INSERT INTO parako.users (id, username, username_norm, email, email_norm, email_verified, name, given_name, family_name,
                          phone_number, phone_number_verified, locale, zoneinfo, address, roles)
VALUES (@id, @username, @username_norm, sqlc.narg(email), sqlc.narg(email_norm), @email_verified, sqlc.narg(name),
        sqlc.narg(given_name), sqlc.narg(family_name), sqlc.narg(phone_number), @phone_number_verified, sqlc.narg(locale),
        sqlc.narg(zoneinfo), sqlc.narg(address), @roles);

-- name: UserByID :one
SELECT *
  FROM parako.users
 WHERE tenant_id = @tenant_id
   AND id = @id;

-- UserForLogin finds the account an email address or a username belongs to, with its password hash. Served by
-- users_email_key and users_username_key; the caller folds the identifier. An address wins over a username that looks
-- like it.
-- name: UserForLogin :one
SELECT sqlc.embed(u), coalesce(p.hash, '')::text AS hash
  FROM parako.users AS u
  LEFT JOIN parako.user_passwords AS p
    ON p.tenant_id = @tenant_id
   AND p.user_id = u.id
 WHERE u.tenant_id = @tenant_id
   AND (u.email_norm = @identifier::text OR u.username_norm = @identifier::text)
 ORDER BY u.email_norm = @identifier::text DESC NULLS LAST
 LIMIT 1;

-- name: UserSignedIn :exec
UPDATE parako.users
   SET last_login_at = now()
 WHERE tenant_id = @tenant_id
   AND id = @id;

-- name: PasswordPut :exec
INSERT INTO parako.user_passwords (id, user_id, hash)
VALUES (@id, @user_id, @hash)
    ON CONFLICT (tenant_id, user_id) DO UPDATE
   SET hash = excluded.hash,
       updated_at = now();
