package embedpg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// oldest is the lowest major version that will do: security_invoker views and SET NULL (column) came with it.
const oldest = 15

// binaries is a folder with initdb and postgres.
type binaries struct {
	dir   string
	major int
}

// finder looks for PostgreSQL's programs. It is a value, so that tests can look at a machine that has none.
type finder struct {
	user       account
	only       string   // Options.BinDir: look nowhere else
	inPath     string   // the folder of postgres in PATH, empty when there is none
	places     []string // patterns of the folders where packages put it
	cache      string   // where downloads are kept
	repository string   // base URL of the Maven repository to download from; empty is the public one
	log        *slog.Logger
}

// usualFinder is the finder of this machine.
func usualFinder(user account, binDir string, log *slog.Logger) (finder, error) {
	f := finder{
		user: user,
		only: binDir,
		places: []string{
			"/usr/lib/postgresql/*/bin",            // Debian, Ubuntu
			"/usr/pgsql-*/bin",                     // Red Hat
			"/usr/libexec/postgresql*",             // Alpine
			"/opt/homebrew/opt/postgresql*/bin",    // Homebrew
			"/usr/local/opt/postgresql*/bin",       // Homebrew on Intel
			"/usr/local/pgsql/bin",                 // built from source
			"/Library/PostgreSQL/*/bin",            // EDB's installer
			"/Applications/Postgres.app/*/*/*/bin", // Contents/Versions/N
		},
		log: log,
	}
	if program, err := exec.LookPath("postgres"); err == nil {
		if program, err = filepath.EvalSymlinks(program); err == nil {
			f.inPath = filepath.Dir(program)
		}
	}
	if user.drop {
		f.cache = "/var/cache/parako/postgres" // root's own cache folder is closed to the account
		return f, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return finder{}, err
	}
	f.cache = filepath.Join(cache, "parako", "postgres")
	return f, nil
}

// find returns the programs of version major, or of any that will do when major is 0: those in PATH, else the highest
// version in the usual places or among earlier downloads, else a download.
func (f finder) find(ctx context.Context, major int) (binaries, error) {
	if f.only != "" {
		return f.check(ctx, f.only, major)
	}
	if f.inPath != "" {
		if bin, err := f.check(ctx, f.inPath, major); err == nil {
			return bin, nil
		}
	}
	var best binaries
	for _, dir := range f.folders() {
		if bin, err := f.check(ctx, dir, major); err == nil && bin.major > best.major {
			best = bin
		}
	}
	if best.major > 0 {
		return best, nil
	}
	dir, err := f.download(ctx, major)
	if err == nil {
		return f.check(ctx, dir, major)
	}
	if major != 0 {
		return binaries{}, fmt.Errorf("the data is of PostgreSQL %d: install that version, remove the data, or allow the download: %w", major, err)
	}
	return binaries{}, fmt.Errorf("install PostgreSQL %d or later (Debian: apt-get install postgresql) or allow the download: %w", oldest, err)
}

// folders lists what is there of the usual places and earlier downloads.
func (f finder) folders() []string {
	var dirs []string
	for _, pattern := range f.places {
		found, _ := filepath.Glob(pattern) // the only error is a bad pattern, which finds nothing
		dirs = append(dirs, found...)
	}
	for major := oldest; major <= newest; major++ {
		dirs = append(dirs, filepath.Join(f.cache, string(downloadable(major)), "bin"))
	}
	return dirs
}

var versionText = regexp.MustCompile(`^postgres \(PostgreSQL\) (\d+)`)

// check asks the postgres in dir for its version, as the user it will run as.
func (f finder) check(ctx context.Context, dir string, major int) (binaries, error) {
	// Some packages hold a server without the program that makes its files.
	if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
		return binaries{}, fmt.Errorf("no PostgreSQL in %s: %w", dir, err)
	}
	output, err := f.user.bare(ctx, filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return binaries{}, fmt.Errorf("no PostgreSQL in %s: %w", dir, err)
	}
	match := versionText.FindSubmatch(output)
	if match == nil {
		return binaries{}, fmt.Errorf("no PostgreSQL in %s: its version is %q", dir, output)
	}
	found, err := strconv.Atoi(string(match[1]))
	if err != nil {
		return binaries{}, err
	}
	if major != 0 && found != major {
		return binaries{}, fmt.Errorf("PostgreSQL in %s is version %d, the data is of %d", dir, found, major)
	}
	if found < oldest {
		return binaries{}, fmt.Errorf("PostgreSQL in %s is version %d, older than %d", dir, found, oldest)
	}
	return binaries{dir: dir, major: found}, nil
}

// newest is the version to download when any will do.
const newest = 18

// downloadable returns the release to download for a major version, empty when there is none.
func downloadable(major int) embeddedpostgres.PostgresVersion {
	switch major {
	case 15:
		return embeddedpostgres.V15
	case 16:
		return embeddedpostgres.V16
	case 17:
		return embeddedpostgres.V17
	case newest:
		return embeddedpostgres.V18
	}
	return ""
}

// download fetches the programs of version major into the cache and returns their folder.
func (f finder) download(ctx context.Context, major int) (string, error) {
	if major == 0 {
		major = newest
	}
	version := downloadable(major)
	if version == "" {
		return "", fmt.Errorf("there is no download of PostgreSQL %d", major)
	}
	if err := os.MkdirAll(f.cache, 0o755); err != nil {
		return "", err
	}
	// Unpacked beside its final place and moved there when complete: an interrupted download is never used.
	draft, err := os.MkdirTemp(f.cache, "download-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(draft)
	tree := filepath.Join(draft, "tree")
	config := embeddedpostgres.DefaultConfig().
		Version(version).
		CachePath(filepath.Join(draft, "archive")).
		RuntimePath(filepath.Join(draft, "runtime")).
		BinariesPath(tree).
		Port(0).
		Logger(io.Discard).
		// The library has no call that only fetches. It fetches, then clears the data path: one that cannot exist ends
		// its Start there, before it runs a server as whoever we are.
		DataPath(filepath.Join(os.DevNull, "data"))
	if f.repository != "" {
		config = config.BinaryRepositoryURL(f.repository)
	}
	f.log.InfoContext(ctx, "PostgreSQL is not installed: downloading it", "version", string(version), "dir", f.cache)
	stopped := embeddedpostgres.NewDatabase(config).Start()
	if _, err := os.Stat(filepath.Join(tree, "bin", "initdb")); err != nil {
		return "", fmt.Errorf("download PostgreSQL %s: %w", version, stopped)
	}
	final := filepath.Join(f.cache, string(version))
	if err := os.Rename(tree, final); err != nil && !errors.Is(err, os.ErrExist) { // another process was first
		return "", err
	}
	return filepath.Join(final, "bin"), nil
}
