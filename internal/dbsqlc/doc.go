// Package dbsqlc is what sqlc makes of queries/ and db/migrations/: a method for every statement a request may run inside
// its tenant, as parako_app. Only this file is written by hand; `task generate` writes the others.
//
// It opens no connection and chooses no tenant: its methods are reached through a transaction of internal/store, which
// has done both. Start reading at queries/, not here.
package dbsqlc
