package store

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/jackc/pgx/v5"

	"parako/internal/secret"
)

// Bootstrap makes, as a superuser, what the migrations expect of an empty server: the role parako_owner and a database of
// its. What exists already stays as it is.
func Bootstrap(ctx context.Context, superuser secret.String, database string) error {
	conn, err := pgx.Connect(ctx, superuser.Reveal())
	if err != nil {
		return fmt.Errorf("connect as superuser: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var role, db bool
	err = conn.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'parako_owner'),
		       EXISTS (SELECT FROM pg_database WHERE datname = $1)`, database).Scan(&role, &db)
	if err != nil {
		return fmt.Errorf("look for database %s: %w", database, err)
	}
	if !role {
		if _, err := conn.Exec(ctx, "CREATE ROLE parako_owner LOGIN NOSUPERUSER NOBYPASSRLS CREATEROLE"); err != nil {
			return fmt.Errorf("create role parako_owner: %w", err)
		}
	}
	if !db {
		if _, err := conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{database}.Sanitize()+" OWNER parako_owner"); err != nil {
			return fmt.Errorf("create database %s: %w", database, err)
		}
	}
	return nil
}

// LoginAs gives the role a password, as the owner, and returns the owner's URL with the role in its place. It serves
// `parako dev` on a server of the developer's own; in production operators choose the passwords.
func LoginAs(ctx context.Context, owner secret.String, role string, password secret.String) (secret.String, error) {
	u, err := url.Parse(owner.Reveal())
	if err != nil || u.Scheme == "" {
		return secret.String{}, errors.New("DATABASE_URL must be a URL: postgres://user:password@host:port/name")
	}
	conn, err := pgx.Connect(ctx, owner.Reveal())
	if err != nil {
		return secret.String{}, fmt.Errorf("connect as owner: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var statement string
	err = conn.QueryRow(ctx, "SELECT format('ALTER ROLE %I LOGIN PASSWORD %L', $1::text, $2::text)", role, password.Reveal()).Scan(&statement)
	if err != nil {
		return secret.String{}, fmt.Errorf("prepare login of %s: %w", role, err)
	}
	if _, err := conn.Exec(ctx, statement); err != nil {
		return secret.String{}, fmt.Errorf("set password of %s: %w", role, err)
	}
	u.User = url.UserPassword(role, password.Reveal())
	return secret.NewString(u.String()), nil
}
