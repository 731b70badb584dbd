package embedpg

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

// runOnly turns the test binary into a program that runs a cluster until its input ends, for a test to kill.
var runOnly = flag.String("embedpg.run", "", "run the cluster of this folder instead of the tests")

func TestMain(m *testing.M) {
	flag.Parse()
	if *runOnly == "" {
		os.Exit(runTests(m))
	}
	c, err := Start(context.Background(), Options{Dir: *runOnly})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := c.Stop(); err != nil {
		os.Exit(1)
	}
}

// runTests gives the tests a temporary folder of their own, because the download library leaves a file in it each time.
func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "embedpg-")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := os.Setenv("TMPDIR", dir); err != nil {
		fmt.Println(err)
		return 1
	}
	return m.Run()
}

func start(t *testing.T, o Options) *Cluster {
	t.Helper()
	c, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Stop() })
	return c
}

// ask runs one statement as the superuser and returns its first column of its first row as text.
func ask(t *testing.T, c *Cluster, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), c.DSN(superuser, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	var answer string
	if err := conn.QueryRow(t.Context(), sql).Scan(&answer); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		t.Fatalf("%s: %v", sql, err)
	}
	return answer
}

// The steps are the life of one cluster, in order: making one costs most of a second.
func TestLifeOfACluster(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "not yet there")
	halfMade := filepath.Join(dir, "initdb", "interrupted")
	if err := os.MkdirAll(halfMade, 0o700); err != nil {
		t.Fatal(err)
	}
	c := start(t, Options{Dir: dir, Durable: true})
	t.Cleanup(func() { _ = c.Stop() }) // whichever it is by then
	restart := func(t *testing.T) {
		t.Helper()
		next, err := Start(context.WithoutCancel(t.Context()), Options{Dir: dir}) // outlives the step
		if err != nil {
			t.Fatal(err)
		}
		c = next
	}

	t.Run("an interrupted initdb is thrown away", func(t *testing.T) {
		if _, err := os.Stat(filepath.Dir(halfMade)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("stat initdb: %v, want not exist", err)
		}
	})
	t.Run("settings", func(t *testing.T) {
		want := map[string]string{
			"listen_addresses": "", "fsync": "on", "max_connections": "100", "server_encoding": "UTF8",
			"password_encryption": "scram-sha-256", "TimeZone": "UTC",
		}
		got := map[string]string{}
		for name := range want {
			got[name] = ask(t, c, "SELECT current_setting('"+name+"')")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("settings mismatch (-want +got)\n%s", diff)
		}
		if got := ask(t, c, "SELECT upper('é')"); got != "É" {
			t.Errorf("upper('é') = %s: the character type is not Unicode", got)
		}
	})
	t.Run("a directory in use is refused", func(t *testing.T) {
		if _, err := Start(t.Context(), Options{Dir: dir}); !errors.Is(err, ErrInUse) {
			t.Errorf("second Start: %v, want ErrInUse", err)
		}
	})
	t.Run("data survives a restart, Stop can be repeated", func(t *testing.T) {
		ask(t, c, "CREATE TABLE kept AS SELECT 'here' AS word")
		for range 2 {
			if err := c.Stop(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := os.Stat(c.socket); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("stat socket folder after Stop: %v, want not exist", err)
		}
		restart(t)
		if got := ask(t, c, "SELECT word FROM kept"); got != "here" {
			t.Errorf("word = %q, want here", got)
		}
	})
	t.Run("a server without an owner is stopped first", func(t *testing.T) {
		orphan := c
		if err := unlockHome(orphan.lock); err != nil { // as the kernel does when the owner is killed
			t.Fatal(err)
		}
		restart(t)
		<-orphan.server.ended
		if got := ask(t, c, "SELECT word FROM kept"); got != "here" {
			t.Errorf("word = %q, want here", got)
		}
	})
	t.Run("a server that does not start shows why", func(t *testing.T) {
		if err := c.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(c.data(), "postgresql.conf"), []byte("no_such_setting = 1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Start(t.Context(), Options{Dir: dir})
		if err == nil || !strings.Contains(err.Error(), "no_such_setting") {
			t.Errorf("Start with a broken file: %v, want the line of the log that names it", err)
		}
	})
}

func TestLockIsFreeAsSoonAsItIsGivenBack(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	forks := make(chan struct{})
	go func() { // each of these inherits the lock for a moment
		defer close(forks)
		for ctx.Err() == nil {
			_ = exec.CommandContext(ctx, "true").Run()
		}
	}()
	for range 500 {
		lock, err := lockHome(home)
		if err != nil {
			t.Error(err)
			break
		}
		if err := unlockHome(lock); err != nil {
			t.Error(err)
			break
		}
	}
	cancel()
	<-forks
}

func TestKilledRunLeavesNothingInTheWay(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	child := exec.CommandContext(t.Context(), self, "-embedpg.run="+dir)
	child.Stderr = os.Stderr
	if _, err := child.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	output, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	said, err := bufio.NewReader(output).ReadString('\n')
	if said != "ready\n" {
		t.Fatalf("child said %q, %v", said, err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()

	c := start(t, Options{Dir: dir})
	if got := ask(t, c, "SELECT 'alive'"); got != "alive" {
		t.Errorf("answer = %q", got)
	}
}

func TestStaleProcessNumberOfAnotherProgramIsCleared(t *testing.T) {
	t.Parallel()
	c := &Cluster{home: t.TempDir()}
	if err := os.Mkdir(c.data(), 0o700); err != nil {
		t.Fatal(err)
	}
	stale := filepath.Join(c.data(), pidFile)
	if err := os.WriteFile(stale, fmt.Appendf(nil, "%d\n", os.Getpid()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.retire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(stale); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("stat %s: %v, want not exist", pidFile, err)
	}
}

func TestPrivateFolder(t *testing.T) {
	t.Parallel()
	t.Run("a new one and our own are used", func(t *testing.T) {
		t.Parallel()
		dir := filepath.Join(t.TempDir(), "socket")
		for range 2 {
			if err := privateFolder(dir, account{}); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("one that others may enter is refused", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o750); err != nil {
			t.Fatal(err)
		}
		if err := privateFolder(dir, account{}); err == nil {
			t.Error("accepted")
		}
	})
	t.Run("a symbolic link is refused", func(t *testing.T) {
		t.Parallel()
		dir := filepath.Join(t.TempDir(), "socket")
		if err := os.Symlink(t.TempDir(), dir); err != nil {
			t.Fatal(err)
		}
		if err := privateFolder(dir, account{}); err == nil {
			t.Error("accepted")
		}
	})
}
