package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"

	"parako/internal/config"
	"parako/internal/embedpg"
	"parako/internal/secret"
	"parako/internal/server"
	"parako/internal/store"
	"parako/internal/telemetry"
)

// devOptions are the flags of `parako dev`.
type devOptions struct {
	port, demoPort int
	dataDir        string
	asJSON         bool
}

// dev runs the whole product on this machine: a private PostgreSQL and an in-process Redis unless DATABASE_URL and REDIS_URL
// name others, the migrated schema, two demo tenants, the server, and a relying party to sign in at.
func dev(ctx context.Context, p *process, args []string) error {
	var o devOptions
	flags := flag.NewFlagSet("parako dev", flag.ContinueOnError)
	flags.IntVar(&o.port, "port", 9007, "the server's port")
	flags.IntVar(&o.demoPort, "demo-port", 9008, "the demo relying party's port")
	flags.StringVar(&o.dataDir, "data-dir", ".parako", "where the database is kept between runs")
	flags.BoolVar(&o.asJSON, "json", false, "print the URLs and credentials as one JSON object")
	if err := p.parse(flags, args); err != nil {
		return err
	}
	c, err := config.Load(p.environ)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go followParent(ctx, cancel)

	level := "warn"
	if strings.EqualFold(c.LogLevel, "debug") {
		level = c.LogLevel
	}
	log := telemetry.NewLogger(p.stderr, level, true)
	public, demo, err := devListeners(ctx, o)
	if err != nil {
		return err
	}
	defer demo.Close()
	stop, err := o.prepare(ctx, &c, log)
	defer stop()
	if err != nil {
		return errors.Join(err, public.Close())
	}
	s, err := server.New(ctx, server.Options{Config: c, Log: log, RedisCompat: true})
	if err != nil {
		return errors.Join(err, public.Close())
	}
	defer s.Close()
	seeded, err := seed(ctx, c, o)
	if err != nil {
		return errors.Join(fmt.Errorf("seed the demo tenants: %w", err), public.Close())
	}

	var background sync.WaitGroup
	defer background.Wait()
	rp := &http.Server{Handler: newDemo(seeded.Demo, seeded.demoTenants(), loopbackTransport()), ReadHeaderTimeout: 5 * time.Second}
	background.Go(func() { _ = rp.Serve(demo) }) // It ends with Close.
	defer rp.Close()
	return p.runServer(ctx, s, log, public, nil, func() {
		if o.asJSON {
			_ = p.printJSON(seeded) // A closed standard output does not stop the server.
			return
		}
		p.printf("%s", seeded)
	})
}

// devListeners takes the ports first: what follows costs a second, and a port in use is the likeliest fault.
func devListeners(ctx context.Context, o devOptions) (public, demo net.Listener, err error) {
	var lc net.ListenConfig
	if public, err = lc.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(o.port))); err != nil {
		return nil, nil, fmt.Errorf("%w; choose another with --port", err)
	}
	if demo, err = lc.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(o.demoPort))); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("%w; choose another with --demo-port", err), public.Close())
	}
	return public, demo, nil
}

// prepare completes the configuration: databases that run, a schema that is up to date, a key. The returned function stops
// what was started; it is never nil.
func (o devOptions) prepare(ctx context.Context, c *config.Config, log *slog.Logger) (stop func(), err error) {
	stop = func() {}
	if err := os.MkdirAll(o.dataDir, 0o755); err != nil { //nolint:gosec // PostgreSQL may run as another user; its own folder is private.
		return stop, fmt.Errorf("create --data-dir: %w", err)
	}
	if c.EncryptionKey.Empty() {
		if c.EncryptionKey, err = keepKey(filepath.Join(o.dataDir, "encryption.key")); err != nil {
			return stop, err
		}
	}
	if c.DatabaseURL.Empty() {
		cluster, err := embedpg.Start(ctx, embedpg.Options{Dir: filepath.Join(o.dataDir, "postgres"), Durable: true, Log: log})
		if errors.Is(err, embedpg.ErrInUse) {
			return stop, fmt.Errorf("another `parako dev` uses %s; stop it, or choose another folder with --data-dir", o.dataDir)
		}
		if err != nil {
			return stop, err
		}
		stop = func() {
			if err := cluster.Stop(); err != nil {
				log.ErrorContext(ctx, "stop_postgres_failed", "error", err.Error())
			}
		}
		if err := store.Bootstrap(ctx, secret.NewString(cluster.DSN("postgres", "postgres")), "parako"); err != nil {
			return stop, err
		}
		c.DatabaseURL = secret.NewString(cluster.DSN("parako_owner", "parako"))
		c.PostgresURL = secret.NewString(cluster.DSN("parako_app", "parako"))
		c.PlatformURL = secret.NewString(cluster.DSN("parako_platform", "parako"))
	}
	if err := migrateForDev(ctx, c.DatabaseURL); err != nil {
		return stop, err
	}
	if err := devLogins(ctx, c); err != nil {
		return stop, err
	}
	if c.Redis().Empty() {
		redis := miniredis.NewMiniRedis()
		if err := redis.Start(); err != nil {
			return stop, fmt.Errorf("start in-process Redis: %w", err)
		}
		c.RedisURL = secret.NewString("redis://" + redis.Addr())
		postgres := stop
		stop = func() { redis.Close(); postgres() }
	}
	c.Environment, c.Host, c.Port = config.Development, "127.0.0.1", o.port
	c.URL = "http://localhost:" + strconv.Itoa(o.port)
	c.MultiTenancy.Enabled, c.MetricsAddr = true, ""
	c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	return stop, c.ForServe()
}

func migrateForDev(ctx context.Context, owner secret.String) error {
	m, err := store.NewMigrator(owner)
	if err != nil {
		return fmt.Errorf("DATABASE_URL: %w", err)
	}
	_, err = m.Up(ctx)
	if err = errors.Join(err, m.Close()); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// devLogins gives the server's two roles a password on a database of the developer's own, unless their URLs are set.
func devLogins(ctx context.Context, c *config.Config) (err error) {
	if c.PostgresURL.Empty() {
		if c.PostgresURL, err = store.LoginAs(ctx, c.DatabaseURL, "parako_app", secret.NewString(secret.Token())); err != nil {
			return err
		}
	}
	if c.PlatformURL.Empty() {
		c.PlatformURL, err = store.LoginAs(ctx, c.DatabaseURL, "parako_platform", secret.NewString(secret.Token()))
	}
	return err
}

// keepKey is the master key of a data directory, made at the first run. Without it the data cannot be read.
func keepKey(path string) (secret.String, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		text = fmt.Appendf(nil, "%x", secret.NewDataKey())
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		return secret.String{}, fmt.Errorf("keep the encryption key: %w", err)
	}
	return secret.NewString(strings.TrimSpace(string(text))), nil
}

// followParent stops a server that `go run` started when `go run` itself was killed: it would otherwise live on and hold
// the ports.
func followParent(ctx context.Context, stop func()) {
	self, err := os.Executable()
	if err != nil || !strings.Contains(self, "go-build") {
		return
	}
	parent := os.Getppid()
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if os.Getppid() != parent {
				stop()
				return
			}
		}
	}
}
