// Package templates carries the sources of the hosted pages inside the binary: layout/ (the document around every page), pages/ (one file
// per page), partials/ (pieces shared by pages) and static/ (the stylesheet). It holds files and no code; internal/pages parses and
// renders them, and is the place to start reading.
package templates

import "embed"

// Files holds layout/*.html, pages/*.html, partials/*.html and static/*. It is read-only and safe for concurrent use.
//
//go:embed layout/*.html pages/*.html partials/*.html static/*
var Files embed.FS
