package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// The two tenants that a proof plays with. Migration 00014 makes their rows, to which no host, header or list leads; what
// they hold is gone when the proof ends.
var (
	canaryAttacker = uuid.MustParse("00000000-0000-4000-8000-00000000000a")
	canaryVictim   = uuid.MustParse("00000000-0000-4000-8000-00000000000b")
)

// Proof is what came of trying to reach one tenant from inside another.
type Proof struct {
	// Tables, Views and Functions count what was tried, Attempts how often.
	Tables    int `json:"tables"`
	Views     int `json:"views"`
	Functions int `json:"functions"`
	Attempts  int `json:"attempts"`
	// Leaks are the attempts that got through. Never nil.
	Leaks []Leak `json:"leaks"`
	// Excluded is what was not tried, each with its reason.
	Excluded []string `json:"excluded"`
}

// Leak is an attempt that got through.
type Leak struct {
	Object  string `json:"object"`
	Attempt string `json:"attempt"`
	// SQL is the statement, as parako_app inside a transaction of the attacking tenant.
	SQL string `json:"sql"`
	// Outcome is what the statement did instead of being refused.
	Outcome string `json:"outcome"`
}

// Prove puts a row of two synthetic tenants into every table, and tries as the one to read, change, remove, upsert and
// refer to the rows of the other, through every table, view and function that the catalog shows, and then as no tenant at
// all. It runs as parako_app in one transaction that is rolled back, waits for no lock longer than a moment, and leaves
// nothing behind: it may run on a database that is being used.
//
// A Proof with leaks is no error. An error means that nothing is proved: the schema is older than this release, a table
// takes no canary, or the connection failed.
func (s *Store) Prove(ctx context.Context) (Proof, error) {
	return s.prove(ctx, canaryAttacker, canaryVictim)
}

func (s *Store) prove(ctx context.Context, attacker, victim uuid.UUID) (Proof, error) {
	if err := checkSchema(ctx, s.app); err != nil {
		return Proof{}, err
	}
	conn, err := s.app.Acquire(ctx)
	if err != nil {
		return Proof{}, fmt.Errorf("connect to database: %w", err)
	}
	defer conn.Release()
	const begin = "begin; set local lock_timeout = '500ms'; set local statement_timeout = '10s'; set local idle_in_transaction_session_timeout = '60s'"
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{BeginQuery: begin})
	if err != nil {
		return Proof{}, fmt.Errorf("begin proof: %w", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	p := prover{tx: tx, attacker: attacker, victim: victim, proof: Proof{Leaks: []Leak{}, Excluded: []string{}}}
	if err := p.run(ctx); err != nil {
		return Proof{}, fmt.Errorf("prove isolation: %w", err)
	}
	return p.proof, nil
}

// prover is a proof on its way. An attempt that fails for reasons of its own ends it.
type prover struct {
	tx               pgx.Tx
	attacker, victim uuid.UUID
	tables           []canaryTable
	before           string // the victim's rows
	proof            Proof
}

func (p *prover) run(ctx context.Context) error {
	var err error
	if p.tables, err = canaryTables(ctx, p.tx); err != nil {
		return err
	}
	for nth, tenant := range []uuid.UUID{p.victim, p.attacker} {
		if err := p.become(ctx, tenant); err != nil {
			return err
		}
		if err := plant(ctx, p.tx, p.tables, tenant, nth); err != nil {
			return err
		}
		if err := p.plantJob(ctx, tenant); err != nil {
			return err
		}
	}
	if p.before, err = p.victimsRows(ctx); err != nil {
		return err
	}
	if strings.Contains(p.before, noRow) {
		return errors.New("a tenant does not see the canary of its own: nothing would be proved")
	}
	if err := p.become(ctx, p.attacker); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{p.tryTables, p.tryJobs, p.tryViews, p.tryFunctions, p.trySchema, p.tryNobody} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return p.compare(ctx, attempt{object: "every table", what: "all attempts together"})
}

// compare looks whether the victim's rows are what they were before the attempt.
func (p *prover) compare(ctx context.Context, a attempt) error {
	after, err := p.victimsRows(ctx)
	if err == nil && after != p.before {
		p.leak(a, "rows of the other tenant are not what they were")
	}
	return err
}

// become chooses the tenant of the transaction.
func (p *prover) become(ctx context.Context, tenant uuid.UUID) error {
	_, err := p.tx.Exec(ctx, "SELECT parako.set_tenant($1)", tenant)
	return err
}

// noRow stands for the digest of a table without a row.
const noRow = "none"

// victimsRows is a digest of every row of the victim, as itself. It leaves the transaction with that tenant.
func (p *prover) victimsRows(ctx context.Context) (string, error) {
	if err := p.become(ctx, p.victim); err != nil {
		return "", err
	}
	var digests []string
	for _, t := range p.tables {
		if t.tenant == "" {
			continue
		}
		var digest string
		sql := fmt.Sprintf("SELECT coalesce(md5(string_agg(r::text, '' ORDER BY r::text)), '%s') FROM %s AS r WHERE %s = $1", noRow, t.name, t.tenant)
		err := p.tx.QueryRow(ctx, sql, p.victim).Scan(&digest)
		if err != nil {
			return "", fmt.Errorf("read canaries of %s: %w", t.name, err)
		}
		digests = append(digests, digest)
	}
	return strings.Join(digests, " "), nil
}

// attempt is something that must not work.
type attempt struct {
	object, what string
	// sql runs in order; the last statement is the attempt, what comes before prepares it.
	sql []string
	// want is how it may end besides being refused.
	want outcome
	// codes are the SQLSTATEs with which it may be refused; empty means insufficient privilege alone, by a policy or a grant.
	codes []string
	// copied says that the last statement is a COPY TO STDOUT.
	copied bool
	// hidden says that what the statement changes does not show in its answer.
	hidden bool
}

// outcome is how an attempt may end.
type outcome int

const (
	onlyRefused  outcome = iota
	touchesNone          // it may succeed if it changes no row and shows nothing of the victim
	showsNothing         // it may change the attacker's own rows if it shows nothing of the victim
)

// The SQLSTATEs that a proof knows.
const (
	insufficientPrivilege = "42501"
	invalidText           = "22P02"
	foreignKeyViolation   = "23503"
	lockNotAvailable      = "55P03"
)

// try makes an attempt in a savepoint that is rolled back.
func (p *prover) try(ctx context.Context, a attempt) error {
	p.proof.Attempts++
	inner, err := p.tx.Begin(ctx)
	if err != nil {
		return err
	}
	shown, touched, err := a.run(ctx, inner)
	if a.hidden && err == nil {
		err = p.compare(ctx, a)
	}
	if rollback := inner.Rollback(ctx); rollback != nil {
		return errors.Join(err, rollback)
	}
	codes := a.codes
	if len(codes) == 0 {
		codes = []string{insufficientPrivilege}
	}
	pg, refused := errors.AsType[*pgconn.PgError](err)
	switch {
	case refused && pg.Code == lockNotAvailable:
		return fmt.Errorf("%s, %s: a lock is held: try again when nobody changes the schema", a.object, a.what)
	case refused && !slices.Contains(codes, pg.Code):
		p.leak(a, fmt.Sprintf("it was answered with %s (%s)", pg.Code, pg.Message))
	case refused:
	case err != nil:
		return fmt.Errorf("%s, %s: %w", a.object, a.what, err)
	case a.want == onlyRefused:
		p.leak(a, "it was not refused")
	case a.want == touchesNone && touched > 0:
		p.leak(a, fmt.Sprintf("it touched %d rows", touched))
	default:
		if i := slices.IndexFunc(shown, p.marked); i >= 0 {
			p.leak(a, "it showed "+shown[i])
		}
	}
	return nil
}

// run executes the attempt and returns the values it shows and how many rows it changed.
func (a attempt) run(ctx context.Context, tx pgx.Tx) (shown []string, touched int64, err error) {
	last := len(a.sql) - 1
	for _, sql := range a.sql[:last] {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return nil, 0, errors.New("prepare it: " + err.Error()) // Not wrapped: this is no refusal of the attempt.
		}
	}
	if a.copied {
		var text strings.Builder
		_, err := tx.Conn().PgConn().CopyTo(ctx, &text, a.sql[last])
		return strings.Split(text.String(), "\n"), 0, err
	}
	rows, err := tx.Query(ctx, a.sql[last], pgx.QueryExecModeSimpleProtocol) // every value comes as text
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	for rows.Next() {
		for _, value := range rows.RawValues() {
			shown = append(shown, string(value))
		}
	}
	if err := rows.Err(); err != nil {
		return nil, 0, err
	}
	if tag := rows.CommandTag(); tag.Insert() || tag.Update() || tag.Delete() || strings.HasPrefix(tag.String(), "MERGE") {
		touched = tag.RowsAffected()
	}
	return shown, touched, nil
}

func (p *prover) leak(a attempt, outcome string) {
	p.proof.Leaks = append(p.proof.Leaks, Leak{Object: a.object, Attempt: a.what, SQL: strings.Join(a.sql, "; "), Outcome: outcome})
}
