package embedpg

import (
	"archive/zip"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// install makes a folder with programs that say they are of the given version.
func install(t *testing.T, version string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), version)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	script := []byte("#!/bin/sh\necho 'postgres (PostgreSQL) " + version + " (Debian)'\n")
	for _, name := range []string{"initdb", "postgres"} {
		if err := os.WriteFile(filepath.Join(dir, name), script, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// repository serves archive, a file of testdata, as every download; empty means there is none.
func repository(t *testing.T, archive string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if archive == "" || !strings.HasSuffix(r.URL.Path, ".jar") {
			http.NotFound(w, r)
			return
		}
		content, err := os.ReadFile(filepath.Join("testdata", archive))
		if err != nil {
			t.Error(err)
		}
		jar := zip.NewWriter(w)
		file, err := jar.Create(archive)
		if err != nil {
			t.Error(err)
		}
		if _, err := file.Write(content); err != nil {
			t.Error(err)
		}
		if err := jar.Close(); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestFind(t *testing.T) {
	// Before t.Parallel: a file cannot be run while a fork of another test still holds it open for writing.
	v14, v15, v16, v17 := install(t, "14.18"), install(t, "15.18"), install(t, "16beta1"), install(t, "17.10")
	empty := t.TempDir()
	t.Parallel()
	tests := map[string]struct {
		finder  finder
		major   int
		want    string // folder
		problem string
	}{
		"the one in PATH comes first":              {finder: finder{inPath: v16, places: []string{v17}}, want: v16},
		"one in PATH that is too old is passed by": {finder: finder{inPath: v14, places: []string{v16}}, want: v16},
		"elsewhere the highest version wins":       {finder: finder{places: []string{v14, v15, v17, v16}}, want: v17},
		"data is served by its own version":        {finder: finder{inPath: v17, places: []string{v15, v16}}, major: 15, want: v15},
		"a named folder is the only one":           {finder: finder{only: v15, inPath: v17}, want: v15},
		"a named folder without programs":          {finder: finder{only: empty, inPath: v17}, problem: "no PostgreSQL in " + empty},
		"a named folder that is too old":           {finder: finder{only: v14}, problem: "is version 14, older than 15"},
		"a named folder of another version":        {finder: finder{only: v16}, major: 17, problem: "is version 16, the data is of 17"},
		"nothing installed and nothing to download": {
			problem: "install PostgreSQL 15 or later (Debian: apt-get install postgresql) or allow the download: download PostgreSQL 18",
		},
		"data of a version that is neither installed nor offered": {
			finder: finder{places: []string{v17}}, major: 14,
			problem: "the data is of PostgreSQL 14: install that version, remove the data, or allow the download: there is no download of PostgreSQL 14",
		},
	}
	nowhere := repository(t, "")
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.finder.cache, tt.finder.repository, tt.finder.log = t.TempDir(), nowhere, slog.New(slog.DiscardHandler)
			got, err := tt.finder.find(t.Context(), tt.major)
			if got.dir != tt.want {
				t.Errorf("find(%d) = %q, want %q", tt.major, got.dir, tt.want)
			}
			if tt.problem == "" && err != nil {
				t.Errorf("find(%d): %v", tt.major, err)
			}
			if tt.problem != "" && (err == nil || !strings.Contains(err.Error(), tt.problem) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("find(%d): %v, want one line with %q", tt.major, err, tt.problem)
			}
		})
	}
}

func TestDownloadIsKept(t *testing.T) {
	cache := t.TempDir()
	f := finder{cache: cache, repository: repository(t, "programs.txz"), log: slog.New(slog.DiscardHandler)}
	downloaded, err := f.find(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Parallel() // not before: as in TestFind
	want := binaries{dir: filepath.Join(cache, string(downloadable(newest)), "bin"), major: newest}
	if downloaded != want {
		t.Errorf("first find = %+v, want %+v", downloaded, want)
	}
	f.repository = repository(t, "")
	if again, err := f.find(t.Context(), 0); err != nil || again != want {
		t.Errorf("second find = %+v, %v, want %+v", again, err, want)
	}
	left, err := os.ReadDir(cache)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 1 {
		t.Errorf("cache holds %v, want the programs and nothing else", left)
	}
}
