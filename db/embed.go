// Package db owns the schema: goose migrations in SQL are its only definition. It holds no Go that touches a database;
// internal/store applies the files, sqlc reads them, and the stock goose command line runs them as they are.
// Start reading at migrations/00001_tenancy.sql.
package db

import "embed"

// Migrations holds migrations/*.sql, the goose files in the order of their numbers.
//
//go:embed migrations/*.sql
var Migrations embed.FS
