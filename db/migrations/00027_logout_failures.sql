-- +goose Up
-- audit.logout_failures: the logouts that an application was not told of.
SET LOCAL lock_timeout = '3s';
-- +goose StatementBegin
DO $view$
BEGIN

CREATE VIEW audit.logout_failures WITH (security_invoker = true) AS
SELECT e.tenant_id, e.tenant, e.occurred_at, e.client_id, e.target_id AS session_id, e.detail ->> 'reason' AS reason,
       (e.detail ->> 'attempts')::integer AS attempts, e.detail ->> 'error' AS last_error, e.id AS event_id
  FROM audit.events AS e
 WHERE e.type = 'logout.undelivered';
COMMENT ON VIEW audit.logout_failures IS 'Sessions that ended without their applications learning of it: back-channel logouts that were given up.';
GRANT SELECT ON audit.logout_failures TO parako_app, parako_auditor;

END
$view$;
-- +goose StatementEnd

-- +goose Down
SET LOCAL lock_timeout = '3s';
DROP VIEW audit.logout_failures;
