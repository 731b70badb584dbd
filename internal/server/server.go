// Package server assembles the product: middleware in its order, the routes of every edge, the rendering of errors, health,
// metrics, and the background work that keeps the instance in step with the others. It is the composition root; it holds no
// behaviour of its own.
//
// It refuses to serve a database that [store.Store.Check] refuses. Start reading at [New], then middleware.go.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"parako/internal/api"
	"parako/internal/cache"
	"parako/internal/config"
	"parako/internal/directory"
	"parako/internal/factor"
	"parako/internal/federation"
	"parako/internal/i18n"
	"parako/internal/jobs"
	"parako/internal/message"
	"parako/internal/oidc"
	"parako/internal/outbound"
	"parako/internal/pages"
	"parako/internal/platform"
	"parako/internal/ratelimit"
	"parako/internal/secret"
	"parako/internal/session"
	"parako/internal/signin"
	"parako/internal/store"
	"parako/internal/telemetry"
	"parako/internal/tenant"
)

// Options are what the outside gives a server. Config must have passed [config.Config.ForServe].
type Options struct {
	Config config.Config
	Log    *slog.Logger
	// RedisCompat is for the in-process Redis of development and tests.
	RedisCompat bool
	// RedisTimeout and OutboundTimeout replace how long a call to Redis, or to an address that a client registered, takes at most. Longer
	// only in tests.
	RedisTimeout, OutboundTimeout time.Duration
}

// Server is one instance. Make it with New, run it with Run.
type Server struct {
	o        Options
	store    *store.Store
	cache    *cache.Cache
	registry *tenant.Registry
	resolver *tenant.Resolver
	pool     *oidc.Pool
	domains  *tenant.Registrar
	vault    tenant.Vault
	metrics  *telemetry.Metrics
	limiter  *ratelimit.Limiter
	shares   *ratelimit.Shares // nil in single-tenant mode
	sealer   *sealer
	pulse    *pulse
	pages    *pages.Handler
	relay    *federation.Relay
	api      *api.Handler
	mail     *message.Sender
	composer *message.Composer
	echo     *echo.Echo
	secure   bool // the public URL is https
	answerIn time.Duration
	draining atomic.Bool
}

// New connects, checks the database, creates the platform's tenant when it is missing, and builds the routes. It listens to
// nothing yet.
func New(ctx context.Context, o Options) (*Server, error) {
	base, err := o.Config.BaseURL()
	if err != nil {
		return nil, err
	}
	vault, err := tenant.NewVault(o.Config.EncryptionKey, o.Config.EncryptionKeyPrevious)
	if err != nil {
		return nil, err
	}
	authorities, err := clientAuthorities(o.Config.ClientCAFile)
	if err != nil {
		return nil, fmt.Errorf("TLS_CLIENT_CA_FILE: %w", err)
	}
	passwords := factor.Passwords{Hasher: secret.NewHasher(0)}
	s := &Server{o: o, vault: vault, metrics: telemetry.NewMetrics(), secure: base.Scheme == "https", answerIn: answerTimeout}
	s.store, err = store.Open(ctx, store.Options{
		AppURL: o.Config.PostgresURL, PlatformURL: o.Config.PlatformURL, Pooled: o.Config.Pooler == config.TransactionPooler, Changed: s.changed,
	})
	if err != nil {
		return nil, err
	}
	s.pulse = &pulse{ping: s.store.Ping, now: time.Now}
	s.registry = tenant.NewRegistry(s.store, o.Log, time.Now)
	if err := s.prepare(ctx, vault, passwords); err != nil {
		s.store.Close()
		return nil, err
	}
	s.cache, err = cache.Open(ctx, cache.Options{URL: o.Config.Redis().Reveal(), Compat: o.RedisCompat, Timeout: o.RedisTimeout, Log: o.Log})
	if err != nil {
		s.store.Close()
		return nil, fmt.Errorf("REDIS_URL: %w", err)
	}
	s.metrics.RegisterRedis(s.cache.Available)
	s.metrics.RegisterDBStats(s.store.PoolStats)
	s.metrics.RegisterTenantPolls(s.registry.Polls)

	mt := o.Config.MultiTenancy
	s.resolver = tenant.NewResolver(s.registry, tenant.Options{
		Enabled: mt.Enabled, FromHeader: mt.From("header"), FromHost: mt.From("subdomain"), Header: mt.TenantHeader, Base: base,
		Trusted: o.Config.TrustedProxies, Lenient: o.Config.Environment == config.Development, Log: o.Log,
	})
	s.domains = &tenant.Registrar{
		Store: s.store, DNS: outbound.NewResolver(o.Config.DNSResolver), Base: base, Quarantine: o.Config.DomainQuarantine,
	}
	s.limiter = ratelimit.New(s.cache, time.Now)
	if mt.Enabled {
		s.shares = ratelimit.NewShares(s.store.Connections(), shareQueue, sharePatience, time.Now)
		s.metrics.RegisterRequests(s.shares.Load)
	}
	outside := outbound.New(outbound.Options{
		Allowed: o.Config.OutboundNetworks, Loopback: o.Config.Environment == config.Development, Timeout: o.OutboundTimeout,
	})
	deps := oidc.Deps{
		Outbound: outside, Keys: oidc.NewKeyCache(outside, time.Now), ClientCAs: authorities, Limiter: s.limiter, Store: s.store, Vault: vault, Base: base, MultiTenant: mt.Enabled, Metrics: s.metrics, Log: o.Log, Now: time.Now,
	}
	s.pool = oidc.NewPool(func(ctx context.Context, t tenant.Tenant) (*oidc.Provider, error) {
		return oidc.NewProvider(ctx, deps, t)
	}, oidc.PoolOptions{MaxSize: mt.PoolMaxSize, IdleTTL: mt.PoolIdleTTL(), Sweep: mt.PoolSweep()}, s.metrics, time.Now)
	s.sealer = &sealer{store: s.store, pool: s.pool, log: o.Log, now: time.Now}
	s.relay = &federation.Relay{
		Keys: vault.Keys(), Redis: s.cache, Limiter: s.limiter, Metrics: s.metrics, Base: base,
		LeadsTo: func(ctx context.Context, host string) (tenant.Tenant, error) {
			return s.registry.ByName(ctx, "host", host)
		},
		Plain: o.Config.Environment == config.Development, Now: time.Now,
	}
	cookies := session.Cookies{Secure: s.secure}
	protocol := oidc.NewHandler(deps, s.pool)
	logins := &signin.Logins{
		Store: s.store, Passwords: passwords, Limiter: s.limiter, Metrics: s.metrics,
	}
	if o.Config.Environment != config.Production {
		logins.Slack = developmentSlack
	}
	forPlatform := pages.Platform{
		Store: s.store, Vault: vault, Passwords: passwords, Domains: s.domains, Base: base, Now: time.Now,
	}
	catalog, err := i18n.New()
	if err != nil {
		s.Close()
		return nil, err
	}
	s.mail = message.NewSender(outside)
	if s.composer, err = message.NewComposer(catalog); err != nil {
		s.Close()
		return nil, err
	}
	if s.pages, err = pages.NewHandler(catalog, protocol, logins, cookies, o.Log, forPlatform); err != nil {
		s.Close()
		return nil, fmt.Errorf("prepare pages: %w", err)
	}
	s.api = api.New(api.Deps{
		Protocol: protocol, Store: s.store, Vault: vault, Domains: s.domains, Base: base, Limiter: s.limiter, Metrics: s.metrics, Log: o.Log, MultiTenant: mt.Enabled,
	})
	if s.echo, err = s.routes(protocol); err != nil { //nolint:contextcheck // Requests bring their own.
		s.Close()
		return nil, fmt.Errorf("prepare routes: %w", err)
	}
	return s, nil
}

// developmentSlack multiplies the limits on failed logins outside production.
const developmentSlack = 10

// prepare refuses a database that must not be served, and makes what every deployment has.
func (s *Server) prepare(ctx context.Context, vault tenant.Vault, passwords factor.Passwords) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := s.store.Check(ctx); err != nil {
		return err
	}
	home := tenant.DefaultID
	if s.o.Config.MultiTenancy.Enabled {
		t, err := tenant.EnsurePlatforms(ctx, s.store)
		if err != nil {
			return fmt.Errorf("create the platform's tenant: %w", err)
		}
		home = t.ID
		if err := s.bootstrap(ctx, home, passwords); err != nil {
			return err
		}
	}
	// The wrong master key must not be found out by the first person who wants to sign in.
	return s.store.InTenant(ctx, home, func(ctx context.Context, tx *store.Tx) error {
		if _, err := vault.Sealer(ctx, tx); err != nil {
			return fmt.Errorf("ENCRYPTION_KEY does not open this database: %w", err)
		}
		return nil
	})
}

// bootstrap makes the account that makes the platform's first administrator, when the environment has one, and says at every start what
// came of it.
func (s *Server) bootstrap(ctx context.Context, home uuid.UUID, passwords factor.Passwords) error {
	if s.o.Config.BootstrapEmail == "" || s.o.Config.BootstrapPassword.Empty() {
		return nil
	}
	outcome, err := platform.Bootstrap{
		Store: s.store, Passwords: passwords, Home: home, Email: s.o.Config.BootstrapEmail, Password: s.o.Config.BootstrapPassword,
	}.Run(ctx)
	const remove = "remove PARAKO_BOOTSTRAP_ADMIN_EMAIL and PARAKO_BOOTSTRAP_ADMIN_PASSWORD from the environment"
	switch {
	case errors.Is(err, directory.ErrTaken):
		s.o.Log.ErrorContext(ctx, "bootstrap_admin_not_created",
			"do", "the address, or the username platform-admin, belongs to somebody of _platforms: give them the role platform_admin, or set another address")
	case err != nil:
		return fmt.Errorf("create the bootstrap administrator: %w", err)
	case outcome == platform.Created:
		s.o.Log.WarnContext(ctx, "bootstrap_admin_created", "do", "sign in at /platform of the tenant _platforms within 7 days and create a permanent administrator; then "+remove)
	case outcome == platform.Spent:
		s.o.Log.WarnContext(ctx, "bootstrap_admin_expired", "do", "nobody used it for 7 days: set another PARAKO_BOOTSTRAP_ADMIN_PASSWORD and start again")
	default:
		s.o.Log.WarnContext(ctx, "bootstrap_admin_already_exists", "do", remove)
	}
	return nil
}

// Close releases the connections. Run must have returned.
func (s *Server) Close() {
	if s.cache != nil {
		s.cache.Close()
	}
	s.store.Close()
}

// Handler is the public listener's handler.
func (s *Server) Handler() http.Handler { return headAsGet(s.echo) }

// Limits of the listeners. A request's head and body must arrive in time; pages and tokens are small.
const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 30 * time.Second
	writeTimeout      = 60 * time.Second
	idleTimeout       = 65 * time.Second
	// answerTimeout is when a request gives up waiting, so that it can still say so. It waits up to sharePatience for its turn.
	answerTimeout  = writeTimeout / 2
	maxHeaderBytes = 32 << 10
)

// Run serves public, and metrics when it is not nil, until ctx is done. Then it answers no new request, finishes those in
// flight within the grace period, and returns. ready is called once the instance serves.
func (s *Server) Run(ctx context.Context, public, metrics net.Listener, ready func()) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	var background sync.WaitGroup
	wake := make(chan struct{}, 1)
	background.Go(func() { s.registry.Watch(work, wake) })
	background.Go(func() { s.pool.Run(work) })
	background.Go(func() { s.listenForHints(work, wake) })
	background.Go(func() { s.expire(work) })
	background.Go(func() { s.sealer.run(work) })
	working, stopWorking := context.WithCancel(ctx)
	background.Go(func() { s.work(working) })
	defer background.Wait()
	defer stop()
	defer stopWorking()

	front := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes, ErrorLog: slog.NewLogLogger(s.o.Log.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 2)
	background.Go(func() { failed <- front.Serve(public) })
	back := &http.Server{Handler: s.metricsHandler(), ReadHeaderTimeout: readHeaderTimeout}
	if metrics != nil {
		background.Go(func() { failed <- back.Serve(metrics) })
	}
	ready()
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	s.draining.Store(true) // /readyz says so from here on, before the listener closes.
	stopWorking()          // Jobs end while requests do.
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.o.Config.ShutdownGrace)
	defer cancel()
	if e := front.Shutdown(drain); e != nil {
		err = errors.Join(err, fmt.Errorf("requests in flight did not finish in time: %w", e), front.Close())
	}
	s.sealer.sealUsed(drain) // What the last requests did.
	if metrics != nil {
		_ = back.Shutdown(drain) // Nothing there is worth waiting for.
	}
	return err
}

// work does jobs until ctx is done and those in progress have ended.
func (s *Server) work(ctx context.Context) {
	err := jobs.Run(ctx, jobs.Deps{
		Store: s.store, Registry: s.registry, Vault: s.vault, Pool: s.pool, Domains: s.domains, Mail: s.mail, Composer: s.composer,
		Limiter: s.limiter, Metrics: s.metrics, Log: s.o.Log, Grace: s.o.Config.ShutdownGrace,
	})
	if err != nil {
		s.o.Log.ErrorContext(ctx, "jobs_ended", "error", err.Error())
	}
}

// expireInterval is how often what has expired is removed.
const expireInterval = 5 * time.Minute

// expire removes what has long expired in the tenants that are in use here and, page by page, in all of them, until ctx is done.
func (s *Server) expire(ctx context.Context) {
	ticker := time.NewTicker(expireInterval)
	defer ticker.Stop()
	after := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			err := s.Expire(ctx)
			next, failed := s.expireNext(ctx, after)
			after = next
			if err = errors.Join(err, failed); err != nil && ctx.Err() == nil {
				s.o.Log.ErrorContext(ctx, "expire_failed", "error", err.Error())
			}
		}
	}
}

// Expire removes what has long expired in the tenants that are in use here. Run does so every few minutes.
func (s *Server) Expire(ctx context.Context) error {
	return oidc.Expire(ctx, s.store, s.pool.UsedSince(time.Time{}))
}

// expireNext does so in the next page of all tenants, and returns the slug at which the round has arrived: what a tenant has left
// expires when nobody uses it any more.
func (s *Server) expireNext(ctx context.Context, after string) (string, error) {
	page, next, err := nextTenants(ctx, s.store, after)
	if err != nil {
		return after, err
	}
	return next, oidc.Expire(ctx, s.store, page)
}

// changed acts on what a transaction of this instance has changed, at once, and tells the others. While New prepares the
// database there is nobody to tell.
func (s *Server) changed(ctx context.Context, id uuid.UUID, revision int64) {
	s.registry.Changed(id, revision)
	s.cache.PublishHint(ctx, cache.Hint{Tenant: id, Revision: revision})
}

// listenForHints turns what other instances publish into fresh look-ups. A gap in what was heard is made good by a poll.
func (s *Server) listenForHints(ctx context.Context, wake chan<- struct{}) {
	s.cache.SubscribeHints(ctx,
		func(h cache.Hint) {
			s.registry.Changed(h.Tenant, h.Revision)
			s.metrics.HintHeard()
		},
		func() {
			select {
			case wake <- struct{}{}:
			default:
			}
		})
}
