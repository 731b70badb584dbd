package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Table is a table that holds rows of tenants, as the catalog describes it.
type Table struct {
	Name string
	// Columns are all but the tenant's own and those that PostgreSQL computes.
	Columns []Column
	tenant  string
}

// Column is a column of a Table. Type is what PostgreSQL calls it, such as "timestamp with time zone".
type Column struct{ Name, Type string }

// Tables lists every table in which tenants have rows, as the catalog knows them. No migration can add one that is not among them.
func (tx *Tx) Tables(ctx context.Context) ([]Table, error) {
	found, err := tx.talk.Query(ctx, `
SELECT t.table_name, t.tenant_column, a.attname::text, format_type(a.atttypid, a.atttypmod)
  FROM audit.tables AS t
  JOIN pg_attribute AS a ON a.attrelid = t.table_id AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND a.attname <> t.tenant_column
 WHERE NOT t.global
   AND NOT t.partition
 ORDER BY t.table_name, a.attnum`)
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	var list []Table
	var t Table
	var c Column
	_, err = pgx.ForEachRow(found, []any{&t.Name, &t.tenant, &c.Name, &c.Type}, func() error {
		if len(list) == 0 || list[len(list)-1].Name != t.Name {
			list = append(list, t)
		}
		at := &list[len(list)-1]
		at.Columns = append(at.Columns, c)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	return list, nil
}

// Rows hands every row that the transaction's tenant has in the table to fn, by id, as a JSON object of its columns. They come as they
// are read, and fn must ask nothing in this transaction. What it is given is its own.
func (tx *Tx) Rows(ctx context.Context, t Table, fn func(row json.RawMessage) error) error {
	found, err := tx.talk.Query(ctx, "SELECT row_to_json(kept)::text FROM (SELECT "+t.columns()+" FROM "+t.table()+" WHERE "+
		t.column()+" = $1 ORDER BY id) AS kept", tx.tenant)
	if err != nil {
		return fmt.Errorf("read %s: %w", t.Name, err)
	}
	defer found.Close()
	for found.Next() {
		var row []byte
		if err := found.Scan(&row); err != nil {
			return fmt.Errorf("read %s: %w", t.Name, err)
		}
		if err := fn(slices.Clone(row)); err != nil {
			return err
		}
	}
	if err := found.Err(); err != nil {
		return fmt.Errorf("read %s: %w", t.Name, err)
	}
	return nil
}

// AddRows adds rows as Rows hands them out to the transaction's tenant. All of them, or it fails.
func (tx *Tx) AddRows(ctx context.Context, t Table, rows []json.RawMessage) error {
	document, err := json.Marshal(rows)
	if err != nil {
		return err
	}
	tag, err := tx.talk.Exec(ctx, "INSERT INTO "+t.table()+" ("+t.column()+", "+t.columns()+") SELECT $1::uuid, "+t.columns()+
		" FROM json_populate_recordset(NULL::"+t.table()+", $2::json) ON CONFLICT DO NOTHING", tx.tenant, string(document))
	if err != nil {
		return fmt.Errorf("add to %s: %w", t.Name, err)
	}
	if n := tag.RowsAffected(); n != int64(len(rows)) {
		return fmt.Errorf("add to %s: %d of %d rows are there already", t.Name, int64(len(rows))-n, len(rows))
	}
	return nil
}

func (t Table) table() string  { return pgx.Identifier{"parako", t.Name}.Sanitize() }
func (t Table) column() string { return pgx.Identifier{t.tenant}.Sanitize() }

func (t Table) columns() string {
	names := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		names[i] = pgx.Identifier{c.Name}.Sanitize()
	}
	return strings.Join(names, ", ")
}

// Schema is the version of the database's schema.
func (tx *Tx) Schema(ctx context.Context) (version int64, err error) {
	err = tx.talk.QueryRow(ctx, "SELECT coalesce(max(version_id), 0) FROM goose_db_version").Scan(&version)
	if err != nil {
		return 0, fmt.Errorf("read the schema's version: %w", err)
	}
	return version, nil
}
