-- name: SettingsList :many
SELECT section, version, value
  FROM parako.tenant_settings
 WHERE tenant_id = @tenant_id
 ORDER BY section;

-- SettingsPut replaces a section's override.
-- name: SettingsPut :one
INSERT INTO parako.tenant_settings (id, section, value)
VALUES (@id, @section, @value)
    ON CONFLICT (tenant_id, section) DO UPDATE
   SET value = excluded.value,
       version = tenant_settings.version + 1,
       updated_at = now()
RETURNING version;
