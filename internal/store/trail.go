package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"parako/internal/secret"
)

// RetainTrail makes, as the owner of the schema, the partitions of the audit trail up to ahead months from now, and drops
// those that ended keep months ago or earlier; a keep of 0 drops none. It returns how many of each. Seals are kept.
func RetainTrail(ctx context.Context, owner secret.String, keep, ahead int) (made, dropped int, err error) {
	conn, err := connectOwner(ctx, owner)
	if err != nil {
		return 0, 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{BeginQuery: "begin; set local lock_timeout = '3s'"}, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, "SELECT audit.extend($1)", ahead).Scan(&made); err != nil {
			return fmt.Errorf("make months of the audit trail: %w", err)
		}
		if keep == 0 {
			return nil
		}
		const expire = "SELECT audit.expire((date_trunc('month', now() AT TIME ZONE 'UTC') - make_interval(months => $1)) AT TIME ZONE 'UTC')"
		if err := tx.QueryRow(ctx, expire, keep).Scan(&dropped); err != nil {
			return fmt.Errorf("drop months of the audit trail: %w", err)
		}
		return nil
	})
	return made, dropped, err
}

// connectOwner opens one connection with the owner's URL. Its errors do not repeat the URL.
func connectOwner(ctx context.Context, owner secret.String) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(owner.Reveal())
	if err != nil {
		return nil, errors.New("DATABASE_URL is not valid: want postgres://user:password@host:port/name")
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect as owner: %w", err)
	}
	return conn, nil
}
