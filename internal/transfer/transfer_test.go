package transfer_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/directory"
	"parako/internal/factor"
	"parako/internal/keyring"
	"parako/internal/secret"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/tenant"
	"parako/internal/testkit"
	"parako/internal/transfer"
)

func TestMain(m *testing.M) { os.Exit(testkit.Main(m)) }

const (
	passphrase = "six words that nobody would guess"
	password   = "correct horse battery staple"
	mount      = "/oidc/v1"
	mailSecret = "the password of the mail account"
)

// deployment is a database with its own master key.
type deployment struct {
	*testkit.DB

	store *store.Store
	vault tenant.Vault
	base  *url.URL
}

func deploy(t *testing.T, base string) deployment {
	t.Helper()
	db := testkit.NewDB(t)
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	return deployment{DB: db, store: db.Store(t), vault: testkit.Vault(t), base: u}
}

// populate puts rows into every table of the tenant that moves, and into some that do not.
func (d deployment) populate(t *testing.T, tn tenant.Tenant) directory.User {
	t.Helper()
	if _, err := keyring.Open(t.Context(), d.store, d.vault, keyring.DefaultPolicy, tn.ID); err != nil {
		t.Fatal(err)
	}
	hash, err := factor.Passwords{Hasher: secret.NewHasher(0)}.Hash(t.Context(), password)
	if err != nil {
		t.Fatal(err)
	}
	var user directory.User
	err = d.store.InTenant(t.Context(), tn.ID, func(ctx context.Context, tx *store.Tx) error {
		user, err = directory.Create(ctx, tx, directory.New{
			Username: "ana", Email: "ana@" + tn.Slug + ".example", EmailVerified: true, Name: "Ana \"the first\" <Ähm>",
			Address: &directory.Address{Locality: "London"},
		})
		if err != nil {
			return err
		}
		if err := factor.Put(ctx, tx, user.ID, hash); err != nil {
			return err
		}
		sealer, err := d.vault.Sealer(ctx, tx)
		if err != nil {
			return err
		}
		for _, host := range []string{"mail.one", "mail.two"} {
			_, err = settings.Write(ctx, tx, settings.Layer{}, settings.Change{
				Section: "integrations", Sealer: sealer, By: audit.Operator("test"),
				Document: []byte(`{"email": {"smtp_host": "` + host + `", "smtp_password": "` + mailSecret + `"}}`),
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := d.sealer(t, tn.ID).Seal("clients", "secret_sealed", "web", []byte("the secret of "+tn.Slug))
	if err != nil {
		t.Fatal(err)
	}
	d.Ask(t, tn.ID, `INSERT INTO parako.clients (id, client_name, application_type, token_endpoint_auth_method, secret_digest, secret_sealed, previous_secret_sealed,
		redirect_uris, metadata) VALUES ('web', 'Web of ' || $2, 'web', 'client_secret_jwt', '\x0102', $1, $1, '{https://app.example/cb,"a b"}', '{"n": 12345678901234567890, "x": null}') RETURNING ''`,
		sealed, tn.Slug)
	d.Ask(t, tn.ID, "INSERT INTO parako.consents (id, user_id, client_id, scopes) VALUES (gen_random_uuid(), $1, 'web', '{openid}') RETURNING ''", user.ID)
	d.Ask(t, tn.ID, "INSERT INTO parako.registration_tokens (id, token_digest, max_uses, created_by) VALUES (gen_random_uuid(), convert_to($1, 'UTF8'), 3, 'test') RETURNING ''", tn.Slug)
	d.Ask(t, tn.ID, "INSERT INTO parako.tenant_domains (id, name, token, verified_at) VALUES (gen_random_uuid(), 'login.' || $1 || '.example', 'old proof', now()) RETURNING ''", tn.Slug)
	d.Ask(t, tn.ID, "INSERT INTO parako.tenant_domains (id, name, token, verified_at, released_at) VALUES (gen_random_uuid(), 'gone.' || $1 || '.example', 'old proof', now(), now()) RETURNING ''", tn.Slug)
	d.Ask(t, tn.ID, "INSERT INTO parako.sessions (id, token_digest, user_id, auth_time, acr, amr, expires_at) VALUES (gen_random_uuid(), 'x', $1, now(), '', '{}', now() + interval '1 day') RETURNING ''", user.ID)
	return user
}

func (d deployment) sealer(t *testing.T, id uuid.UUID) (sealer *secret.Sealer) {
	t.Helper()
	err := d.store.InTenant(t.Context(), id, func(ctx context.Context, tx *store.Tx) (err error) {
		sealer, err = d.vault.Sealer(ctx, tx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sealer
}

// export writes a tenant at little cost.
func (d deployment) export(t *testing.T, slug string) []byte {
	t.Helper()
	var file bytes.Buffer
	if _, err := transfer.Export(t.Context(), d.store, d.vault, slug, &file, d.exporting()); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func (d deployment) exporting() transfer.ExportOptions {
	return transfer.ExportOptions{Passphrase: secret.NewString(passphrase), Base: d.base, Mount: mount, Operator: "test", WorkFactor: 8}
}

func (d deployment) importing(slug string) transfer.ImportOptions {
	return transfer.ImportOptions{Passphrase: secret.NewString(passphrase), Slug: slug, Base: d.base, Mount: mount, Operator: "test"}
}

func (d deployment) receive(t *testing.T, file []byte, o transfer.ImportOptions) transfer.Imported {
	t.Helper()
	got, err := transfer.Import(t.Context(), d.store, d.vault, bytes.NewReader(file), o)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// rows are those of the tenant in a table, without what is sealed anew and without the keys left out.
func (d deployment) rows(t *testing.T, id uuid.UUID, table string) []string {
	t.Helper()
	drop := append([]string{"tenant_id"}, transfer.Sealed()[table]...)
	return d.AskAbove(t, "SELECT (to_jsonb(r) - $2::text[])::text FROM parako."+table+" AS r WHERE tenant_id = $1 ORDER BY id", id, drop)
}

// counts are the rows of every table, of all tenants, and the jobs.
func (d deployment) counts(t *testing.T) []string {
	t.Helper()
	return d.AskAbove(t, `SELECT format('%s %s', c.oid::regclass, (xpath('/row/n/text()', query_to_xml(format('SELECT count(*) AS n FROM %s', c.oid::regclass), false, true, '')))[1])
		  FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
		 WHERE n.nspname = 'parako' AND c.relkind = 'r' ORDER BY 1`)
}

// TestEveryTableIsDecided asks the catalog. A new table has to be among those that move or among those that stay, and a column of bytes
// that moves has to be one that is sealed anew, or a digest.
func TestEveryTableIsDecided(t *testing.T) {
	t.Parallel()
	d := deploy(t, "https://id.example.com")
	acme := testkit.Tenant(t, d.store, "acme")
	var tables []store.Table
	err := d.store.ViewTenant(t.Context(), acme.ID, func(ctx context.Context, tx *store.Tx) (err error) {
		tables, err = tx.Tables(ctx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := transfer.Planned(tables); err != nil {
		t.Error(err)
	}
	if err := transfer.Planned(append(slices.Clone(tables), transfer.Table("widgets"))); err == nil || !strings.Contains(err.Error(), "widgets") {
		t.Errorf("a table that nobody has decided about: %v", err)
	}
	known := map[string]bool{}
	for _, table := range tables {
		known[table.Name] = true
		named, moves := transfer.Moved()[table.Name]
		found := []string{}
		for _, c := range table.Columns {
			if moves && c.Type == "bytea" {
				found = append(found, c.Name)
			}
		}
		slices.Sort(named)
		slices.Sort(found)
		if moves && !slices.Equal(named, found) {
			t.Errorf("%s has the columns of bytes %q, and %q are said to be sealed or digests", table.Name, found, named)
		}
	}
	for name := range transfer.Left {
		if !known[name] {
			t.Errorf("%s is said to stay, and there is no such table", name)
		}
	}
	for name := range transfer.Moved() {
		if !known[name] {
			t.Errorf("%s is said to move, and there is no such table", name)
		}
	}
}

// TestRoundTrip moves a tenant to another deployment, with another master key, and from there to a second slug.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	here, there := deploy(t, "https://id.example.com"), deploy(t, "https://id.example.com")
	acme, globex := testkit.Tenant(t, here.store, "acme"), testkit.Tenant(t, here.store, "globex")
	bounded, err := tenant.SetQuota(t.Context(), here.store, "acme", tenant.Quota{
		Users: new(int32(9)), Clients: new(int32(8)), Sessions: new(int32(7)), RequestsPerSecond: new(int32(6)), MailsPerHour: new(int32(5)),
	}, nil, "test")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range bounded.Quota.Bounds() {
		if b.Most == nil {
			t.Errorf("there is no quota of %s: the test proves nothing about it", b.Name)
		}
	}
	user := here.populate(t, acme)
	here.populate(t, globex)
	testkit.Tenant(t, there.store, "neighbour")
	file := here.export(t, "acme")

	plain := string(decrypt(t, file))
	for _, mark := range []string{"globex", globex.ID.String(), hex.EncodeToString(globex.ID[:])} {
		if strings.Contains(plain, mark) {
			t.Errorf("the file of acme has %s in it", mark)
		}
	}
	if !strings.Contains(plain, hex.EncodeToString([]byte("the secret of acme"))) || !strings.Contains(plain, mailSecret) {
		t.Error("the file does not hold its secrets in plain inside: another deployment could not seal them")
	}
	for _, mark := range []string{"ana@acme", mailSecret, "acme.example"} {
		if bytes.Contains(file, []byte(mark)) {
			t.Errorf("the file shows %q", mark)
		}
	}

	moved := there.receive(t, file, there.importing(""))
	if got := moved.Tenant; got.Slug != "acme" || got.Status != tenant.Active || got.DeleteAfter != nil || got.ID == acme.ID || got.DisplayName != "acme" {
		t.Errorf("tenant = %+v", got)
	}
	if diff := cmp.Diff(bounded.Quota, moved.Tenant.Quota); diff != "" {
		t.Errorf("quotas mismatch (-before +after)\n%s", diff)
	}
	if !moved.KeptKeys || moved.Issuer != "https://acme.id.example.com/oidc/v1" || moved.From.ID != acme.ID {
		t.Errorf("imported = %+v", moved)
	}
	copied := there.receive(t, there.export(t, "acme"), transfer.ImportOptions{
		Passphrase: secret.NewString(passphrase), Slug: "copy", DisplayName: "A copy", Base: there.base, Mount: mount, Operator: "test",
	})
	if copied.KeptKeys || copied.Tenant.DisplayName != "A copy" {
		t.Errorf("copied = %+v", copied)
	}
	for table := range transfer.Moved() {
		want := here.rows(t, acme.ID, table)
		if len(want) == 0 {
			t.Errorf("%s has no row: the test proves nothing about it", table)
		}
		switch table {
		case "tenant_domains", "tenant_settings", "tenant_settings_history": // compared below
			continue
		}
		if diff := cmp.Diff(want, there.rows(t, moved.Tenant.ID, table)); diff != "" {
			t.Errorf("%s mismatch (-before +after)\n%s", table, diff)
		}
		if table == "signing_keys" {
			want = []string{}
		}
		if diff := cmp.Diff(want, there.rows(t, copied.Tenant.ID, table)); diff != "" {
			t.Errorf("%s of the copy mismatch (-before +after)\n%s", table, diff)
		}
	}

	// What was derived goes on; what is sealed opens with the new key, in its place, and not with the old one.
	original := here.sealer(t, acme.ID)
	for name, got := range map[string]tenant.Tenant{"moved": moved.Tenant, "copied": copied.Tenant} {
		own := there.sealer(t, got.ID)
		for _, purpose := range []string{"pairwise-v1", "oauth-hmac-v1"} {
			if !bytes.Equal(own.Derive(purpose, 32), original.Derive(purpose, 32)) {
				t.Errorf("%s: another key for %s", name, purpose)
			}
		}
		if bytes.Equal(own.Derive("dpop-nonce-v1", 32), original.Derive("dpop-nonce-v1", 32)) {
			t.Errorf("%s: the data key itself was moved", name)
		}
		for _, column := range []string{"secret_sealed", "previous_secret_sealed"} {
			text := there.Ask(t, got.ID, "SELECT encode("+column+", 'hex') FROM parako.clients WHERE id = 'web'")[0]
			sealed, err := hex.DecodeString(text)
			if err != nil {
				t.Fatal(err)
			}
			if value, err := own.Open("clients", "secret_sealed", "web", sealed); err != nil || string(value) != "the secret of acme" {
				t.Errorf("%s: %s = %q, %v", name, column, value, err)
			}
			if _, err := original.Open("clients", "secret_sealed", "web", sealed); err == nil {
				t.Errorf("%s: %s opens with the key of the original", name, column)
			}
		}
		err := there.store.ViewTenant(t.Context(), got.ID, func(ctx context.Context, tx *store.Tx) error {
			set, err := settings.Load(ctx, tx, settings.Layer{})
			if err != nil {
				return err
			}
			value, err := set.Integrations.Email.SMTPPassword.Open(own)
			if err != nil || value.Reveal() != mailSecret || set.Integrations.Email.SMTPHost != "mail.two" {
				t.Errorf("%s: mail by %s with %q, %v", name, set.Integrations.Email.SMTPHost, value.Reveal(), err)
			}
			history, err := settings.History(ctx, tx, "integrations", 0, 10)
			if err != nil || len(history) != 2 {
				t.Errorf("%s: %d versions of its settings, %v", name, len(history), err)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		hash := there.Ask(t, got.ID, "SELECT hash FROM parako.user_passwords WHERE user_id = $1", user.ID)[0]
		if ok, _, err := secret.NewHasher(0).Verify(t.Context(), hash, password); err != nil || !ok {
			t.Errorf("%s: the password: %t, %v", name, ok, err)
		}
		want := []string{"login.acme.example pending"}
		if diff := cmp.Diff(want, there.Ask(t, got.ID, "SELECT name || CASE WHEN verified_at IS NULL AND token NOT IN ('', 'old proof') THEN ' pending' ELSE ' proven' END FROM parako.tenant_domains")); diff != "" {
			t.Errorf("%s: domains mismatch (-want +got)\n%s", name, diff)
		}
		if events := there.Ask(t, got.ID, "SELECT type FROM parako.audit_events WHERE type LIKE 'tenant.%' ORDER BY id"); !slices.Contains(events, "tenant.imported") {
			t.Errorf("%s: its trail has %q", name, events)
		}
	}
	// Its signing keys open, so that it signs as before; the copy makes its own.
	for name, want := range map[string]struct {
		id   uuid.UUID
		same bool
	}{"moved": {moved.Tenant.ID, true}, "copied": {copied.Tenant.ID, false}} {
		ring, err := keyring.Open(t.Context(), there.store, there.vault, keyring.DefaultPolicy, want.id)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		before, err := keyring.Open(t.Context(), here.store, here.vault, keyring.DefaultPolicy, acme.ID)
		if err != nil {
			t.Fatal(err)
		}
		if same := bytes.Equal(ring.JWKS(), before.JWKS()); same != want.same {
			t.Errorf("%s: the same keys: %t", name, same)
		}
	}
	jobs := there.AskAbove(t, "SELECT kind FROM jobs.river_job WHERE args ->> 'tenant_id' = $1 ORDER BY kind", moved.Tenant.ID.String())
	if diff := cmp.Diff([]string{"domain_check", "key_rotation", "key_rotation", "key_rotation", "tenant_purge"}, jobs); diff != "" {
		t.Errorf("jobs mismatch (-want +got)\n%s", diff)
	}
	home, err := tenant.BySlug(t.Context(), here.store, tenant.PlatformsSlug)
	if err != nil {
		t.Fatal(err)
	}
	for id, trail := range map[uuid.UUID]string{acme.ID: "the tenant's trail", home.ID: "the platform's trail"} {
		if n := here.Ask(t, id, "SELECT count(*)::text FROM parako.audit_events WHERE type = 'tenant.exported' AND target_id = $1", acme.ID.String()); n[0] != "1" {
			t.Errorf("%s tells of %s exports", trail, n[0])
		}
	}
	if findings, err := there.store.Isolation(t.Context()); err != nil || len(findings) > 0 {
		t.Errorf("isolation: %v, %v", findings, err)
	}
}

// TestNotToBeExported asks for what does not move.
func TestNotToBeExported(t *testing.T) {
	t.Parallel()
	d := deploy(t, "https://id.example.com")
	testkit.Tenant(t, d.store, "ending")
	testkit.Tenant(t, d.store, "acme")
	if _, err := tenant.EnsurePlatforms(t.Context(), d.store); err != nil {
		t.Fatal(err)
	}
	if _, err := tenant.RequestDeletion(t.Context(), d.store, "ending", tenant.Deletion{Archive: true, Operator: "test"}); err != nil {
		t.Fatal(err)
	}
	short := d.exporting()
	short.Passphrase = secret.NewString("elf letters")
	for name, tt := range map[string]struct {
		slug string
		o    transfer.ExportOptions
		want error
	}{
		"the built-in tenant":          {tenant.DefaultSlug, d.exporting(), transfer.ErrBuiltIn},
		"the platform's own":           {tenant.PlatformsSlug, d.exporting(), tenant.ErrProtected},
		"nobody":                       {"nobody", d.exporting(), tenant.ErrUnknown},
		"one that is being removed":    {"ending", d.exporting(), transfer.ErrEnding},
		"one with a short passphrase":  {"acme", short, transfer.ErrPassphraseShort},
		"one that was never used, yes": {"acme", d.exporting(), nil},
	} {
		_, err := transfer.Export(t.Context(), d.store, d.vault, tt.slug, io.Discard, tt.o)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	d.receive(t, d.export(t, "acme"), d.importing("again"))
}

// meanwhile does something when some of the file has been written.
type meanwhile struct {
	bytes.Buffer

	after int
	do    func()
}

func (m *meanwhile) Write(b []byte) (int, error) {
	if m.do != nil && m.Len() > m.after {
		m.do()
		m.do = nil
	}
	return m.Buffer.Write(b)
}

// TestSnapshot changes and removes what is not written yet while the file is. The file holds the tenant as it was at the begin, and
// everything in it fits together.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	d := deploy(t, "https://id.example.com")
	acme := testkit.Tenant(t, d.store, "acme")
	d.populate(t, acme)
	const people = 2000
	d.Ask(t, acme.ID, "INSERT INTO parako.users (id, username, username_norm, name) SELECT gen_random_uuid(), 'u' || n, 'u' || n, repeat('x', 200) FROM generate_series(1, $1) AS n RETURNING ''", people)
	d.Ask(t, acme.ID, "INSERT INTO parako.consents (id, user_id, client_id, scopes) SELECT gen_random_uuid(), id, 'web', '{openid}' FROM parako.users WHERE username LIKE 'u%' RETURNING ''")
	want := map[string][]string{}
	for _, table := range []string{"users", "user_passwords", "clients", "consents"} {
		want[table] = d.rows(t, acme.ID, table)
	}
	changed := false
	file := &meanwhile{after: 128 << 10, do: func() {
		changed = true
		d.Ask(t, acme.ID, "DELETE FROM parako.clients RETURNING ''") // and with them what people have agreed to
		d.Ask(t, acme.ID, "DELETE FROM parako.user_passwords RETURNING ''")
		d.Ask(t, acme.ID, "INSERT INTO parako.users (id, username, username_norm) VALUES (gen_random_uuid(), 'late', 'late') RETURNING ''")
	}}
	if _, err := transfer.Export(t.Context(), d.store, d.vault, "acme", file, d.exporting()); err != nil {
		t.Fatal(err)
	}
	if n := d.Ask(t, acme.ID, "SELECT count(*)::text FROM parako.consents"); !changed || n[0] != "0" {
		t.Fatalf("nothing happened meanwhile: %t, %s consents", changed, n[0])
	}
	got := d.receive(t, file.Bytes(), d.importing("copy"))
	for _, table := range slices.Sorted(maps.Keys(want)) {
		if diff := cmp.Diff(want[table], d.rows(t, got.Tenant.ID, table)); diff != "" {
			t.Errorf("%s mismatch (-before +after)\n%.2000s", table, diff)
		}
	}
}

// TestKeysStayOne refuses to give the keys of a tenant to a second one beside it, and gives them to one elsewhere whose issuer follows.
func TestKeysStayOne(t *testing.T) {
	t.Parallel()
	here, there := deploy(t, "https://id.example.com"), deploy(t, "https://login.example.org")
	here.populate(t, testkit.Tenant(t, here.store, "acme"))
	file := here.export(t, "acme")
	beside := here.importing("copy")
	beside.KeepKeys = true
	if _, err := transfer.Import(t.Context(), here.store, here.vault, bytes.NewReader(file), beside); !errors.Is(err, tenant.ErrKeysInUse) {
		t.Errorf("beside the original: %v", err)
	}
	if got := there.receive(t, file, there.importing("own")); got.KeptKeys || got.Issuer != "https://own.login.example.org/oidc/v1" {
		t.Errorf("elsewhere: %+v", got)
	}
	follow := there.importing("following")
	follow.KeepKeys = true
	if got := there.receive(t, file, follow); !got.KeptKeys || !slices.Equal(got.Domains, []string{"login.acme.example"}) {
		t.Errorf("with its keys: %+v", got)
	}
	// Nobody gets them twice, neither from the same file nor on a way round.
	second := there.importing("second")
	second.KeepKeys = true
	before := there.counts(t)
	if _, err := transfer.Import(t.Context(), there.store, there.vault, bytes.NewReader(file), second); !errors.Is(err, tenant.ErrKeysInUse) {
		t.Errorf("twice elsewhere: %v", err)
	}
	if diff := cmp.Diff(before, there.counts(t)); diff != "" {
		t.Errorf("something is left (-before +after)\n%s", diff)
	}
	for name, d := range map[string]deployment{"back beside the original": here, "beside itself": there} {
		again := d.importing("again")
		again.KeepKeys = true
		if _, err := transfer.Import(t.Context(), d.store, d.vault, bytes.NewReader(there.export(t, "following")), again); !errors.Is(err, tenant.ErrKeysInUse) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestKeysCanReturn moves a tenant away and, once nobody else has its keys there, back.
func TestKeysCanReturn(t *testing.T) {
	t.Parallel()
	here, there := deploy(t, "https://id.example.com"), deploy(t, "https://id.example.com")
	acme := testkit.Tenant(t, here.store, "acme")
	here.populate(t, acme)
	there.receive(t, here.export(t, "acme"), there.importing(""))
	file := there.export(t, "acme")
	for range 2 { // The second time it is the one that has come back that is removed.
		here.remove(t, "acme")
		if got := here.receive(t, file, here.importing("")); !got.KeptKeys {
			t.Errorf("back again: %+v", got)
		}
	}
}

// remove removes a tenant at once, and lets its slug go.
func (d deployment) remove(t *testing.T, slug string) {
	t.Helper()
	tn, err := tenant.RequestDeletion(t.Context(), d.store, slug, tenant.Deletion{Archive: true, Operator: "test"})
	if err != nil {
		t.Fatal(err)
	}
	d.Superuser(t, "UPDATE parako.tenants SET updated_at = now() - interval '1 minute' WHERE slug = $1", slug)
	sign := func(context.Context, []byte) (string, error) { return "signed", nil }
	if wait, err := tenant.Purge(t.Context(), d.store, tn.ID, sign); err != nil || wait != 0 {
		t.Fatalf("remove %s: wait %s, %v", slug, wait, err)
	}
	if err := tenant.Release(t.Context(), d.store, slug, "test"); err != nil {
		t.Fatal(err)
	}
}

// TestIssuerMoves takes an issuer of the tenant's own along where nobody has it.
func TestIssuerMoves(t *testing.T) {
	t.Parallel()
	here, there := deploy(t, "https://id.example.com"), deploy(t, "https://login.example.org")
	acme := testkit.Tenant(t, here.store, "acme")
	here.populate(t, acme)
	issuer := "https://id.acme.example/login"
	if _, err := tenant.Update(t.Context(), here.store, "acme", tenant.Changes{IssuerURL: &issuer, Base: here.base, Operator: "test"}); err != nil {
		t.Fatal(err)
	}
	file := here.export(t, "acme")
	if got := there.receive(t, file, there.importing("")); got.Issuer != issuer || !got.KeptKeys {
		t.Errorf("elsewhere: %+v", got)
	}
	if got := here.receive(t, file, here.importing("copy")); got.Issuer != "https://copy.id.example.com/oidc/v1" || got.KeptKeys {
		t.Errorf("beside the original: %+v", got)
	}
	none := ""
	if _, err := tenant.Update(t.Context(), here.store, "acme", tenant.Changes{IssuerURL: &none, Base: here.base, Operator: "test"}); err != nil {
		t.Fatal(err)
	}
	got := here.receive(t, file, here.importing("heir"))
	if got.Issuer != issuer || got.KeptKeys || len(here.rows(t, got.Tenant.ID, "signing_keys")) > 0 {
		t.Errorf("beside the original, which has given the issuer back: %+v", got)
	}
}
