package store

import (
	"context"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// canaryTable is a table of the schema as the catalog describes it.
type canaryTable struct {
	name    string // with its schema, quoted where it must be
	bare    string // without
	tenant  string // the column of the tenant; empty: the table belongs to no tenant
	columns []canaryColumn
	// keys are the columns of the primary key besides the tenant.
	keys []string
	// alone says that a tenant has one row at most: a unique key holds nothing but the tenant.
	alone bool
}

type canaryColumn struct {
	name, format string
	required     bool   // NOT NULL without a default
	choices      string // the CHECK that lists its values, if there is one
	// parent and key are where its foreign key leads, besides the tenant.
	parent, key string
}

// canarySamples are values for columns whose CHECK is more than a list of values, as SQL.
var canarySamples = map[string]string{
	"audit_events.type": "'isolation.canary'",
}

// catalogTables lists every table but partitions, which are reached through their parents, a row a column.
const catalogTables = `
SELECT format('%I.%I', n.nspname, c.relname), c.relname::text, coalesce(s.tenant_column, CASE WHEN s.table_name IS NULL THEN 'tenant_id' ELSE '' END),
       a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull AND NOT a.atthasdef AND a.attidentity = '',
       coalesce((SELECT pg_get_constraintdef(k.oid)
                   FROM pg_constraint AS k
                  WHERE k.conrelid = c.oid AND k.contype = 'c' AND k.conkey = ARRAY[a.attnum]
                    AND pg_get_constraintdef(k.oid) LIKE '%= ANY (ARRAY[%'
                  LIMIT 1), ''),
       coalesce(f.parent, ''), coalesce(f.key, ''),
       EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisprimary AND a.attnum = ANY (i.indkey)),
       EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisunique AND i.indnkeyatts = 1 AND i.indpred IS NULL AND NOT i.indisprimary
                  AND i.indkey[0] = (SELECT t.attnum FROM pg_attribute AS t WHERE t.attrelid = c.oid AND t.attname = 'tenant_id'))
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
  LEFT JOIN audit.promised_scopes AS s ON s.table_name = c.relname
  LEFT JOIN LATERAL (SELECT k.confrelid::regclass::text AS parent, p.attname::text AS key
                       FROM pg_constraint AS k
                      CROSS JOIN unnest(k.conkey, k.confkey) AS pair (here, there)
                       JOIN pg_attribute AS p ON p.attrelid = k.confrelid AND p.attnum = pair.there
                      WHERE k.conrelid = c.oid AND k.contype = 'f' AND pair.here = a.attnum
                        AND k.confrelid <> 'parako.tenants'::regclass
                        AND pair.there <> (SELECT t.attnum FROM pg_attribute AS t WHERE t.attrelid = k.confrelid AND t.attname = 'tenant_id')
                      LIMIT 1) AS f ON true
 WHERE n.nspname = 'parako'
   AND c.relkind IN ('r', 'p')
   AND NOT c.relispartition
 ORDER BY c.relname, a.attnum`

func canaryTables(ctx context.Context, tx pgx.Tx) ([]canaryTable, error) {
	rows, err := tx.Query(ctx, catalogTables)
	if err != nil {
		return nil, err
	}
	var list []canaryTable
	var t canaryTable
	var c canaryColumn
	var primary bool
	_, err = pgx.ForEachRow(rows, []any{&t.name, &t.bare, &t.tenant, &c.name, &c.format, &c.required, &c.choices, &c.parent, &c.key, &primary, &t.alone}, func() error {
		if len(list) == 0 || list[len(list)-1].name != t.name {
			list = append(list, t)
		}
		at := &list[len(list)-1]
		if primary && c.name != t.tenant {
			at.keys = append(at.keys, pgx.Identifier{c.name}.Sanitize())
		}
		if c.name != t.tenant {
			at.columns = append(at.columns, c)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	return list, nil
}

// plant puts one row of the tenant, which the transaction is in, into every table that has none of it, parents first. Two
// tenants with different nth have no value of a key in common, wherever the columns leave a choice.
func plant(ctx context.Context, tx pgx.Tx, tables []canaryTable, tenant uuid.UUID, nth int) error {
	byName, planted := map[string]canaryTable{}, map[string]bool{}
	for _, t := range tables {
		byName[t.name], byName[t.bare] = t, t
	}
	var insert func(canaryTable) error
	insert = func(t canaryTable) error {
		if planted[t.name] || t.tenant == "" {
			return nil
		}
		planted[t.name] = true
		var names, values []string
		for _, c := range t.columns {
			if !c.required && t.bare+"."+c.name != "interactions.client_id" { // which a CHECK demands, or another column
				continue
			}
			if c.parent != "" {
				if err := insert(byName[c.parent]); err != nil {
					return err
				}
			}
			value, err := c.sample(t, tenant, nth)
			if err != nil {
				return err
			}
			names, values = append(names, pgx.Identifier{c.name}.Sanitize()), append(values, value)
		}
		var exists bool
		if err := tx.QueryRow(ctx, fmt.Sprintf("SELECT EXISTS (SELECT FROM %s WHERE %s = $1)", t.name, t.tenant), tenant).Scan(&exists); err != nil || exists {
			return err
		}
		sql := fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", t.name, strings.Join(names, ", "), strings.Join(values, ", "))
		if _, err := tx.Exec(ctx, sql); err != nil {
			return fmt.Errorf("put a canary into %s (canarySamples may want a value): %w", t.name, err)
		}
		return nil
	}
	for _, t := range tables {
		if err := insert(t); err != nil {
			return err
		}
	}
	return nil
}

// canaryChoice finds the values in the definition of a CHECK that lists them.
var canaryChoice = regexp.MustCompile(`'(?:[^']|'')*'`)

// canaryMark is in every text and every bytea of a canary, unless its column is picky.
func canaryMark(tenant uuid.UUID) string { return "canary-" + tenant.String() }

// sample is a valid value for the column, as SQL.
func (c canaryColumn) sample(t canaryTable, tenant uuid.UUID, nth int) (string, error) {
	if value, ok := canarySamples[t.bare+"."+c.name]; ok {
		return value, nil
	}
	if c.parent != "" {
		return fmt.Sprintf("(SELECT %s FROM %s WHERE tenant_id = '%s' LIMIT 1)", c.key, c.parent, tenant), nil
	}
	if choices := canaryChoice.FindAllString(c.choices, -1); choices != nil {
		return choices[nth%len(choices)], nil
	}
	switch c.format {
	case "uuid":
		return "gen_random_uuid()", nil
	case "text":
		return "'" + canaryMark(tenant) + "-' || gen_random_uuid()", nil
	case "bytea":
		return "convert_to('" + canaryMark(tenant) + "-' || gen_random_uuid(), 'UTF8')", nil
	case "boolean":
		return "false", nil
	case "smallint", "integer", "bigint":
		return strconv.Itoa(nth + 1), nil
	case "timestamp with time zone":
		return "now()", nil
	case "json", "jsonb":
		return `'{"canary": "` + canaryMark(tenant) + `"}'`, nil
	}
	if strings.HasSuffix(c.format, "[]") {
		return "'{}'", nil
	}
	return "", fmt.Errorf("column %s.%s is of type %s: give canarySamples a value for it", t.name, c.name, c.format)
}

// marked reports whether a value that was shown is the victim's.
func (p *prover) marked(value string) bool {
	return strings.Contains(value, p.victim.String()) || strings.Contains(value, hex.EncodeToString([]byte(canaryMark(p.victim))))
}
