// Package control is what sqlc makes of queries/control/: the few statements that cross tenants and run as
// parako_platform, which may reach the tenants and their locators, append to the audit trail, and do nothing else. Only
// this file is written by hand; `task generate` writes the others.
//
// Its methods are reached through InPlatform of internal/store. Start reading at queries/control/, not here.
package control
