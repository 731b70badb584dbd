package telemetry

import (
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	namespace = "parako"
	other     = "other" // stands for every label value that is not on a list
)

// allowed is the list of values that a label may take.
type allowed map[string]bool

func allow(values ...string) allowed {
	a := allowed{}
	for _, v := range values {
		a[v] = true
	}
	return a
}

func (a allowed) fold(value string) string {
	if a[value] {
		return value
	}
	return other
}

// Metrics holds every metric of the product under the prefix parako_, in a registry of its own, together with those of
// the Go runtime and the process under their usual names. No metric has a label for the tenant or the user, and none
// takes a label value from a client unchecked, so the number of series does not grow with use. Make one with
// [NewMetrics]; safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry

	requests *prometheus.HistogramVec

	poolSize      prometheus.Gauge
	poolCapacity  prometheus.Gauge
	poolHits      prometheus.Counter
	poolMisses    prometheus.Counter
	poolBuilds    *prometheus.CounterVec
	poolBuildTime prometheus.Histogram
	poolEvictions *prometheus.CounterVec

	hints prometheus.Counter

	logins      *prometheus.CounterVec
	tokens      *prometheus.CounterVec
	tokenErrors *prometheus.CounterVec
	rateLimited *prometheus.CounterVec
	quotas      *prometheus.CounterVec
	logouts     *prometheus.CounterVec
	mails       *prometheus.CounterVec

	methods, reasons, factors, grants, tokenErrorTypes allowed
}

// NewMetrics returns the metrics, all at zero.
func NewMetrics() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),

		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "http_request_duration_seconds",
			Help:    "Time from the request's header to the end of the response, by route pattern.",
			Buckets: prometheus.DefBuckets,
		}, []string{"method", "route", "status_code"}),

		poolSize:     gauge("provider_pool_size", "Providers (one per tenant in use) held in memory."),
		poolCapacity: gauge("provider_pool_capacity", "The most providers that are held at once."),
		poolHits:     counter("provider_pool_hits_total", "Requests whose tenant's provider was in the pool."),
		poolMisses: counter("provider_pool_misses_total",
			"Requests that had to wait until their tenant's provider was built."),
		poolBuilds: counters("provider_pool_builds_total", "Providers built.", "result"),
		poolBuildTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Name: "provider_pool_build_duration_seconds",
			Help:    "Time to build one provider.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
		}),
		poolEvictions: counters("provider_pool_evictions_total", "Providers dropped from the pool.", "reason"),

		hints: counter("tenant_hints_total", "Hints through Redis that a tenant has changed."),

		logins:      counters("login_attempt_total", "Attempts to prove an identity.", "result", "method"),
		tokens:      counters("token_issued_total", "Successful answers of the token endpoint.", "grant_type"),
		tokenErrors: counters("token_error_total", "Refusals of the token endpoint.", "error_type", "grant_type"),
		rateLimited: counters("rate_limited_total", "Attempts refused by a rate limit.", "limit"),
		mails:       counters("mail_total", "Attempts to hand a mail to a mail server.", "result"),
		quotas:      counters("quota_refused_total", "What was refused because its tenant has as many.", "quota"),
		logouts:     counters("logout_delivery_total", "Attempts to tell a client that a session has ended.", "result"),

		methods: allow(http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
			http.MethodDelete, http.MethodOptions),
		reasons: allow("lru", "idle", "stale"),
		factors: allow("password", "passkey", "totp", "email_otp", "sms_otp", "recovery_code", "federation"),
		grants: allow("authorization_code", "refresh_token", "client_credentials", "implicit",
			"urn:ietf:params:oauth:grant-type:device_code", "urn:ietf:params:oauth:grant-type:token-exchange",
			"urn:ietf:params:oauth:grant-type:jwt-bearer"),
		// RFC 6749 §5.2, RFC 8628 §3.5, RFC 8707 §2, RFC 9449 §5, and what a server adds of its own.
		tokenErrorTypes: allow("invalid_request", "invalid_client", "invalid_grant", "unauthorized_client",
			"unsupported_grant_type", "invalid_scope", "authorization_pending", "slow_down", "access_denied",
			"expired_token", "invalid_target", "invalid_dpop_proof", "use_dpop_nonce", "server_error",
			"temporarily_unavailable"),
	}
	info := gauges("info", "Always 1; the version that runs is in the label.", "version")
	info.WithLabelValues(version()).Set(1)
	m.registry.MustRegister(
		m.requests, m.hints, m.poolSize, m.poolCapacity, m.poolHits, m.poolMisses, m.poolBuilds, m.poolBuildTime, m.poolEvictions, m.logins,
		m.tokens, m.tokenErrors, m.rateLimited, m.quotas, m.logouts, m.mails, info,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	for _, result := range []string{"success", "failure"} { // so that the first failure is an increase, not a new series
		m.poolBuilds.WithLabelValues(result)
	}
	for _, result := range []LogoutResult{LogoutDelivered, LogoutDropped, LogoutFailed, LogoutRefused, LogoutAbandoned} {
		m.logouts.WithLabelValues(string(result))
	}
	for _, result := range []MailResult{MailSent, MailDropped, MailFailed, MailAbandoned} {
		m.mails.WithLabelValues(string(result))
	}
	return m
}

// Handler serves the metrics in the Prometheus text format. Mount it on a listener that the public does not reach.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}

// ObserveRequest records one finished HTTP request. route is the pattern it matched ("/oidc/token"), never the path;
// empty when nothing matched.
func (m *Metrics) ObserveRequest(method, route string, status int, d time.Duration) {
	if route == "" {
		route = other
	}
	code := other
	if status >= 100 && status <= 599 {
		code = strconv.Itoa(status)
	}
	m.requests.WithLabelValues(m.methods.fold(method), route, code).Observe(d.Seconds())
}

// PoolHit records a request that found its provider in the pool.
func (m *Metrics) PoolHit() { m.poolHits.Inc() }

// PoolMiss records a request that did not.
func (m *Metrics) PoolMiss() { m.poolMisses.Inc() }

// PoolBuilt records that building a provider took d and ended with err, which may be nil.
func (m *Metrics) PoolBuilt(d time.Duration, err error) {
	m.poolBuilds.WithLabelValues(result(err == nil)).Inc()
	m.poolBuildTime.Observe(d.Seconds())
}

// PoolEvicted records that a provider left the pool: "lru" (no room), "idle" (unused) or "stale" (replaced by a newer
// revision).
func (m *Metrics) PoolEvicted(reason string) {
	m.poolEvictions.WithLabelValues(m.reasons.fold(reason)).Inc()
}

// PoolSize records how many providers the pool holds now.
func (m *Metrics) PoolSize(n int) { m.poolSize.Set(float64(n)) }

// PoolCapacity records how many providers the pool may hold.
func (m *Metrics) PoolCapacity(n int) { m.poolCapacity.Set(float64(n)) }

// HintHeard records a hint that a tenant has changed, which has been acted on then.
func (m *Metrics) HintHeard() { m.hints.Inc() }

// LoginAttempt records an attempt to prove an identity by method: password, passkey, totp, email_otp, sms_otp,
// recovery_code or federation.
func (m *Metrics) LoginAttempt(ok bool, method string) {
	m.logins.WithLabelValues(result(ok), m.factors.fold(method)).Inc()
}

// TokenIssued records a successful answer of the token endpoint.
func (m *Metrics) TokenIssued(grantType string) {
	m.tokens.WithLabelValues(m.grants.fold(grantType)).Inc()
}

// TokenError records a refusal of the token endpoint; errorType is the error of RFC 6749 §5.2.
func (m *Metrics) TokenError(errorType, grantType string) {
	m.tokenErrors.WithLabelValues(m.tokenErrorTypes.fold(errorType), m.grants.fold(grantType)).Inc()
}

// RateLimited records a refusal by a rate limit; limit is its Name, which is one of the product's own.
func (m *Metrics) RateLimited(limit string) { m.rateLimited.WithLabelValues(limit).Inc() }

// QuotaRefused records a refusal by a quota that is no rate; quota is its name, such as "sessions".
func (m *Metrics) QuotaRefused(quota string) { m.quotas.WithLabelValues(quota).Inc() }

// LogoutResult is what came of an attempt to tell a client that a session has ended.
type LogoutResult string

// The results. A delivery that failed is tried again; the others are the last of it.
const (
	LogoutDelivered LogoutResult = "delivered"
	LogoutDropped   LogoutResult = "dropped" // nobody wanted it any more
	LogoutFailed    LogoutResult = "failed"
	LogoutRefused   LogoutResult = "refused"
	LogoutAbandoned LogoutResult = "abandoned"
)

// LogoutDelivery records an attempt to tell a client that a session has ended.
func (m *Metrics) LogoutDelivery(result LogoutResult) {
	m.logouts.WithLabelValues(string(result)).Inc()
}

// MailResult is what came of an attempt to send a mail.
type MailResult string

// The results. A mail that failed is tried again; the others are the last of it.
const (
	MailSent      MailResult = "sent"
	MailDropped   MailResult = "dropped" // nobody is to get it any more
	MailFailed    MailResult = "failed"
	MailAbandoned MailResult = "abandoned"
)

// Mail records an attempt to send a mail.
func (m *Metrics) Mail(result MailResult) { m.mails.WithLabelValues(string(result)).Inc() }

// RegisterRedis makes redis_available 1 while available returns true. Call it once; available must be quick and safe
// for concurrent use.
func (m *Metrics) RegisterRedis(available func() bool) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: namespace, Name: "redis_available",
		Help: "1 while Redis answers, 0 while the process does without it.",
	}, func() float64 {
		if available() {
			return 1
		}
		return 0
	}))
}

// RegisterRequests reports the requests in progress as requests{state}: served, and waiting until their tenant has a place. Call it once;
// load must be quick and safe for concurrent use.
func (m *Metrics) RegisterRequests(load func() (served, waiting int)) {
	m.registry.MustRegister(requestLoad{load: load, requests: prometheus.NewDesc(
		prometheus.BuildFQName(namespace, "", "requests"), "Requests in progress.", []string{"state"}, nil,
	)})
}

// requestLoad asks once per scrape.
type requestLoad struct {
	load     func() (served, waiting int)
	requests *prometheus.Desc
}

// Describe implements [prometheus.Collector].
func (l requestLoad) Describe(descriptions chan<- *prometheus.Desc) { descriptions <- l.requests }

// Collect implements [prometheus.Collector].
func (l requestLoad) Collect(metrics chan<- prometheus.Metric) {
	served, waiting := l.load()
	for state, n := range map[string]int{"served": served, "waiting": waiting} {
		metrics <- prometheus.MustNewConstMetric(l.requests, prometheus.GaugeValue, float64(n), state)
	}
}

// RegisterTenantPolls reports the reads of which tenants have changed as tenant_polls_total{result}. Call it once; polls must
// be quick and safe for concurrent use.
func (m *Metrics) RegisterTenantPolls(polls func() (succeeded, failed int64)) {
	m.registry.MustRegister(tenantPolls{polls: polls, total: prometheus.NewDesc(
		prometheus.BuildFQName(namespace, "", "tenant_polls_total"), "Reads of which tenants have changed.", []string{"result"}, nil,
	)})
}

// tenantPolls asks once per scrape.
type tenantPolls struct {
	polls func() (succeeded, failed int64)
	total *prometheus.Desc
}

// Describe implements [prometheus.Collector].
func (p tenantPolls) Describe(descriptions chan<- *prometheus.Desc) { descriptions <- p.total }

// Collect implements [prometheus.Collector].
func (p tenantPolls) Collect(metrics chan<- prometheus.Metric) {
	succeeded, failed := p.polls()
	for ok, n := range map[bool]int64{true: succeeded, false: failed} {
		metrics <- prometheus.MustNewConstMetric(p.total, prometheus.CounterValue, float64(n), result(ok))
	}
}

// RegisterDBStats reports the connections to PostgreSQL as db_pool_connections{state}: idle, acquired and, of total,
// those still opening. Call it once; stats must be quick and safe for concurrent use.
func (m *Metrics) RegisterDBStats(stats func() (total, idle, acquired int32)) {
	m.registry.MustRegister(dbPool{stats: stats, connections: prometheus.NewDesc(
		prometheus.BuildFQName(namespace, "", "db_pool_connections"), "Connections to PostgreSQL.", []string{"state"}, nil,
	)})
}

// dbPool asks once per scrape, so that the states add up.
type dbPool struct {
	stats       func() (total, idle, acquired int32)
	connections *prometheus.Desc
}

// Describe implements [prometheus.Collector].
func (p dbPool) Describe(descriptions chan<- *prometheus.Desc) { descriptions <- p.connections }

// Collect implements [prometheus.Collector].
func (p dbPool) Collect(metrics chan<- prometheus.Metric) {
	total, idle, acquired := p.stats()
	for state, n := range map[string]int32{"idle": idle, "acquired": acquired, "opening": max(total-idle-acquired, 0)} {
		metrics <- prometheus.MustNewConstMetric(p.connections, prometheus.GaugeValue, float64(n), state)
	}
}

func result(ok bool) string {
	if ok {
		return "success"
	}
	return "failure"
}

// version is what the linker recorded: a tag, a pseudo-version, or "(devel)".
func version() string {
	if build, ok := debug.ReadBuildInfo(); ok && build.Main.Version != "" {
		return build.Main.Version
	}
	return "(devel)"
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

func gauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help})
}

func gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels)
}
