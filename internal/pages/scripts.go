package pages

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"path"
	"strings"

	"parako/templates"
)

// scripts are the files static/*.js by the last two parts of the path they are served at: the hash of their content, and
// their name. Few pages have one, and each does its work without.
type scripts map[string][]byte

func readScripts() (scripts, error) {
	files, err := templates.Files.ReadDir("static")
	if err != nil {
		return nil, fmt.Errorf("list scripts: %w", err)
	}
	s := scripts{}
	for _, file := range files {
		if path.Ext(file.Name()) != ".js" {
			continue
		}
		body, err := templates.Files.ReadFile("static/" + file.Name())
		if err != nil {
			return nil, fmt.Errorf("read script: %w", err)
		}
		sum := sha256.Sum256(body)
		s[hex.EncodeToString(sum[:])+"/"+file.Name()] = body
	}
	return s, nil
}

// path is where a script is served. Like that of a stylesheet it changes with the content.
func (s scripts) path(name string) (string, error) {
	for key := range s {
		if strings.HasSuffix(key, "/"+name) {
			return "/static/" + key, nil
		}
	}
	return "", fmt.Errorf("there is no script %s", name)
}

// AllowScripts lets the page that [SecurityHeaders] was called for run the scripts of its own origin; inline ones stay forbidden.
func AllowScripts(h http.Header) {
	h.Set("Content-Security-Policy", h.Get("Content-Security-Policy")+"; script-src 'self'")
}
