package testkit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"parako/internal/embedpg"
)

// poolerVariable is pgbouncer where all databases are to be reached through one.
const poolerVariable = "PARAKO_TEST_POOLER"

// Pooled is the same database behind a pgbouncer of the test's own in transaction mode, until the test is over. settings are
// lines of its pgbouncer.ini, or a connect_query. Where pgbouncer is not installed the test is skipped, in CI it fails.
func (d *DB) Pooled(tb testing.TB, settings ...string) *DB {
	tb.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil && os.Getenv("CI") == "true" {
		tb.Fatalf("a test needs pgbouncer: %v", err)
	}
	if err != nil {
		tb.Skipf("needs pgbouncer, which CI has: %v", err)
	}
	p, err := startPooler(tb.Context(), d.cluster, program, settings...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		said, err := p.close()
		if err != nil {
			tb.Errorf("stop pgbouncer: %v", err)
		}
		if tb.Failed() {
			tb.Logf("pgbouncer says:\n%s", said)
		}
	})
	return &DB{Name: d.Name, cluster: d.cluster, pooler: p}
}

// Direct is the same database without any pooler, for tests whose subject is a session of their own.
func (d *DB) Direct() *DB { return &DB{Name: d.Name, cluster: d.cluster} }

// ConsoleDSN connects to the console of the database's pgbouncer, which understands SHOW, RECONNECT and the like.
func (d *DB) ConsoleDSN() string {
	return d.pooler.dsn(d.cluster.DSN(superuser, "pgbouncer")) + "&default_query_exec_mode=simple_protocol"
}

// pooler is a running pgbouncer. Its files and its socket lie in the folder of the server's socket, told apart by the port.
type pooler struct {
	files string // their path without the extension
	port  string
	log   *os.File
	stop  func() error
}

// startPooler returns when pgbouncer accepts connections. It has two connections to the server for each role and database, so
// few that they are shared all the time; settings come last and win.
func startPooler(ctx context.Context, cluster *embedpg.Cluster, program string, settings ...string) (*pooler, error) {
	server, err := url.Parse(cluster.DSN(superuser, "postgres"))
	if err != nil {
		return nil, err
	}
	folder := server.Query().Get("host")
	p := &pooler{}
	for port := 6432; p.log == nil; port++ { // the first that no other pooler of this server has
		p.port = strconv.Itoa(port)
		p.files = filepath.Join(folder, "pgbouncer-"+p.port)
		p.log, err = os.OpenFile(p.files+".log", os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		if err != nil && !errors.Is(err, os.ErrExist) {
			return nil, err
		}
	}
	database := []string{"* =", "host=" + folder, "port=" + server.Query().Get("port")}
	lines := []string{
		"listen_port = " + p.port,
		"unix_socket_dir = " + folder,
		"unix_socket_mode = 0700",
		"auth_type = trust",
		"auth_file = " + p.files + ".users",
		"admin_users = " + superuser,
		"pool_mode = transaction",
		"default_pool_size = 2",
		"max_client_conn = 1000",
		"server_login_retry = 0.1", // a login that fails is no reason to keep others waiting
		"log_connections = 0",
		"log_disconnections = 0",
		"log_stats = 0",
	}
	for _, setting := range settings {
		if strings.HasPrefix(setting, "connect_query") {
			database = append(database, setting)
		} else {
			lines = append(lines, setting)
		}
	}
	ini := "[databases]\n" + strings.Join(database, " ") + "\n[pgbouncer]\n" + strings.Join(lines, "\n") + "\n"
	users := fmt.Sprintf("%q \"\"\n%q \"\"\n%q \"\"\n", superuser, appRole, platformRole)
	err = errors.Join(
		os.WriteFile(p.files+".ini", []byte(ini), 0o644), // The server's user reads it; the folder is private.
		os.WriteFile(p.files+".users", []byte(users), 0o644),
	)
	if err == nil {
		p.stop, err = cluster.Beside(ctx, p.log, program, p.files+".ini")
	}
	if err == nil {
		err = listening(ctx, filepath.Join(folder, ".s.PGSQL."+p.port))
	}
	if err != nil {
		said, closed := p.close()
		return nil, errors.Join(fmt.Errorf("start pgbouncer: %w: %s", err, said), closed)
	}
	return p, nil
}

// listening returns when somebody listens at the socket.
func listening(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

// dsn leads what connects to the server through the pooler.
func (p *pooler) dsn(direct string) string {
	u, err := url.Parse(direct)
	if err != nil {
		panic(err) // embedpg made it
	}
	query := u.Query()
	query.Set("port", p.port)
	u.RawQuery = query.Encode()
	return u.String()
}

// close stops the pooler, removes its files, and returns what it has written to its log.
func (p *pooler) close() (said []byte, err error) {
	if p.stop != nil {
		err = p.stop()
	}
	said, _ = os.ReadFile(p.files + ".log")
	err = errors.Join(err, p.log.Close())
	for _, extension := range []string{".ini", ".users", ".log"} {
		err = errors.Join(err, os.Remove(p.files+extension))
	}
	return said, err
}
