// Package testkit is what tests of all packages share: throw-away databases (db.go) on a PostgreSQL of the test process's
// own, and what is usually put into them (fixture.go). With PARAKO_TEST_POOLER=pgbouncer the product's roles reach the databases
// through a pgbouncer (pooler.go).
//
// It refuses to be imported by anything that is not a test, and to stand in for what can be had for real: there is no
// fake database here. Start reading at [Main], which every package that uses it calls from TestMain.
package testkit
