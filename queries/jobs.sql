-- The queue of background jobs, which belongs to no tenant. A policy sees to it that the job is one of the transaction's tenant and
-- holds nothing but the two ids.

-- name: JobEnqueue :exec
INSERT INTO jobs.river_job (kind, args)
VALUES (@kind, jsonb_build_object('tenant_id', @tenant_id::uuid, 'id', @id::uuid));
