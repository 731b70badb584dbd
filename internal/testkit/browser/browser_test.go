package browser

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"
)

// serve answers every request with one page.
func serve(t *testing.T, policy, body string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, `<!doctype html><html lang="en"><title>A page</title><body>`+body)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestTabReportsWhatThePolicyRefuses(t *testing.T) {
	t.Parallel()
	tab := Open(t)
	tab.Do(chromedp.Navigate(serve(t, "default-src 'self'", `<p id="text">Text</p><script>document.title = "ran"</script>`)),
		chromedp.WaitVisible(chromedp.ID("text")))
	if got := Get(tab, chromedp.Title()); got != "A page" {
		t.Errorf("title = %q: the script ran", got)
	}
	if !slices.ContainsFunc(tab.Faults(), func(f string) bool { return strings.Contains(f, "script-src") }) {
		t.Errorf("Faults() = %q, want the inline script among them", tab.Faults())
	}
}

func TestTabReportsNothingOfAGoodPage(t *testing.T) {
	t.Parallel()
	tab := Open(t)
	address := serve(t, "default-src 'none'; img-src data:", `<link rel="icon" href="data:,"><p id="text">Text</p>`)
	tab.Do(chromedp.Navigate(address), chromedp.WaitVisible(chromedp.ID("text")))
	if diff := cmp.Diff([]string(nil), tab.Faults()); diff != "" {
		t.Errorf("Faults() mismatch (-want +got)\n%s", diff)
	}
	var pages []Request
	for _, r := range tab.Requests() {
		if strings.HasPrefix(r.URL, "http") {
			pages = append(pages, r)
		}
	}
	if len(pages) != 1 || pages[0].URL != address+"/" || pages[0].Status != http.StatusOK || pages[0].Bytes < 100 {
		t.Errorf("Requests() = %+v, want the page and nothing else", pages)
	}
}

func TestContrastIsThatOfTheSpecification(t *testing.T) {
	t.Parallel()
	tab := Open(t)
	body := `<div style="background:#fff"><p style="color:#000">black</p><p style="color:#777">grey</p><p hidden>hidden</p></div>`
	tab.Do(chromedp.Navigate(serve(t, "style-src 'unsafe-inline'", body)))
	var got []string
	for _, text := range Get(tab, Texts()) {
		got = append(got, fmt.Sprintf("%s %.2f", text.Text, text.Contrast))
	}
	if diff := cmp.Diff([]string{"black 21.00", "grey 4.48"}, got); diff != "" {
		t.Errorf("Texts() mismatch (-want +got)\n%s", diff)
	}
}

func TestOverflowIsWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	tab := Open(t)
	body := `<meta name="viewport" content="width=device-width"><div style="width:400px">wide</div>`
	tab.Do(Phone(320), chromedp.Navigate(serve(t, "style-src 'unsafe-inline'", body)))
	if Get(tab, Overflow()) == 0 {
		t.Error("Overflow() = 0 for a page of 400 pixels on 320")
	}
}

func TestAccessibleTree(t *testing.T) {
	t.Parallel()
	tab := Open(t)
	tab.Do(chromedp.Navigate(serve(t, "", `<h1>Hello</h1><label for="f">Name</label><input id="f"><input>`)), WithoutScripts())
	nodes := Get(tab, Accessible())
	if diff := cmp.Diff([]string{"Name", ""}, Named(nodes, "textbox")); diff != "" {
		t.Errorf("text boxes mismatch (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"Hello"}, Named(nodes, "heading")); diff != "" {
		t.Errorf("headings mismatch (-want +got)\n%s", diff)
	}
}
