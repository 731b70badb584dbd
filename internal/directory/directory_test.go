package directory_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"
	"golang.org/x/text/unicode/norm"

	"parako/internal/dbsqlc"
	"parako/internal/directory"
	"parako/internal/store"
	"parako/internal/testkit"
)

func TestMain(m *testing.M) { os.Exit(testkit.Main(m)) }

func create(t *testing.T, s *store.Store, org uuid.UUID, n directory.New) (u directory.User, err error) {
	t.Helper()
	err = s.InTenant(t.Context(), org, func(ctx context.Context, tx *store.Tx) (err error) {
		u, err = directory.Create(ctx, tx, n)
		return err
	})
	return u, err
}

func mustCreate(t *testing.T, s *store.Store, org uuid.UUID, n directory.New) directory.User {
	t.Helper()
	u, err := create(t, s, org, n)
	if err != nil {
		t.Fatalf("create %+v: %v", n, err)
	}
	return u
}

func forLogin(t *testing.T, s *store.Store, org uuid.UUID, identifier string) (u directory.User, hash string, err error) {
	t.Helper()
	err = s.AskTenant(t.Context(), org, func(ctx context.Context, tx *store.Tx) (err error) {
		u, hash, err = directory.ForLogin(ctx, tx, identifier)
		return err
	})
	return u, hash, err
}

func TestFold(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ in, want string }{
		"case":                               {"Ada@Example.COM", "ada@example.com"},
		"outer space":                        {" \t\u3000ada\u00a0\n", "ada"},
		"inner space stays":                  {"ada  lovelace", "ada  lovelace"},
		"space that only normalising shows":  {"\u00a8ada", "\u0308ada"},
		"full-width letters":                 {"ＡＤＡ＠ｅｘａｍｐｌｅ", "ada@example"},
		"ligatures":                          {"ﬁn", "fin"},
		"composed and decomposed are one":    {"Zoe\u0308", "zoë"},
		"sharp s":                            {"STRASSE", "strasse"},
		"sharp s, small":                     {"straße", "strasse"},
		"sharp s, capital":                   {"STRAẞE", "strasse"},
		"final sigma":                        {"ΣΊΣΥΦΟΣ", "σίσυφοσ"},
		"final sigma, small":                 {"σίσυφος", "σίσυφοσ"},
		"Turkish İ keeps its dot":            {"İ", "i\u0307"},
		"Turkish ı is another letter":        {"ı", "ı"},
		"I is no Turkish I":                  {"I", "i"},
		"Kelvin sign":                        {"\u212a", "k"},
		"Cherokee, capital":                  {"\u13a0", "\uab70"},
		"Cherokee, small":                    {"\uab70", "\uab70"},
		"Cyrillic а only looks like Latin a": {"\u0430da", "\u0430da"},
		"a superscript":                      {"x²", "x2"},
		"nothing":                            {"", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := directory.Fold(tt.in); got != tt.want {
				t.Errorf("Fold(%+q) = %+q, want %+q", tt.in, got, tt.want)
			}
		})
	}
}

func TestFoldOfEveryLetterIsBlindToCase(t *testing.T) {
	t.Parallel()
	for r := range rune(unicode.MaxRune) {
		if !unicode.IsLetter(r) || strings.ContainsRune("İı", r) {
			continue
		}
		want := directory.Fold(string(r))
		for _, other := range []string{want, strings.ToUpper(string(r)), strings.ToLower(string(r)), norm.NFKD.String(string(r))} {
			if got := directory.Fold(other); got != want {
				t.Errorf("Fold(%+q) = %+q, but Fold(%+q) = %+q", other, got, r, want)
			}
		}
	}
}

// FuzzFold: folding twice is folding once, and the normal form of the input does not matter.
func FuzzFold(f *testing.F) {
	for _, seed := range []string{"Ada@Example.com", "İı", "\u00a8\u0345", "ẛ\u0323", "\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			return // Create and ForLogin refuse it
		}
		want := directory.Fold(s)
		for _, other := range []string{want, norm.NFC.String(s), norm.NFKD.String(s)} {
			if got := directory.Fold(other); got != want {
				t.Errorf("Fold(%+q) = %+q, but Fold(%+q) = %+q", other, got, s, want)
			}
		}
	})
}

func TestCreate(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	org := testkit.Tenant(t, s, "acme")
	got := mustCreate(t, s, org.ID, directory.New{
		Username: " Ada ", Email: " Ada@Example.com ", EmailVerified: true, Name: "Ada Lovelace", GivenName: " Ada", FamilyName: "",
		PhoneNumber: "+442071838750", PhoneNumberVerified: true, Locale: "en-GB", Zoneinfo: "Europe/London",
		Address: &directory.Address{Locality: "London", Formatted: "12 St James's Square\nLondon"}, Roles: []string{"admin"},
	})
	text := func(s string) *string { return &s }
	want := directory.User{
		TenantID: org.ID, ID: got.ID, Username: "Ada", UsernameNorm: "ada", Email: text("Ada@Example.com"), EmailNorm: text("ada@example.com"),
		EmailVerified: true, Name: text("Ada Lovelace"), GivenName: text("Ada"), PhoneNumber: text("+442071838750"), PhoneNumberVerified: true,
		Locale: text("en-GB"), Zoneinfo: text("Europe/London"), Roles: []string{"admin"}, AccountEnabled: true,
		Address: got.Address,
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(directory.User{}, "CreatedAt", "UpdatedAt")); diff != "" {
		t.Errorf("account mismatch (-want +got)\n%s", diff)
	}
	const address = `{"locality": "London", "formatted": "12 St James's Square\nLondon"}`
	if diff := cmp.Diff(address, string(got.Address)); diff != "" {
		t.Errorf("address mismatch (-want +got)\n%s", diff)
	}
	if label := directory.Label(got); label != "Ada@Example.com" {
		t.Errorf("Label = %q, want the email address", label)
	}
}

func TestSubjectIsARandomUUIDAndTheDefaultUsername(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	org := testkit.Tenant(t, s, "acme")
	one, other := mustCreate(t, s, org.ID, directory.New{}), mustCreate(t, s, org.ID, directory.New{})
	// A version that holds the time would tell every client when the account was made.
	if one.ID == other.ID || one.ID.Version() != 4 || one.ID.Variant() != uuid.RFC4122 {
		t.Errorf("ids %s and %s, want two different ones of version 4", one.ID, other.ID)
	}
	if one.Username != one.ID.String() || directory.Label(one) != one.Username {
		t.Errorf("username %q, label %q, want the id %s", one.Username, directory.Label(one), one.ID)
	}
	if diff := cmp.Diff([]string{"user"}, one.Roles); diff != "" {
		t.Errorf("roles mismatch (-want +got)\n%s", diff)
	}
}

func TestNothingIsVerifiedUnlessSaid(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	org := testkit.Tenant(t, s, "acme")
	tests := map[string]struct {
		new          directory.New
		email, phone bool
	}{
		"given":            {directory.New{Email: "a@x.example", PhoneNumber: "+442071838751"}, false, false},
		"said":             {directory.New{Email: "b@x.example", EmailVerified: true, PhoneNumber: "+442071838752", PhoneNumberVerified: true}, true, true},
		"said of nothing":  {directory.New{EmailVerified: true, PhoneNumberVerified: true}, false, false},
		"email alone said": {directory.New{Email: "c@x.example", EmailVerified: true, PhoneNumber: "+442071838753"}, true, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := mustCreate(t, s, org.ID, tt.new)
			if u.EmailVerified != tt.email || u.PhoneNumberVerified != tt.phone {
				t.Errorf("verified: email %t, phone %t, want %t and %t", u.EmailVerified, u.PhoneNumberVerified, tt.email, tt.phone)
			}
		})
	}
}

func TestCreateRefuses(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	org := testkit.Tenant(t, s, "acme")
	mustCreate(t, s, org.ID, directory.New{Username: "Ada", Email: "Ada@Example.com", PhoneNumber: "+442071838750"})
	tests := map[string]struct {
		new  directory.New
		want error
	}{
		"the same username":            {directory.New{Username: "Ada"}, directory.ErrTaken},
		"the username in another case": {directory.New{Username: "aDA"}, directory.ErrTaken},
		"the username full-width":      {directory.New{Username: "ａｄａ"}, directory.ErrTaken},
		"the email in another case":    {directory.New{Email: "ADA@example.COM"}, directory.ErrTaken},
		"the same phone":               {directory.New{PhoneNumber: "+442071838750"}, directory.ErrTaken},

		"a username with a space":                 {directory.New{Username: "a b"}, directory.ErrUsernameFormat},
		"a username with a space of another sort": {directory.New{Username: "a\u00a0b"}, directory.ErrUsernameFormat},
		"a username with a zero-width space":      {directory.New{Username: "ada\u200b"}, directory.ErrUsernameFormat},
		"a username that runs backwards":          {directory.New{Username: "\u202eada"}, directory.ErrUsernameFormat},
		"a username with a zero byte":             {directory.New{Username: "a\x00"}, directory.ErrUsernameFormat},
		"a username that is not UTF-8":            {directory.New{Username: "\xff"}, directory.ErrUsernameFormat},
		"a username like an email":                {directory.New{Username: "ada@example.com"}, directory.ErrUsernameFormat},
		"a username that folds into an email":     {directory.New{Username: "ada＠example.com"}, directory.ErrUsernameFormat},
		"a username that folds into two words":    {directory.New{Username: "a\u00a8b"}, directory.ErrUsernameFormat},
		"a username that is too long":             {directory.New{Username: strings.Repeat("é", 51)}, directory.ErrUsernameFormat},

		"an email without a domain":   {directory.New{Email: "ada"}, directory.ErrEmailFormat},
		"an email with a name":        {directory.New{Email: "Ada <ada@x.example>"}, directory.ErrEmailFormat},
		"two emails":                  {directory.New{Email: "a@x.example, b@x.example"}, directory.ErrEmailFormat},
		"an email with a second line": {directory.New{Email: "a@x.example\nBcc: b@x.example"}, directory.ErrEmailFormat},
		"a quoted email":              {directory.New{Email: `"a b"@x.example`}, directory.ErrEmailFormat},
		"an email with hidden parts":  {directory.New{Email: "a\u200b@x.example"}, directory.ErrEmailFormat},
		"an email that is not UTF-8":  {directory.New{Email: "\xff@x.example"}, directory.ErrEmailFormat},
		"an email that is too long":   {directory.New{Email: strings.Repeat("a", 244) + "@x.example1"}, directory.ErrEmailFormat},

		"a national phone number":   {directory.New{PhoneNumber: "02071838750"}, directory.ErrPhoneFormat},
		"a phone number with space": {directory.New{PhoneNumber: "+44 20 7183 8750"}, directory.ErrPhoneFormat},
		"a phone number too long":   {directory.New{PhoneNumber: "+1234567890123456"}, directory.ErrPhoneFormat},
		"a phone number and a line": {directory.New{PhoneNumber: "+442071838750\n"}, directory.ErrPhoneFormat},

		"a name with a zero byte":     {directory.New{Name: "a\x00"}, directory.ErrProfileFormat},
		"a name that is not UTF-8":    {directory.New{GivenName: "\xff"}, directory.ErrProfileFormat},
		"a name that is too long":     {directory.New{FamilyName: strings.Repeat("é", 256)}, directory.ErrProfileFormat},
		"an address with a zero byte": {directory.New{Address: &directory.Address{Country: "\x00"}}, directory.ErrProfileFormat},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if u, err := create(t, s, org.ID, tt.new); !errors.Is(err, tt.want) {
				t.Errorf("Create(%+v) = %+v, %v, want %v", tt.new, u, err, tt.want)
			}
		})
	}
}

func TestTheSameIdentifiersInAnotherTenantAreAnotherPerson(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	acme, other := testkit.Tenant(t, s, "acme"), testkit.Tenant(t, s, "other")
	person := directory.New{Username: "ada", Email: "ada@example.com", PhoneNumber: "+442071838750"}
	one, two := mustCreate(t, s, acme.ID, person), mustCreate(t, s, other.ID, person)
	for org, want := range map[uuid.UUID]uuid.UUID{acme.ID: one.ID, other.ID: two.ID} {
		for _, identifier := range []string{"ada", "ada@example.com"} {
			if got, _, err := forLogin(t, s, org, identifier); err != nil || got.ID != want {
				t.Errorf("ForLogin(%s) = %s, %v, want %s", identifier, got.ID, err, want)
			}
		}
	}
	err := s.AskTenant(t.Context(), other.ID, func(ctx context.Context, tx *store.Tx) error {
		_, err := directory.ByID(ctx, tx, one.ID)
		return err
	})
	if !errors.Is(err, store.ErrNotFound) {
		t.Errorf("ByID of another tenant's account: %v, want %v", err, store.ErrNotFound)
	}
}

func TestForLogin(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	org := testkit.Tenant(t, s, "acme")
	ada := mustCreate(t, s, org.ID, directory.New{Username: "Ada", Email: "Countess@Example.com", PhoneNumber: "+442071838750"})
	bob := mustCreate(t, s, org.ID, directory.New{Username: "Bob"})
	if err := s.InTenant(t.Context(), org.ID, func(ctx context.Context, tx *store.Tx) error {
		return tx.PasswordPut(ctx, dbsqlc.PasswordPutParams{ID: uuid.New(), UserID: ada.ID, Hash: "hash of ada"})
	}); err != nil {
		t.Fatal(err)
	}
	found := map[string]struct {
		identifier string
		want       uuid.UUID
		hash       string
	}{
		"by username":                 {"Ada", ada.ID, "hash of ada"},
		"by username in another case": {"ADA", ada.ID, "hash of ada"},
		"by email":                    {" countess@EXAMPLE.com ", ada.ID, "hash of ada"},
		"by email full-width":         {"ｃｏｕｎｔｅｓｓ＠ｅｘａｍｐｌｅ．ｃｏｍ", ada.ID, "hash of ada"},
		"without a password":          {"bob", bob.ID, ""},
	}
	for name, tt := range found {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u, hash, err := forLogin(t, s, org.ID, tt.identifier)
			if err != nil || u.ID != tt.want || hash != tt.hash {
				t.Errorf("ForLogin(%q) = %s, %q, %v, want %s, %q", tt.identifier, u.ID, hash, err, tt.want, tt.hash)
			}
		})
	}
	unknown := map[string]string{
		"nobody":               "eve",
		"nothing":              "",
		"a part":               "ad",
		"a pattern":            "%",
		"a phone number":       "+442071838750", // not a way to sign in yet
		"bytes that no one is": "ada\xff",
		"a zero byte":          "ada\x00",
		"a flood":              strings.Repeat("a", 1<<20),
	}
	for name, identifier := range unknown {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if u, hash, err := forLogin(t, s, org.ID, identifier); !errors.Is(err, store.ErrNotFound) || hash != "" {
				t.Errorf("ForLogin = %s, %q, %v, want %v", u.ID, hash, err, store.ErrNotFound)
			}
		})
	}
}

// Create refuses such a username; an import or an older release may not have.
func TestEmailWinsOverAUsernameThatLooksLikeIt(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	org := testkit.Tenant(t, s, "acme")
	first := mustCreate(t, s, org.ID, directory.New{Username: "impostor-1"})
	owner := mustCreate(t, s, org.ID, directory.New{Email: "ada@example.com"})
	last := mustCreate(t, s, org.ID, directory.New{Username: "impostor-2"})
	for _, impostor := range []directory.User{first, last} {
		db.Ask(t, org.ID, "UPDATE parako.users SET username_norm = 'ada@example.com' WHERE id = $1", impostor.ID)
		if got, _, err := forLogin(t, s, org.ID, "ada@example.com"); err != nil || got.ID != owner.ID {
			t.Errorf("ForLogin = %s, %v, want the owner of the address %s", got.ID, err, owner.ID)
		}
		db.Ask(t, org.ID, "UPDATE parako.users SET username_norm = id::text WHERE id = $1", impostor.ID)
	}
}
