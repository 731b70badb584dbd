// Package browser drives a headless Chromium for tests of what people see: it owns the browser process, its tabs, and the
// record of what a tab loaded and complained about.
//
// It refuses to leave the machine: only localhost, the names below it and loopback addresses resolve. Start reading at [Open];
// page.go asks questions about the page that a tab shows.
package browser

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience is how long a tab waits for what must happen. It bounds a hang; nothing is measured by it.
const patience = time.Minute

// Tab is a browser window with cookies and a cache of its own. Its methods and [Get] end the test when the page does not do
// what they wait for. One goroutine at a time uses a Tab.
type Tab struct {
	tb  testing.TB
	ctx context.Context //nolint:containedctx // chromedp's handle of a tab is a context.

	mu       sync.Mutex // the browser reports from a goroutine of its own
	requests map[network.RequestID]*Request
	order    []network.RequestID
	faults   []string
}

// Request is something a tab loaded.
type Request struct {
	URL  string
	Type network.ResourceType
	// Status is that of the last answer, after redirects.
	Status int64
	// Bytes of the last answer on the wire, headers included. Zero while it loads.
	Bytes int
}

// Open opens a tab until the test is over. The first tab starts the browser, and the last that closes ends it. When the test
// has failed by then, what the tab shows is kept as page.png among the test's artifacts.
//
// Without a chromium in PATH it skips the test, and fails it where CI=true.
func Open(tb testing.TB) *Tab {
	tb.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil && os.Getenv("CI") == "true" {
		tb.Fatalf("a test needs Chromium: %v", err)
	}
	if err != nil {
		tb.Skipf("needs Chromium, which CI has: %v", err)
	}
	parent, err := shared.acquire(program)
	if err != nil {
		tb.Fatalf("start %s: %v", program, err)
	}
	t := &Tab{tb: tb, requests: map[network.RequestID]*Request{}}
	ctx, closeTab := chromedp.NewContext(parent, chromedp.WithNewBrowserContext(), chromedp.WithListener(t.record))
	t.ctx = ctx
	tb.Cleanup(func() {
		if tb.Failed() {
			t.keepPicture()
		}
		closeTab()
		if err := shared.release(); err != nil {
			tb.Errorf("end the browser: %v", err)
		}
	})
	// The first run binds the tab to its context, so it must not be one with a deadline.
	if err := chromedp.Do(ctx, command(audits.Enable, struct{}{})); err != nil {
		tb.Fatalf("open a tab: %v", err)
	}
	return t
}

// Do takes steps one after the other.
func (t *Tab) Do(steps ...chromedp.Action[chromedp.Void]) {
	t.tb.Helper()
	Get(t, chromedp.Steps(steps...))
}

// Get takes one step and returns its value.
func Get[T any](t *Tab, step chromedp.Action[T]) T {
	t.tb.Helper()
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, step)
	if err != nil {
		t.tb.Fatalf("the browser at %s: %v", t.address(), err)
	}
	return value
}

// address is where the tab is, for messages.
func (t *Tab) address() string {
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	at, err := chromedp.Run(ctx, chromedp.Location())
	if err != nil {
		return "an unknown page"
	}
	return at
}

func (t *Tab) keepPicture() {
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		t.tb.Logf("no picture of the page: %v", err)
		return
	}
	name := filepath.Join(t.tb.ArtifactDir(), "page.png")
	if err := os.WriteFile(name, picture, 0o600); err != nil {
		t.tb.Logf("keep a picture of the page: %v", err)
		return
	}
	t.tb.Logf("the page at the end, %s: %s (go test -artifacts keeps it)", t.address(), name)
}

// Requests lists what the tab has loaded since it was opened, in the order in which it asked.
func (t *Tab) Requests() []Request {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []Request
	for _, id := range t.order {
		list = append(list, *t.requests[id])
	}
	return list
}

// Faults lists what went wrong in the pages of the tab since it was opened: violations of the Content-Security-Policy and
// exceptions of scripts. That a page or a picture could not be loaded is not among them.
func (t *Tab) Faults() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.faults)
}

// record notes the events of the tab. It runs while the browser's messages are read and must not wait.
func (t *Tab) record(event any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		if t.requests[e.RequestID] == nil {
			t.order = append(t.order, e.RequestID)
		}
		t.requests[e.RequestID] = &Request{URL: e.Request.URL, Type: e.Type}
	case *network.EventResponseReceived:
		if r := t.requests[e.RequestID]; r != nil {
			r.Status = e.Response.Status
		}
	case *network.EventLoadingFinished:
		if r := t.requests[e.RequestID]; r != nil {
			r.Bytes = int(e.EncodedDataLength)
		}
	case *audits.EventIssueAdded:
		if d := e.Issue.Details; d != nil && d.ContentSecurityPolicyIssueDetails != nil {
			v := d.ContentSecurityPolicyIssueDetails
			t.faults = append(t.faults, fmt.Sprintf("Content-Security-Policy: %s refuses %q", v.ViolatedDirective, v.BlockedURL))
		}
	case *log.EventEntryAdded: // says what the audit says, and knows directives that are malformed besides
		if strings.Contains(e.Entry.Text, "Content Security Policy") || strings.Contains(e.Entry.Text, "Content-Security-Policy") {
			t.faults = append(t.faults, e.Entry.Text)
		}
	case *runtime.EventExceptionThrown:
		t.faults = append(t.faults, "exception: "+e.ExceptionDetails.Text)
	}
}

// shared is the one browser of this process. A test is handed nothing but its *testing.T, so this cannot be a value that
// somebody passes.
var shared process

// process is a browser that lives as long as somebody uses it. The zero value is not running.
type process struct {
	mu    sync.Mutex
	users int
	ctx   context.Context //nolint:containedctx // chromedp's handle of a browser is a context.
}

func (p *process) acquire(program string) (context.Context, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.users == 0 {
		options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
			chromedp.ExecPath(program),
			chromedp.NoSandbox, // for root, and for containers without user namespaces
			chromedp.DisableGPU,
			chromedp.Flag("disable-quic", true),
			chromedp.Flag("disable-component-update", true),
			chromedp.Flag("lang", "en-US"), // not the developer's
			chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE *.localhost, EXCLUDE 127.0.0.1"),
		)
		// The browser outlives the test that happens to start it.
		allocator, _ := chromedp.NewExecAllocator(context.Background(), options...)
		ctx, _ := chromedp.NewContext(allocator)
		if err := chromedp.Do(ctx); err != nil {
			return nil, err
		}
		p.ctx = ctx
	}
	p.users++
	return p.ctx, nil
}

// release ends the browser, waits for its processes and removes its files when the last user is gone.
func (p *process) release() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users--
	if p.users > 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	return chromedp.Cancel(ctx)
}
