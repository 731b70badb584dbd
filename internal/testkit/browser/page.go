package browser

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// command is a step that sends one command of the DevTools protocol and has no value.
func command[P, R any](c cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, c, params)
		return err
	})
}

// Dark is a step after which pages see a reader who prefers dark colours.
func Dark() chromedp.Action[chromedp.Void] {
	return command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}},
	})
}

// Phone is a step after which the tab is the screen of a telephone, width CSS pixels wide.
func Phone(width int64) chromedp.Action[chromedp.Void] {
	const height, scale = 640, 2
	return chromedp.EmulateViewport(width, height, chromedp.EmulateScale(scale), chromedp.EmulateMobile)
}

// WithoutScripts is a step after which no script of a page runs.
func WithoutScripts() chromedp.Action[chromedp.Void] {
	return command(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
}

// Language is a step after which the tab asks for pages with an Accept-Language header.
func Language(accept string) chromedp.Action[chromedp.Void] {
	return command(network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: network.Headers{"Accept-Language": accept}})
}

// Focused is a step that waits until the element with the id has the focus.
func Focused(id string) chromedp.Action[chromedp.Void] {
	script := `document.activeElement?.id === ` + quote(id)
	wait := chromedp.Poll[bool](script)
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := wait(ctx, target)
		return err
	})
}

// Style is the computed style of the element with the id, such as Style("main", "background-color").
func Style(id, property string) chromedp.Action[string] {
	return chromedp.Evaluate[string](`getComputedStyle(document.getElementById(` + quote(id) + `)).getPropertyValue(` + quote(property) + `)`)
}

// Overflow is by how many CSS pixels the page is wider than the screen. It does not ask for innerWidth, which grows on a
// telephone that zooms out to show a wide page.
func Overflow() chromedp.Action[int] {
	return chromedp.Evaluate[int](`document.scrollingElement.scrollWidth - document.documentElement.clientWidth`)
}

// Text is a piece of text on the page and its contrast ratio to what is behind it, 1 to 21 (WCAG 2.2 section 1.4.3).
type Text struct {
	Text     string
	Contrast float64
}

// Texts are the visible pieces of text of the page.
func Texts() chromedp.Action[[]Text] { return chromedp.Evaluate[[]Text](texts) }

// texts finds what is behind a text by the first ancestor that paints its background; pages here paint only in full opacity.
const texts = `(() => {
	const channels = colour => colour.match(/[\d.]+/g).map(Number)
	const luminance = colour => {
		const [r, g, b] = channels(colour).map(c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
		return 0.2126 * r + 0.7152 * g + 0.0722 * b
	}
	const behind = element => {
		for (; element; element = element.parentElement) {
			const colour = getComputedStyle(element).backgroundColor
			if ((channels(colour)[3] ?? 1) > 0) return colour
		}
		return 'rgb(255, 255, 255)'
	}
	const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
	while (walker.nextNode()) {
		const element = walker.currentNode.parentElement, text = walker.currentNode.data.trim()
		if (!text || !element.checkVisibility({visibilityProperty: true, opacityProperty: true})) continue
		const [dark, light] = [luminance(getComputedStyle(element).color), luminance(behind(element))].sort((a, b) => a - b)
		found.push({Text: text, Contrast: (light + 0.05) / (dark + 0.05)})
	}
	return found
})()`

// Node is an element as assistive technology sees it.
type Node struct{ Role, Name string }

// Accessible is the accessibility tree of the page, flattened, without the nodes that are ignored.
func Accessible() chromedp.Action[[]Node] {
	return func(ctx context.Context, target *chromedp.Target) ([]Node, error) {
		tree, err := cdp.Call(ctx, target, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
		if err != nil {
			return nil, err
		}
		var nodes []Node
		for _, n := range tree.Nodes {
			if !n.Ignored {
				nodes = append(nodes, Node{Role: plain(n.Role), Name: plain(n.Name)})
			}
		}
		return nodes, nil
	}
}

// Named returns the names of the nodes that have the role, in their order on the page.
func Named(nodes []Node, role string) []string {
	var names []string
	for _, n := range nodes {
		if n.Role == role {
			names = append(names, n.Name)
		}
	}
	return names
}

// plain is the text of an accessibility value; other values, and none, are empty.
func plain(v *accessibility.Value) string {
	var text string
	if v == nil || json.Unmarshal(v.Value, &text) != nil {
		return ""
	}
	return strings.TrimSpace(text)
}

// quote writes s as a literal of JavaScript.
func quote(s string) string {
	b, _ := json.Marshal(s) // a string always has a JSON form
	return string(b)
}
