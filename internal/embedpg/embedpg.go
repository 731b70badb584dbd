// Package embedpg runs a private PostgreSQL cluster for `parako dev` and for tests. It owns the files of the cluster,
// the server process and its Unix socket; it finds the server's programs on this machine or downloads them.
//
// It refuses to listen on the network, to be a production database, and to speak SQL: what is in the databases is the
// caller's business. It works as an ordinary user and as root, on Linux and macOS. Start reading at [Start].
package embedpg

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// ErrInUse is returned by [Start] while another process, or another [Cluster] of this one, runs the same directory.
var ErrInUse = errors.New("another process runs this cluster")

// Options says which cluster to run. Only Dir is required.
type Options struct {
	// Dir holds everything of one cluster: the data, a lock and postgres.log, the server's output since its last start.
	// It is created with mode 0700 when missing. To forget the cluster, stop it and remove Dir.
	Dir string
	// BinDir is the folder of the programs initdb and postgres, of version 15 or later. Empty means to look for them:
	// in PATH, then the highest version in the usual places, then a download into the user's cache folder.
	BinDir string
	// Durable makes commits survive a power cut and allows 100 connections, for `parako dev`. The zero value is for
	// tests: several times faster, 200 connections, and files that may be ruined when the machine (not just the
	// process) stops.
	Durable bool
	// Log is told what takes time or surprises: a new cluster, a download, a server left by a killed run. Nil is silence.
	Log *slog.Logger
}

// Cluster is a running server. Its methods are safe for concurrent use.
type Cluster struct {
	home    string // Options.Dir, absolute and without symbolic links
	socket  string // the folder of the Unix socket
	durable bool
	log     *slog.Logger
	user    account
	bin     binaries
	lock    *os.File
	server  *process
	stop    func() error
}

// Start runs the cluster of o.Dir and returns when it accepts connections. A missing cluster is made first, with the
// superuser postgres, encoding UTF-8 and a UTF-8 character type. The server is reached only through a Unix socket in a
// folder that belongs to the server's user and is closed to others but root; who gets there is trusted without a
// password.
//
// ctx bounds the start, not the life of the server, which ends with [Cluster.Stop]; on Linux also when this process is
// killed. Whatever a killed run left behind, a half-made cluster, a living server, its socket, is cleared away.
// A download is the one step that ctx does not interrupt.
//
// As root the server runs as another user, because PostgreSQL refuses root: the owner of the data, else the user
// postgres, else nobody. On Linux o.Dir may then lie below folders which that user cannot enter.
//
// It fails with [ErrInUse], with one line that says what to install when no usable programs are found, and otherwise
// with the end of the server's log.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	home, err := makeHome(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("make folder of the database cluster: %w", err)
	}
	lock, err := lockHome(home)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", home, err)
	}
	c := &Cluster{
		home:    home,
		socket:  socketFolder(home),
		durable: o.Durable,
		log:     cmp.Or(o.Log, slog.New(slog.DiscardHandler)),
		lock:    lock,
	}
	c.stop = sync.OnceValue(c.shutDown)
	if err := c.start(ctx, o.BinDir); err != nil {
		_ = c.Stop() // err says why
		return nil, fmt.Errorf("start PostgreSQL in %s: %w", home, err)
	}
	return c, nil
}

// DSN returns the connection URL of a database for pgx and libpq, over the Unix socket and without a password. Neither
// name needs to exist yet. It names port and TLS mode so that PGPORT and PGSSLMODE of the environment cannot interfere.
func (c *Cluster) DSN(user, database string) string {
	query := url.Values{"host": {c.socket}, "port": {port}, "sslmode": {"disable"}}
	dsn := url.URL{Scheme: "postgres", User: url.User(user), Path: "/" + database, RawQuery: query.Encode()}
	return dsn.String()
}

// Beside starts a program that belongs to the server, such as a pooler before it: as the server's user, in the folder of its
// socket, with nothing of our environment, and on Linux for no longer than this process lives. ctx bounds the start alone.
// The program writes to output. stop interrupts it and waits for its end; call it before [Cluster.Stop].
func (c *Cluster) Beside(ctx context.Context, output *os.File, program string, args ...string) (stop func() error, err error) {
	cmd := c.user.bare(context.WithoutCancel(ctx), program, args...)
	cmd.Dir = c.socket
	cmd.Stdout, cmd.Stderr = output, output
	p, err := launch(cmd)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	return p.interrupt, nil
}

// Stop ends the server, waits for it and releases the directory, whose data stays. Open transactions are rolled back
// and connections closed. A second call returns what the first returned. It fails when the server did not end in good
// order; it has ended all the same.
func (c *Cluster) Stop() error {
	return c.stop()
}

const (
	superuser = "postgres"
	port      = "5432" // only names the socket file: each cluster has a socket folder of its own
	stopGrace = 30 * time.Second
	pollEvery = 10 * time.Millisecond
)

// makeHome creates dir and returns its one true name: the lock guards the folder, but the socket is found by name.
func makeHome(dir string) (string, error) {
	if dir == "" {
		return "", errors.New("Options.Dir is empty")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(dir)
}

// lockHome makes this process the only one to run the cluster. The kernel drops the lock when the process ends, however
// it ends, so a lock that is held means a living owner, and a server found without one was left by a killed run.
func lockHome(home string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(home, "lock"), os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return lock, nil
	}
	_ = lock.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, ErrInUse
	}
	return nil, err
}

// unlockHome undoes lockHome. Closing alone would not do it at once: a child that this process forks meanwhile has a copy
// of the descriptor until it becomes another program, and the lock lives as long as any copy.
func unlockHome(lock *os.File) error {
	err := syscall.Flock(int(lock.Fd()), syscall.LOCK_UN)
	return errors.Join(err, lock.Close())
}

// socketFolder names the folder of the Unix socket: the same in every run, and short, because a socket's path may have
// no more than 103 bytes on macOS and 107 on Linux. It is /tmp and not TMPDIR, which may be long, or closed to the
// server's user.
func socketFolder(home string) string {
	digest := sha256.Sum256([]byte(home))
	return fmt.Sprintf("/tmp/parako-%x", digest[:6])
}

func (c *Cluster) data() string    { return filepath.Join(c.home, "data") }
func (c *Cluster) logFile() string { return filepath.Join(c.home, "postgres.log") }

func (c *Cluster) start(ctx context.Context, binDir string) error {
	major, err := dataVersion(c.data())
	if err != nil {
		return err
	}
	if c.user, err = serverAccount(c.data()); err != nil {
		return err
	}
	programs, err := usualFinder(c.user, binDir, c.log)
	if err != nil {
		return err
	}
	if c.bin, err = programs.find(ctx, major); err != nil {
		return err
	}
	if major == 0 {
		if err := c.create(ctx); err != nil {
			return err
		}
	}
	if err := privateFolder(c.socket, c.user); err != nil {
		return err
	}
	if err := c.retire(ctx); err != nil {
		return err
	}
	return c.serve(ctx)
}

// dataVersion returns the major version of the PostgreSQL that made data, 0 when there is no such folder.
func dataVersion(data string) (int, error) {
	if _, err := os.Lstat(data); errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	text, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if err != nil {
		return 0, fmt.Errorf("read version of the data: %w", err)
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("read version of the data: %w", err)
	}
	return major, nil
}

// create makes a new cluster beside its final place and moves it there when it is complete: a folder called data is
// never half made. What an interrupted run left is thrown away; its initdb may still be writing, hence a fresh name.
func (c *Cluster) create(ctx context.Context) error {
	began := time.Now()
	drafts := filepath.Join(c.home, "initdb")
	_ = os.RemoveAll(drafts) // what cannot be removed is in nobody's way
	if err := os.MkdirAll(drafts, 0o700); err != nil {
		return err
	}
	draft, err := os.MkdirTemp(drafts, "")
	if err != nil {
		return err
	}
	if err := c.user.own(draft); err != nil {
		return err
	}
	args := []string{
		"--username=" + superuser, "--auth=trust", "--encoding=UTF8", "--no-instructions", "--locale=C.UTF-8",
	}
	if runtime.GOOS == "darwin" { // older versions know no C.UTF-8
		args = append(args, "--locale=C", "--lc-ctype=UTF-8")
	}
	if !c.durable {
		args = append(args, "--no-sync")
	}
	cmd, release, err := c.user.command(ctx, draft, filepath.Join(c.bin.dir, "initdb"), args...)
	if err != nil {
		return err
	}
	defer release()
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("create database cluster: initdb: %w: %s", err, lastLines(output))
	}
	if err := os.Rename(draft, c.data()); err != nil {
		return err
	}
	_ = os.RemoveAll(drafts)
	c.log.InfoContext(ctx, "created database cluster", "dir", c.home, "version", c.bin.major, "took", time.Since(began))
	return nil
}

// serve starts the server and waits until it is ready.
func (c *Cluster) serve(ctx context.Context) error {
	output, err := os.OpenFile(c.logFile(), os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer output.Close()
	// Not ctx: the server outlives the start.
	cmd, release, err := c.user.command(context.WithoutCancel(ctx), c.data(), filepath.Join(c.bin.dir, "postgres"), c.settings()...)
	if err != nil {
		return err
	}
	defer release()
	cmd.Stdout, cmd.Stderr = output, output
	if c.server, err = launch(cmd); err != nil {
		return err
	}

	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if pid, ready := postmaster(c.data()); ready && pid == c.server.pid() {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-c.server.ended:
			tail, _ := os.ReadFile(c.logFile())
			return fmt.Errorf("postgres: %w: %s", cmp.Or(c.server.err, errors.New("ended")), lastLines(tail))
		}
	}
}

// settings are the arguments of the server. They are not written to the cluster's files, so the next run may differ.
func (c *Cluster) settings() []string {
	set := []string{
		"listen_addresses=", "port=" + port, c.socketSetting(), "unix_socket_permissions=0700",
		"timezone=UTC", "log_timezone=UTC",
	}
	if c.durable {
		set = append(set, "max_connections=100")
	} else {
		// Tests wait for their parts with their databases open, some sixty at once. Autovacuum would spend the processors on
		// databases that are gone in a second.
		set = append(set, "max_connections=600", "fsync=off", "synchronous_commit=off", "full_page_writes=off", "autovacuum=off")
	}
	var args []string
	for _, s := range set {
		args = append(args, "-c", s)
	}
	return args
}

// socketSetting is also the mark by which a server in the process list is known to be of this cluster.
func (c *Cluster) socketSetting() string { return "unix_socket_directories=" + c.socket }

// retire ends the server that a killed run left on this data. We hold the lock, so it has no owner.
func (c *Cluster) retire(ctx context.Context) error {
	pid, _ := postmaster(c.data())
	if pid == 0 {
		return nil
	}
	line := commandLine(pid)
	if line != "" && !strings.Contains(line, "postgres") {
		// The number went to another program, as it does when a container starts again. If that program has our own
		// user, postgres would take it for a running server and refuse to start.
		return os.Remove(filepath.Join(c.data(), pidFile))
	}
	// Anything else that is not ours, postgres itself looks at more closely than we could.
	if !strings.Contains(line, c.socketSetting()) {
		return nil
	}
	c.log.WarnContext(ctx, "stopping the database server of a killed run", "dir", c.home, "pid", pid)
	if err := syscall.Kill(pid, syscall.SIGINT); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop server %d of an earlier run: %w", pid, err)
	}
	ctx, cancel := context.WithTimeout(ctx, stopGrace)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for strings.Contains(commandLine(pid), c.socketSetting()) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for server %d of an earlier run to end: %w", pid, ctx.Err())
		}
	}
	return nil
}

// shutDown undoes start from whatever point it reached.
func (c *Cluster) shutDown() error {
	var err error
	if c.server != nil {
		err = c.server.interrupt()
		_ = os.Remove(c.socket) // empty by now; a folder that stays is used again
	}
	return errors.Join(err, unlockHome(c.lock))
}

const pidFile = "postmaster.pid"

// postmaster reads what the server of data says about itself: its process number, 0 when there is none, and whether it
// accepts connections (PostgreSQL: src/include/utils/pidfile.h).
func postmaster(data string) (pid int, ready bool) {
	text, err := os.ReadFile(filepath.Join(data, pidFile))
	if err != nil {
		return 0, false
	}
	lines := strings.Split(string(text), "\n")
	pid, err = strconv.Atoi(lines[0])
	if err != nil || pid < 2 {
		return 0, false
	}
	return pid, len(lines) > 7 && strings.TrimSpace(lines[7]) == "ready"
}

// lastLines shortens output to what fits an error: the cause is near the end.
func lastLines(output []byte) string {
	const most = 1000
	text := strings.TrimSpace(string(output))
	if len(text) > most {
		text = text[len(text)-most:]
		_, text, _ = strings.Cut(text, "\n")
	}
	return text
}
