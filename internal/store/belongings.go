package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Belonging is a table that holds rows of tenants.
type Belonging struct {
	Name string
	// removable says that the application's role may delete them.
	removable bool
	column    string
}

// Belongings lists every table in which tenants have rows, as the catalog knows them.
// The data key is first, for without it nothing sealed is worth anything; then whoever refers to others comes before them.
func (tx *Tx) Belongings(ctx context.Context) ([]Belonging, error) {
	found, err := tx.talk.Query(ctx, `
WITH RECURSIVE depths (table_id, depth) AS (
    SELECT t.table_id, 0
      FROM audit.tables AS t
     WHERE NOT t.global
       AND NOT t.partition
     UNION
    SELECT k.conrelid, d.depth + 1
      FROM depths AS d
      JOIN pg_constraint AS k ON k.confrelid = d.table_id AND k.contype = 'f' AND k.conrelid <> k.confrelid
     WHERE d.depth < 32
)
SELECT t.table_name, t.tenant_column, has_table_privilege(t.table_id, 'DELETE')
  FROM audit.tables AS t
  JOIN depths AS d USING (table_id)
 WHERE NOT t.global
   AND NOT t.partition
 GROUP BY t.table_id, t.table_name, t.tenant_column
 ORDER BY t.table_name = 'data_keys' DESC, max(d.depth) DESC, t.table_name`)
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	list, err := pgx.CollectRows(found, func(row pgx.CollectableRow) (b Belonging, err error) {
		err = row.Scan(&b.Name, &b.column, &b.removable)
		return b, err
	})
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	return list, nil
}

// Count is how many rows the transaction's tenant has in the table. It reads them all.
func (tx *Tx) Count(ctx context.Context, b Belonging) (n int64, err error) {
	if err := tx.talk.QueryRow(ctx, "SELECT count(*) FROM "+b.table()+" WHERE "+b.tenant()+" = $1", tx.tenant).Scan(&n); err != nil {
		return 0, fmt.Errorf("count %s: %w", b.Name, err)
	}
	return n, nil
}

// Empty removes up to limit of the tenant's rows from the table, and what refers to them. It returns how many; none either when the
// table is one from which the application cannot remove: the trail, and the tenant itself.
func (tx *Tx) Empty(ctx context.Context, b Belonging, limit int) (int64, error) {
	if !b.removable {
		return 0, nil
	}
	tag, err := tx.talk.Exec(ctx, "DELETE FROM "+b.table()+" WHERE "+b.tenant()+" = $1 AND ctid = ANY (ARRAY(SELECT ctid FROM "+b.table()+
		" WHERE "+b.tenant()+" = $1 LIMIT $2))", tx.tenant, limit)
	if err != nil {
		return 0, fmt.Errorf("empty %s: %w", b.Name, err)
	}
	return tag.RowsAffected(), nil
}

func (b Belonging) table() string  { return pgx.Identifier{"parako", b.Name}.Sanitize() }
func (b Belonging) tenant() string { return pgx.Identifier{b.column}.Sanitize() }
