package settings_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"parako/internal/settings"
	"parako/internal/tenant"
)

// Whatever the two layers say, the explanation of every setting is its effective value, and the layer it names is where the value
// stands. The values are drawn from what may be stored: beyond limits, but of the right type.
func TestExplanationsAreTrue(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(20261126, 5))
	seen := map[settings.From]int{}
	clamped := 0
	for range 12 {
		platform := settings.LayerOf(tenant.DefaultID, tree(random))
		own := settings.LayerOf(uuid.New(), tree(random))
		set, clamps, err := settings.Effective(platform, own)
		if err != nil {
			t.Fatal(err)
		}
		document, err := json.Marshal(set)
		if err != nil {
			t.Fatal(err)
		}
		var all map[string]any
		if err := json.Unmarshal(document, &all); err != nil {
			t.Fatal(err)
		}
		for _, f := range settings.Fields() {
			e, err := settings.Explain(platform, own, f.Path)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := asJSON(t, e.Value), asJSON(t, at(all, f.Path)); got != want {
				t.Fatalf("%s is explained as %s and is %s", f.Path, got, want)
			}
			seen[e.Layer]++
			where := map[settings.From]any{settings.FromDefault: e.Default, settings.FromPlatform: e.Platform, settings.FromTenant: e.Tenant}[e.Layer]
			if e.Clamped {
				clamped++
				where = e.Bound
				if !slices.ContainsFunc(clamps, func(c settings.Clamp) bool { return c.Path == f.Path }) {
					t.Fatalf("%s is explained as clamped and is not", f.Path)
				}
			}
			if e.Adjusted == "" && f.Kind != settings.Secret && asJSON(t, where) != asJSON(t, e.Value) {
				t.Fatalf("%s: value %s of layer %s, where %s stands", f.Path, asJSON(t, e.Value), e.Layer, asJSON(t, where))
			}
		}
	}
	if seen[settings.FromDefault] == 0 || seen[settings.FromPlatform] == 0 || seen[settings.FromTenant] == 0 || clamped == 0 {
		t.Errorf("the random layers are too plain: %v, %d clamped", seen, clamped)
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	document, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(document)
}

func at(tree map[string]any, path string) any {
	var node any = tree
	for name := range strings.SplitSeq(path, ".") {
		object, _ := node.(map[string]any)
		node = object[name]
	}
	if node == nil && strings.HasPrefix(path, "branding.colors.") {
		return ""
	}
	return node
}

// tree sets about a third of the settings to something of their type.
func tree(random *rand.Rand) map[string]map[string]any {
	sections := map[string]map[string]any{}
	for _, f := range settings.Fields() {
		if random.IntN(3) > 0 || f.Kind == settings.Objects || f.Kind == settings.Secret {
			continue
		}
		var value any
		switch f.Kind {
		case settings.Boolean:
			value = random.IntN(2) == 0
		case settings.Integer:
			value = json.Number(fmt.Sprint(random.IntN(5000)))
		case settings.Number:
			value = json.Number(fmt.Sprint(float64(random.IntN(10)) / 10))
		case settings.Strings:
			value = []any{"en", "fr"}
		default:
			value = "#abc"
			if f.Enum != nil {
				value = f.Enum[random.IntN(len(f.Enum))]
			}
		}
		parts := strings.Split(f.Path, ".")
		if sections[parts[0]] == nil {
			sections[parts[0]] = map[string]any{}
		}
		node := sections[parts[0]]
		for _, name := range parts[1 : len(parts)-1] {
			inner, ok := node[name].(map[string]any)
			if !ok {
				inner = map[string]any{}
				node[name] = inner
			}
			node = inner
		}
		node[parts[len(parts)-1]] = value
	}
	return sections
}
