-- +goose Up
-- People sign in at the platform's own pages, without an application in between; the first of them has an account that ends by itself.
SET LOCAL lock_timeout = '3s';
ALTER TABLE parako.users ADD COLUMN bootstrap_until timestamptz;
COMMENT ON COLUMN parako.users.bootstrap_until IS 'Set for the account that makes the first administrator, until when it can; nobody else has it.';
ALTER TABLE parako.interactions
    ALTER COLUMN client_id DROP NOT NULL,
    ADD COLUMN target text,
    ADD CONSTRAINT interactions_target_local CHECK (target ~ '^/[a-z]') NOT VALID,
    ADD CONSTRAINT interactions_one_answer CHECK ((client_id IS NULL) <> (target IS NULL)) NOT VALID;
COMMENT ON COLUMN parako.interactions.target IS 'The page of our own that the answer leads to, instead of a client.';

-- +goose Down
SET LOCAL lock_timeout = '3s';
SET LOCAL row_security = off;
ALTER TABLE parako.interactions NO FORCE ROW LEVEL SECURITY;
DELETE FROM parako.interactions WHERE client_id IS NULL;
ALTER TABLE parako.interactions FORCE ROW LEVEL SECURITY;
ALTER TABLE parako.interactions
    DROP CONSTRAINT interactions_one_answer,
    DROP COLUMN target,
    ALTER COLUMN client_id SET NOT NULL;
ALTER TABLE parako.users DROP COLUMN bootstrap_until;
