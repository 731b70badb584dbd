-- name: SettingsList :many
SELECT section, version, value
  FROM parako.tenant_settings
 WHERE tenant_id = @tenant_id
 ORDER BY section;

-- SettingsPut replaces a section's override, unless it has another version than the one that was read, which is 0 for one that is
-- not there.
-- name: SettingsPut :one
INSERT INTO parako.tenant_settings (id, section, value)
VALUES (@id, @section, @value)
    ON CONFLICT (tenant_id, section) DO UPDATE
   SET value = excluded.value,
       version = tenant_settings.version + 1,
       updated_at = now()
 WHERE tenant_settings.version = @version
RETURNING version;

-- name: SettingsKeep :exec
INSERT INTO parako.tenant_settings_history (id, section, version, value, actor_type, actor_id, reason)
VALUES (@id, @section, @version, @value, @actor_type, @actor_id, @reason);

-- SettingsForget removes the versions of a section that are too old to be kept.
-- name: SettingsForget :exec
DELETE FROM parako.tenant_settings_history
 WHERE tenant_id = @tenant_id
   AND section = @section
   AND version <= @version;

-- SettingsHistory pages through the versions of a section before one, the newest first.
-- name: SettingsHistory :many
SELECT version, value, actor_type, actor_id, reason, created_at
  FROM parako.tenant_settings_history
 WHERE tenant_id = @tenant_id
   AND section = @section
   AND version < @before
 ORDER BY version DESC
 LIMIT @page_size;

-- name: SettingsVersion :one
SELECT version, value, actor_type, actor_id, reason, created_at
  FROM parako.tenant_settings_history
 WHERE tenant_id = @tenant_id
   AND section = @section
   AND version = @version;
