-- name: DataKeyGet :one
SELECT *
  FROM parako.data_keys
 WHERE tenant_id = @tenant_id;

-- DataKeyCreate does nothing when another instance was first; read the row again.
-- name: DataKeyCreate :exec
INSERT INTO parako.data_keys (id, master_key_id, wrapped)
VALUES (@id, @master_key_id, @wrapped)
    ON CONFLICT (tenant_id) DO NOTHING;

-- SigningKeyList returns every key whose public half is published: the signer of each algorithm first, then the newest.
-- name: SigningKeyList :many
SELECT *
  FROM parako.signing_keys
 WHERE tenant_id = @tenant_id
   AND status <> 'retired'
 ORDER BY (status = 'active' AND promoted) DESC, created_at DESC, id DESC;

-- SigningKeyCreate adds a key that signs at once, unless the algorithm has one already.
-- name: SigningKeyCreate :execrows
INSERT INTO parako.signing_keys (id, kid, alg, status, promoted, public_jwk, private_key)
VALUES (@id, @kid, @alg, 'active', true, @public_jwk, @private_key)
    ON CONFLICT (tenant_id, alg) WHERE status = 'active' AND promoted DO NOTHING;

-- SigningKeyPublics returns the public half of every key there was: what was signed long ago is verified with it.
-- name: SigningKeyPublics :many
SELECT public_jwk
  FROM parako.signing_keys
 WHERE tenant_id = @tenant_id;
