-- +goose Up
-- users: the people of a tenant and the claims about them; user_passwords: their password hashes.
SET LOCAL lock_timeout = '3s';
CREATE TABLE parako.users (
    tenant_id             uuid        NOT NULL DEFAULT parako.current_tenant() REFERENCES parako.tenants (id) ON DELETE CASCADE,
    id                    uuid        NOT NULL,
    username              text        NOT NULL CONSTRAINT users_username_length CHECK (char_length(username) BETWEEN 1 AND 255),
    username_norm         text        NOT NULL,
    email                 text        CONSTRAINT users_email_length CHECK (char_length(email) BETWEEN 3 AND 254),
    email_norm            text,
    email_verified        boolean     NOT NULL DEFAULT false,
    name                  text,
    given_name            text,
    family_name           text,
    middle_name           text,
    nickname              text,
    profile               text,
    picture               text,
    website               text,
    gender                text,
    birthdate             text,
    zoneinfo              text,
    locale                text,
    phone_number          text        CONSTRAINT users_phone_number_e164 CHECK (phone_number ~ '^\+[1-9][0-9]{6,14}$'),
    phone_number_verified boolean     NOT NULL DEFAULT false,
    address               jsonb,
    roles                 text[]      NOT NULL DEFAULT '{user}',
    account_enabled       boolean     NOT NULL DEFAULT true,
    last_login_at         timestamptz,
    created_at            timestamptz NOT NULL DEFAULT now(),
    updated_at            timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT users_pkey          PRIMARY KEY (tenant_id, id),
    CONSTRAINT users_username_key  UNIQUE (tenant_id, username_norm),
    CONSTRAINT users_email_key     UNIQUE (tenant_id, email_norm),
    CONSTRAINT users_phone_key     UNIQUE (tenant_id, phone_number),
    CONSTRAINT users_email_folded  CHECK ((email IS NULL) = (email_norm IS NULL))
);
COMMENT ON TABLE parako.users IS 'username_norm and email_norm are folded by the application: an index on lower() cannot be used under row-level security.';
SELECT parako.shard_table('parako.users');
ALTER TABLE parako.users ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_boundary ON parako.users AS RESTRICTIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
CREATE POLICY tenant_access ON parako.users AS PERMISSIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
GRANT SELECT, INSERT, UPDATE, DELETE ON parako.users TO parako_app;

CREATE TABLE parako.user_passwords (
    tenant_id  uuid        NOT NULL DEFAULT parako.current_tenant() REFERENCES parako.tenants (id) ON DELETE CASCADE,
    id         uuid        NOT NULL,
    user_id    uuid        NOT NULL,
    hash       text        NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT user_passwords_pkey      PRIMARY KEY (tenant_id, id),
    CONSTRAINT user_passwords_user_key  UNIQUE (tenant_id, user_id),
    CONSTRAINT user_passwords_user_fkey FOREIGN KEY (tenant_id, user_id) REFERENCES parako.users (tenant_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE parako.user_passwords IS 'hash is a PHC string (Argon2id).';
SELECT parako.shard_table('parako.user_passwords');
ALTER TABLE parako.user_passwords ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_boundary ON parako.user_passwords AS RESTRICTIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
CREATE POLICY tenant_access ON parako.user_passwords AS PERMISSIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
GRANT SELECT, INSERT, UPDATE, DELETE ON parako.user_passwords TO parako_app;

-- +goose Down
SET LOCAL lock_timeout = '3s';
DROP TABLE parako.user_passwords;
DROP TABLE parako.users;
