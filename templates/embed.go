// Package templates carries the sources of the hosted pages inside the binary: layout/ (the document around every page), pages/ (one file
// per page), partials/ (pieces shared by pages), static/ (the stylesheet) and mail/ (the letters). It holds files and no code; internal/pages and
// internal/message parse and render them, and are the place to start reading.
package templates

import "embed"

// Files holds layout/*.html, mail/*, pages/*.html, partials/*.html and static/*. It is read-only and safe for concurrent use.
//
//go:embed layout/*.html mail/* pages/*.html partials/*.html static/*
var Files embed.FS
