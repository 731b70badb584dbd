package transfer_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"parako/internal/problem"
	"parako/internal/secret"
	"parako/internal/tenant"
	"parako/internal/testkit"
	"parako/internal/transfer"
)

// decrypt is what is inside a file.
func decrypt(t *testing.T, file []byte) []byte {
	t.Helper()
	identity, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := age.Decrypt(bytes.NewReader(file), identity)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(plain)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// rewrite changes what is inside a file, as somebody with the passphrase could. With honest, the manifest agrees with it.
func rewrite(t *testing.T, file []byte, honest bool, change func([]transfer.Line) []transfer.Line) []byte {
	t.Helper()
	var lines []transfer.Line
	for text := range bytes.Lines(decrypt(t, file)) {
		var l transfer.Line
		if err := json.Unmarshal(text, &l); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l)
	}
	lines = change(lines)
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		t.Fatal(err)
	}
	recipient.SetWorkFactor(8)
	var out bytes.Buffer
	w, err := age.Encrypt(&out, recipient)
	if err != nil {
		t.Fatal(err)
	}
	var parts []transfer.Part
	sum := sha256.New()
	for _, l := range lines {
		if l.Manifest != nil && honest {
			l.Manifest = parts
		}
		text, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, '\n')
		switch {
		case l.Table != "":
			parts = append(parts, transfer.Part{Table: l.Table})
			sum.Reset()
		case l.Row != nil:
			sum.Write(text)
			parts[len(parts)-1].Rows++
		}
		if len(parts) > 0 {
			parts[len(parts)-1].SHA256 = hex.EncodeToString(sum.Sum(nil))
		}
		if _, err := w.Write(text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// said is what an error tells whoever asked.
func said(err error) string {
	if trouble, ok := errors.AsType[*problem.Error](err); ok {
		return trouble.Message
	}
	return fmt.Sprint(err)
}

// TestRefusedFiles imports what is no whole export, or does not fit. Each is refused for its reason, and no row of any table is there
// that was not there before.
func TestRefusedFiles(t *testing.T) {
	t.Parallel()
	here, there := deploy(t, "https://id.example.com"), deploy(t, "https://id.example.com")
	here.populate(t, testkit.Tenant(t, here.store, "acme"))
	testkit.Tenant(t, there.store, "taken")
	if _, err := tenant.EnsurePlatforms(t.Context(), there.store); err != nil {
		t.Fatal(err)
	}
	whole := here.export(t, "acme")
	flipped := func(i int) []byte {
		file := bytes.Clone(whole)
		file[i] ^= 1
		return file
	}
	row := func(table string, change func(map[string]any)) func([]transfer.Line) []transfer.Line {
		return func(lines []transfer.Line) []transfer.Line {
			at := slices.IndexFunc(lines, func(l transfer.Line) bool { return l.Table == table }) + 1
			var r map[string]any
			if err := json.Unmarshal(lines[at].Row, &r); err != nil {
				t.Fatal(err)
			}
			change(r)
			text, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			lines[at].Row = text
			return lines
		}
	}
	header := func(change func(*transfer.Header)) func([]transfer.Line) []transfer.Line {
		return func(lines []transfer.Line) []transfer.Line {
			change(lines[0].Header)
			return lines
		}
	}
	withSlug := func(slug string) transfer.ImportOptions { return there.importing(slug) }
	wrong := there.importing("fresh")
	wrong.Passphrase = secret.NewString("another passphrase altogether")
	for name, tt := range map[string]struct {
		file []byte
		o    transfer.ImportOptions
		want string
	}{
		"no file":                       {nil, withSlug("fresh"), "This is no export"},
		"some other file":               {[]byte("id,name\n1,Ana\n"), withSlug("fresh"), "This is no export"},
		"a byte of the header":          {flipped(40), withSlug("fresh"), ""},
		"a byte in the middle":          {flipped(len(whole) / 2), withSlug("fresh"), "was changed on the way"},
		"the last byte":                 {flipped(len(whole) - 1), withSlug("fresh"), "was changed on the way"},
		"cut in the middle":             {whole[:len(whole)/2], withSlug("fresh"), "was changed on the way"},
		"cut by a byte":                 {whole[:len(whole)-1], withSlug("fresh"), "was changed on the way"},
		"a byte too many":               {append(bytes.Clone(whole), 0), withSlug("fresh"), "was changed on the way"},
		"the wrong passphrase":          {whole, wrong, "passphrase does not open"},
		"a slug that is taken":          {whole, withSlug("taken"), "exists. Choose another"},
		"a slug that is reserved":       {whole, withSlug("admin"), "reserved"},
		"a slug that is none":           {whole, withSlug("no slug"), "A slug is 1 to 63"},
		"a newer schema":                {rewrite(t, whole, true, header(func(h *transfer.Header) { h.Schema++ })), withSlug("fresh"), "(`parako migrate up`) here"},
		"an older schema":               {rewrite(t, whole, true, header(func(h *transfer.Header) { h.Schema-- })), withSlug("fresh"), "where the file was exported"},
		"another format":                {rewrite(t, whole, true, header(func(h *transfer.Header) { h.Format = 2 })), withSlug("fresh"), "has format 2"},
		"a row that differs":            {rewrite(t, whole, false, row("users", func(r map[string]any) { r["roles"] = []string{"admin"} })), withSlug("fresh"), "was changed on the way"},
		"a row that is missing":         {rewrite(t, whole, false, func(l []transfer.Line) []transfer.Line { return slices.Delete(l, 2, 3) }), withSlug("fresh"), "was changed on the way"},
		"no manifest":                   {rewrite(t, whole, true, func(l []transfer.Line) []transfer.Line { return l[:len(l)-1] }), withSlug("fresh"), "was changed on the way"},
		"something behind the manifest": {rewrite(t, whole, true, func(l []transfer.Line) []transfer.Line { return append(l, l[2]) }), withSlug("fresh"), "was changed on the way"},
		"an unknown table":              {rewrite(t, whole, true, func(l []transfer.Line) []transfer.Line { l[1].Table = "sessions"; return l }), withSlug("fresh"), "was changed on the way"},
		// These pass for whole, and fail in the database: the tenant is there by then.
		"a row twice":               {rewrite(t, whole, true, func(l []transfer.Line) []transfer.Line { return slices.Insert(l, 2, l[2]) }), withSlug("fresh"), "1 of 2 rows are there already"},
		"a row that refers nowhere": {rewrite(t, whole, true, row("consents", func(r map[string]any) { r["client_id"] = "nobody" })), withSlug("fresh"), "consents_client_fkey"},
		"a person who is not there": {rewrite(t, whole, true, row("consents", func(r map[string]any) { r["user_id"] = uuid.NewString() })), withSlug("fresh"), "consents_user_fkey"},
		"settings that nobody can set": {rewrite(t, whole, true, row("tenant_settings", func(r map[string]any) {
			r["section"], r["value"] = "security", map[string]any{"authentication": map[string]any{"roles": map[string]any{"default": "superadmin"}}}
		})), withSlug("fresh"), "security.authentication.roles.default"},
		"a secret that is none": {rewrite(t, whole, true, row("clients", func(r map[string]any) { r["secret_sealed"] = "secret" })), withSlug("fresh"), "is not hexadecimal"},
	} {
		before, names := there.counts(t), there.AskAbove(t, "SELECT kind || name || tenant_id FROM parako.tenant_locators ORDER BY 1")
		_, err := transfer.Import(t.Context(), there.store, there.vault, bytes.NewReader(tt.file), tt.o)
		if err == nil || !strings.Contains(said(err), tt.want) {
			t.Errorf("%s: %s, want %q", name, said(err), tt.want)
		}
		if strings.Contains(said(err), passphrase) || strings.Contains(said(err), mailSecret) {
			t.Errorf("%s: the error tells a secret: %s", name, said(err))
		}
		if diff := cmp.Diff(before, there.counts(t)); diff != "" {
			t.Errorf("%s: rows are left (-before +after)\n%s", name, diff)
		}
		if diff := cmp.Diff(names, there.AskAbove(t, "SELECT kind || name || tenant_id FROM parako.tenant_locators ORDER BY 1")); diff != "" {
			t.Errorf("%s: names are left (-before +after)\n%s", name, diff)
		}
	}
	// The same file, and the same slug, are as good as ever.
	there.receive(t, whole, withSlug("fresh"))
}
