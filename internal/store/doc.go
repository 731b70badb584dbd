// Package store is the only door to PostgreSQL. Every read and write happens in a [Tx], and a Tx belongs to exactly one
// tenant: its first statement travels with BEGIN and parako.set_tenant in one round trip, and row-level security holds it
// to that tenant whatever the statement says. Statements that cross tenants need [Store.InPlatform], which connects as
// another role.
//
// A transaction needs nothing of its session but what it sets itself, so that sessions may be shared by a pooler
// ([Options.Pooled]).
//
// The package refuses to run a statement outside a transaction, to change the tenant of a transaction, and to serve as a
// role that row-level security does not bind ([Store.Check]).
//
// Start reading at [Store.InTenant]; tx.go holds the transaction, conversation.go the round trips.
package store
