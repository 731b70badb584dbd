-- name: DataKeyGet :one
SELECT *
  FROM parako.data_keys
 WHERE tenant_id = @tenant_id;

-- DataKeyCreate does nothing when another instance was first; read the row again.
-- name: DataKeyCreate :exec
INSERT INTO parako.data_keys (id, master_key_id, wrapped)
VALUES (@id, @master_key_id, @wrapped)
    ON CONFLICT (tenant_id) DO NOTHING;

-- DataKeyInherit gives a tenant that is being imported the derived keys it had before.
-- name: DataKeyInherit :execrows
UPDATE parako.data_keys
   SET inherited = @inherited
 WHERE tenant_id = @tenant_id
   AND id = @id
   AND inherited IS NULL;

-- SigningKeyList returns every key whose public half is published: the signer of each algorithm first, then the newest. A key
-- whose time is over is left out, also while nobody has retired it yet.
-- name: SigningKeyList :many
SELECT *
  FROM parako.signing_keys
 WHERE tenant_id = @tenant_id
   AND status <> 'retired'
   AND (verify_until IS NULL OR verify_until > now())
 ORDER BY (status = 'active' AND promoted) DESC, created_at DESC, id DESC;

-- SigningKeyHistory returns every key there is, the newest first.
-- name: SigningKeyHistory :many
SELECT *
  FROM parako.signing_keys
 WHERE tenant_id = @tenant_id
 ORDER BY created_at DESC, id DESC;

-- SigningKeyLock keeps everybody else from the tenant's keys until the transaction ends: whoever changes one begins here.
-- name: SigningKeyLock :many
SELECT *
  FROM parako.signing_keys
 WHERE tenant_id = @tenant_id
 ORDER BY id
   FOR UPDATE;

-- SigningKeyCreate adds a key that signs at once, unless the algorithm has one already.
-- name: SigningKeyCreate :execrows
INSERT INTO parako.signing_keys (id, kid, alg, status, promoted, public_jwk, private_key, promoted_at)
VALUES (@id, @kid, @alg, 'active', true, @public_jwk, @private_key, now())
    ON CONFLICT (tenant_id, alg) WHERE status = 'active' AND promoted DO NOTHING;

-- SigningKeyPublish adds a key that will sign, unless the algorithm has such a one already.
-- name: SigningKeyPublish :execrows
INSERT INTO parako.signing_keys (id, kid, alg, status, promoted, public_jwk, private_key, promote_at)
VALUES (@id, @kid, @alg, 'active', false, @public_jwk, @private_key, now() + make_interval(secs => @delay_seconds::float8))
    ON CONFLICT (tenant_id, alg) WHERE status = 'active' AND NOT promoted DO NOTHING;

-- SigningKeyOverlap raises how long something made with the tenant's signers can be needed.
-- name: SigningKeyOverlap :exec
UPDATE parako.signing_keys
   SET overlap_seconds = @overlap_seconds
 WHERE tenant_id = @tenant_id
   AND status = 'active'
   AND promoted
   AND overlap_seconds < @overlap_seconds;

-- SigningKeyAdopt dates a signer that a release before this one made, once.
-- name: SigningKeyAdopt :execrows
UPDATE parako.signing_keys
   SET promoted_at = created_at
 WHERE tenant_id = @tenant_id
   AND id = @id
   AND promoted
   AND promoted_at IS NULL;

-- SigningKeyDemote ends the signing of a key. Nothing needs its private half any more, unless it opens what others encrypt.
-- name: SigningKeyDemote :execrows
UPDATE parako.signing_keys
   SET status = 'expiring',
       promoted = false,
       rotated_at = now(),
       verify_until = now() + make_interval(secs => greatest(overlap_seconds, @overlap_seconds::integer)::float8),
       private_key = CASE WHEN @opens::boolean THEN private_key ELSE ''::bytea END
 WHERE tenant_id = @tenant_id
   AND id = @id
   AND status = 'active'
   AND promoted;

-- SigningKeyPromote has a published key sign, when it is time or early.
-- name: SigningKeyPromote :execrows
UPDATE parako.signing_keys
   SET promoted = true,
       promoted_at = now()
 WHERE tenant_id = @tenant_id
   AND id = @id
   AND status = 'active'
   AND NOT promoted
   AND (@early::boolean OR promote_at <= now());

-- SigningKeyRetire erases a key whose time is over.
-- name: SigningKeyRetire :execrows
UPDATE parako.signing_keys
   SET status = 'retired',
       promoted = false,
       private_key = '',
       retired_at = now()
 WHERE tenant_id = @tenant_id
   AND id = @id
   AND status = 'expiring'
   AND verify_until <= now();

-- SigningKeyRevoke erases a key whatever it does.
-- name: SigningKeyRevoke :execrows
UPDATE parako.signing_keys
   SET status = 'retired',
       promoted = false,
       private_key = '',
       retired_at = now(),
       revoked = true
 WHERE tenant_id = @tenant_id
   AND id = @id
   AND status <> 'retired';

-- SigningKeyDelete removes a key that was retired before a moment.
-- name: SigningKeyDelete :execrows
DELETE FROM parako.signing_keys
 WHERE tenant_id = @tenant_id
   AND id = @id
   AND status = 'retired'
   AND retired_at < @before::timestamptz;

-- DataKeyRewrap replaces the wrapping of a data key that is still as it was read.
-- name: DataKeyRewrap :execrows
UPDATE parako.data_keys
   SET master_key_id = @master_key_id,
       wrapped = @wrapped
 WHERE tenant_id = @tenant_id
   AND master_key_id = @before;
