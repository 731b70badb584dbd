-- UserCreate: a taken username, email or phone number is a unique violation.
-- name: UserCreate :exec
INSERT INTO parako.users (id, username, username_norm, email, email_norm, email_verified, name, given_name, family_name, middle_name,
                          nickname, profile, picture, website, gender, birthdate, zoneinfo, locale, phone_number,
                          phone_number_verified, address, roles)
VALUES (@id, @username, @username_norm, sqlc.narg(email), sqlc.narg(email_norm), @email_verified, sqlc.narg(name),
        sqlc.narg(given_name), sqlc.narg(family_name), sqlc.narg(middle_name), sqlc.narg(nickname), sqlc.narg(profile),
        sqlc.narg(picture), sqlc.narg(website), sqlc.narg(gender), sqlc.narg(birthdate), sqlc.narg(zoneinfo), sqlc.narg(locale),
        sqlc.narg(phone_number), @phone_number_verified, sqlc.narg(address), @roles);

-- UserUpdate replaces what is known of a person; a taken username, email or phone number is a unique violation.
-- name: UserUpdate :exec
UPDATE parako.users
   SET username = @username,
       username_norm = @username_norm,
       email = sqlc.narg(email),
       email_norm = sqlc.narg(email_norm),
       email_verified = @email_verified,
       name = sqlc.narg(name),
       given_name = sqlc.narg(given_name),
       family_name = sqlc.narg(family_name),
       middle_name = sqlc.narg(middle_name),
       nickname = sqlc.narg(nickname),
       profile = sqlc.narg(profile),
       picture = sqlc.narg(picture),
       website = sqlc.narg(website),
       gender = sqlc.narg(gender),
       birthdate = sqlc.narg(birthdate),
       zoneinfo = sqlc.narg(zoneinfo),
       locale = sqlc.narg(locale),
       phone_number = sqlc.narg(phone_number),
       phone_number_verified = @phone_number_verified,
       address = sqlc.narg(address),
       roles = @roles,
       updated_at = now()
 WHERE tenant_id = @tenant_id
   AND id = @id;

-- name: UserSetEnabled :execrows
UPDATE parako.users
   SET account_enabled = @account_enabled,
       updated_at = now()
 WHERE tenant_id = @tenant_id
   AND id = @id;

-- name: UserForUpdate :one
SELECT *
  FROM parako.users
 WHERE tenant_id = @tenant_id
   AND id = @id
   FOR UPDATE;

-- UserList pages through the people by their folded usernames. Served by users_username_key.
-- name: UserList :many
SELECT *
  FROM parako.users
 WHERE tenant_id = @tenant_id
   AND username_norm > @after::text
 ORDER BY username_norm
 LIMIT @page_size;

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

-- PlatformAdministrator finds somebody who administers the platform for good.
-- name: PlatformAdministrator :one
SELECT id
  FROM parako.users
 WHERE tenant_id = @tenant_id
   AND 'platform_admin' = ANY (roles)
   AND bootstrap_until IS NULL
 LIMIT 1;

-- BootstrapAccount finds the account that makes the first administrator, and its password hash. live: it still can.
-- name: BootstrapAccount :one
SELECT u.id, p.hash, (u.account_enabled AND u.bootstrap_until > now())::boolean AS live
  FROM parako.users AS u
  JOIN parako.user_passwords AS p
    ON p.tenant_id = @tenant_id
   AND p.user_id = u.id
 WHERE u.tenant_id = @tenant_id
   AND u.bootstrap_until IS NOT NULL;

-- name: BootstrapMark :exec
UPDATE parako.users
   SET bootstrap_until = @bootstrap_until::timestamptz
 WHERE tenant_id = @tenant_id
   AND id = @id;

-- BootstrapRenew lets an account that has ended make an administrator once more; no row: it has not ended.
-- name: BootstrapRenew :execrows
UPDATE parako.users
   SET email = @email,
       email_norm = @email_norm,
       email_verified = true,
       account_enabled = true,
       bootstrap_until = @bootstrap_until::timestamptz,
       updated_at = now()
 WHERE tenant_id = @tenant_id
   AND id = @id
   AND NOT (account_enabled AND bootstrap_until > now());

-- BootstrapEnd spends the account: it never signs in again, and its address is free for the administrator it has made. No row: it has ended.
-- name: BootstrapEnd :execrows
UPDATE parako.users
   SET account_enabled = false,
       email = NULL,
       email_norm = NULL,
       email_verified = false,
       bootstrap_until = now(),
       updated_at = now()
 WHERE tenant_id = @tenant_id
   AND id = @id
   AND account_enabled
   AND bootstrap_until > now();
