package app

import (
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"parako/internal/cache"
	"parako/internal/config"
	"parako/internal/testkit"
)

// Cluster is several servers on one database and one Redis, as behind a load balancer.
type Cluster struct {
	// Instances have the same tenants and the same public address. What an instance's clients send reaches that instance.
	Instances []*App
	// Links are the ways of the instances to Redis, in the same order.
	Links []*Link
	Redis *Redis
}

// NewCluster starts n servers and creates the two tenants. change may adjust the configuration of all first. Redis is a process
// of its own where redis-server is installed, which it must be in CI, else miniredis.
func NewCluster(tb testing.TB, n int, change ...func(*config.Config)) *Cluster {
	tb.Helper()
	c := &Cluster{Redis: startRedis(tb)}
	first := &App{DB: testkit.NewDB(tb)}
	for range n {
		link := startLink(tb, c.Redis.network, c.Redis.address)
		a := launch(tb, first, "redis://"+link.listener.Addr().String(), c.Redis.mini != nil, change...)
		if len(c.Instances) == 0 {
			a.Acme, a.Globex = a.AddTenant(tb, "acme"), a.AddTenant(tb, "globex")
			first = a
		}
		a.Acme, a.Globex = first.Acme, first.Globex
		c.Instances, c.Links = append(c.Instances, a), append(c.Links, link)
	}
	return c
}

// spread sends each request to the next instance.
type spread struct {
	to   []http.RoundTripper
	next atomic.Uint64
}

// RoundTrip implements http.RoundTripper.
func (s *spread) RoundTrip(r *http.Request) (*http.Response, error) {
	return s.to[s.next.Add(1)%uint64(len(s.to))].RoundTrip(r)
}

// Browser is one whose requests are spread over the instances. It follows redirects within the deployment.
func (c *Cluster) Browser(tb testing.TB) *http.Client {
	tb.Helper()
	jar, err := cookiejar.New(nil)
	check(tb, err)
	over := &spread{}
	for _, a := range c.Instances {
		transport := a.Transport()
		tb.Cleanup(transport.CloseIdleConnections)
		over.to = append(over.to, transport)
	}
	port := strconv.Itoa(c.Instances[0].Config.Port)
	return &http.Client{Jar: jar, Transport: over, CheckRedirect: func(next *http.Request, _ []*http.Request) error {
		if next.URL.Port() != port {
			return http.ErrUseLastResponse
		}
		return nil
	}}
}

// Redis is a Redis that a test may take down and bring back at the same address.
type Redis struct {
	network, address string
	mini             *miniredis.Miniredis // nil: a process
	program          string
	process          *exec.Cmd
}

func startRedis(tb testing.TB) *Redis {
	tb.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") == "true" {
			tb.Fatal("redis-server is not installed: CI tests against a real Redis")
		}
		mini := miniredis.RunT(tb)
		return &Redis{network: "tcp", address: mini.Addr(), mini: mini}
	}
	dir, err := os.MkdirTemp("", "redis") // TempDir of the test can be too long for the name of a socket.
	check(tb, err)
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	r := &Redis{network: "unix", address: filepath.Join(dir, "s"), program: program}
	r.Restart(tb)
	tb.Cleanup(func() { r.Kill(tb) })
	return r
}

// Kill ends Redis without a farewell. What it held is lost.
func (r *Redis) Kill(tb testing.TB) {
	tb.Helper()
	if r.mini != nil {
		r.mini.FlushAll()
		r.mini.Close()
		return
	}
	if r.process == nil {
		return
	}
	_ = r.process.Process.Kill()
	_ = r.process.Wait() // It was killed, which Wait reports.
	_ = os.Remove(r.address)
	r.process = nil
}

// Restart starts an empty Redis at the address of the one that was killed, and returns once it listens.
func (r *Redis) Restart(tb testing.TB) {
	tb.Helper()
	if r.mini != nil {
		check(tb, r.mini.Restart())
		return
	}
	r.process = exec.Command(r.program, "--port", "0", "--unixsocket", r.address, "--save", "", "--appendonly", "no", "--dir", filepath.Dir(r.address))
	check(tb, r.process.Start())
	deadline := time.After(time.Minute)
	for {
		if conn, err := net.Dial(r.network, r.address); err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-deadline:
			tb.Fatal("redis-server does not listen")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Client is a connection to Redis that no link leads over, as somebody else in the network has one. It waits for Redis.
func (r *Redis) Client(tb testing.TB) *cache.Cache {
	tb.Helper()
	url := "unix://" + r.address
	if r.mini != nil {
		url = "redis://" + r.address
	}
	c, err := cache.Open(tb.Context(), cache.Options{URL: url, Compat: r.mini != nil, Timeout: time.Minute})
	check(tb, err)
	tb.Cleanup(c.Close)
	return c
}

// linkState is what becomes of the bytes on a link.
type linkState int

const (
	linkUp linkState = iota
	linkCut
	linkStalled
)

// Link is a connection between two places that can fail. It is up at first. It is safe for concurrent use.
type Link struct {
	listener         net.Listener
	network, address string

	mu      sync.Mutex
	changed *sync.Cond
	state   linkState
	closed  bool
	ends    map[net.Conn]bool
	running sync.WaitGroup
}

// startLink leads whoever connects to it to the address.
func startLink(tb testing.TB, network, address string) *Link {
	tb.Helper()
	listener, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	check(tb, err)
	l := &Link{listener: listener, network: network, address: address, ends: map[net.Conn]bool{}}
	l.changed = sync.NewCond(&l.mu)
	l.running.Go(l.accept)
	tb.Cleanup(func() {
		_ = listener.Close()
		l.set(linkCut, true)
		l.running.Wait()
	})
	return l
}

// Cut ends all connections and refuses new ones, until Heal.
func (l *Link) Cut() { l.set(linkCut, false) }

// Stall swallows what is sent and answers nothing, as a network that has been split, until Heal delivers it.
func (l *Link) Stall() { l.set(linkStalled, false) }

// Heal lets everything pass again.
func (l *Link) Heal() { l.set(linkUp, false) }

func (l *Link) set(state linkState, closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state, l.closed = state, l.closed || closed
	if state == linkCut {
		for end := range l.ends {
			_ = end.Close()
		}
	}
	l.changed.Broadcast()
}

func (l *Link) accept() {
	for {
		near, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.running.Go(func() { l.serve(near) })
	}
}

func (l *Link) serve(near net.Conn) {
	if !l.hold(near) {
		return
	}
	defer l.release(near)
	if !l.pass() {
		return
	}
	far, err := net.Dial(l.network, l.address)
	if err != nil || !l.hold(far) {
		return
	}
	defer l.release(far)
	var back sync.WaitGroup
	back.Go(func() { l.carry(near, far) })
	l.carry(far, near)
	back.Wait()
}

// hold makes Cut close the connection. It reports false, and has closed it, when the link is cut.
func (l *Link) hold(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == linkCut {
		_ = conn.Close()
		return false
	}
	l.ends[conn] = true
	return true
}

func (l *Link) release(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.ends, conn)
	_ = conn.Close()
}

// pass waits while the link is stalled. It reports false when it is cut.
func (l *Link) pass() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.state == linkStalled && !l.closed {
		l.changed.Wait()
	}
	return l.state == linkUp
}

// carry moves bytes until either end closes, and closes both then.
func (l *Link) carry(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil || !l.pass() {
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}
