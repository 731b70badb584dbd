package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"parako/internal/audit"
	"parako/internal/directory"
	"parako/internal/factor"
	"parako/internal/secret"
	"parako/internal/settings"
	"parako/internal/signin"
	"parako/internal/store"
)

func users(ctx context.Context, p *process, args []string) error {
	return dispatch(ctx, p, "parako user", []command{
		{"create", "add a person to a tenant, with a password", userCreate},
		{"list", "list a tenant's people", userList},
		{"show", "show what is known of a person", userShow},
		{"update", "change what is known of a person", userUpdate},
		{"disable", "stop an account at once, its sessions and tokens included", userDisable},
		{"enable", "let an account work again", userEnable},
	}, args)
}

// personText is a flag that sets one text of a person, named after the claim (OpenID Connect Core section 5.1).
type personText struct {
	flag, usage string
	field       func(*directory.New) *string
}

func personTexts() []personText {
	address := func(n *directory.New) *directory.Address {
		if n.Address == nil {
			n.Address = &directory.Address{}
		}
		return n.Address
	}
	return []personText{
		{"email", "the email address; it counts as verified unless --email-verified=false", func(n *directory.New) *string { return &n.Email }},
		{"username", "the username, when there is no email address or beside it", func(n *directory.New) *string { return &n.Username }},
		{"name", "the full name; on create it is made of the given and the family name when it is left out", func(n *directory.New) *string { return &n.Name }},
		{"given-name", "the given name", func(n *directory.New) *string { return &n.GivenName }},
		{"family-name", "the family name", func(n *directory.New) *string { return &n.FamilyName }},
		{"middle-name", "the middle name", func(n *directory.New) *string { return &n.MiddleName }},
		{"nickname", "the nickname", func(n *directory.New) *string { return &n.Nickname }},
		{"profile", "the URL of a page about the person", func(n *directory.New) *string { return &n.Profile }},
		{"picture", "the URL of a picture of the person", func(n *directory.New) *string { return &n.Picture }},
		{"website", "the URL of the person's website", func(n *directory.New) *string { return &n.Website }},
		{"gender", "the gender", func(n *directory.New) *string { return &n.Gender }},
		{"birthdate", "YYYY-MM-DD, YYYY, or 0000-MM-DD for a year that is not told", func(n *directory.New) *string { return &n.Birthdate }},
		{"zoneinfo", "the time zone, such as Europe/London", func(n *directory.New) *string { return &n.Zoneinfo }},
		{"locale", "the language, such as en-GB", func(n *directory.New) *string { return &n.Locale }},
		{"phone-number", "such as +442071838750; it counts as verified unless --phone-number-verified=false", func(n *directory.New) *string { return &n.PhoneNumber }},
		{"formatted-address", "the whole address, as on a letter", func(n *directory.New) *string { return &address(n).Formatted }},
		{"street-address", "street and number", func(n *directory.New) *string { return &address(n).StreetAddress }},
		{"locality", "the city", func(n *directory.New) *string { return &address(n).Locality }},
		{"region", "the state, province or region", func(n *directory.New) *string { return &address(n).Region }},
		{"postal-code", "the postal code", func(n *directory.New) *string { return &address(n).PostalCode }},
		{"country", "the country", func(n *directory.New) *string { return &address(n).Country }},
	}
}

// personFlags are the flags that describe a person.
type personFlags struct {
	set                          *flag.FlagSet
	emailVerified, phoneVerified *bool
	roles                        values
}

func newPersonFlags(set *flag.FlagSet) *personFlags {
	f := &personFlags{
		set:           set,
		emailVerified: set.Bool("email-verified", true, "whether the person has proved to own the email address"),
		phoneVerified: set.Bool("phone-number-verified", true, "whether the person has proved to own the telephone number"),
	}
	for _, text := range personTexts() {
		set.String(text.flag, "", text.usage)
	}
	set.Var(&f.roles, "role", "a role, such as admin; may be repeated; user when it is left out on create")
	return f
}

// given are the names of the flags on the command line.
func (f *personFlags) given() map[string]bool {
	given := map[string]bool{}
	f.set.Visit(func(flag *flag.Flag) { given[flag.Name] = true })
	return given
}

// apply lays the flags that were given over n. An empty text takes away what is known.
func (f *personFlags) apply(n *directory.New) {
	given := f.given()
	for _, text := range personTexts() {
		if given[text.flag] {
			*text.field(n) = f.set.Lookup(text.flag).Value.String()
		}
	}
	if given["email"] || given["email-verified"] {
		n.EmailVerified = *f.emailVerified
	}
	if given["phone-number"] || given["phone-number-verified"] {
		n.PhoneNumberVerified = *f.phoneVerified
	}
	if given["role"] {
		n.Roles = f.roles
	}
}

func userCreate(ctx context.Context, p *process, args []string) error {
	return createUser(ctx, p, "parako user create", args)
}

func createUser(ctx context.Context, p *process, name string, args []string) error {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	slug := flags.String("tenant", "", "the tenant's slug; default in single-tenant mode (required)")
	person := newPersonFlags(flags)
	fromStdin := flags.Bool("password-stdin", false, "read the password from the first line of standard input; a random one is made otherwise")
	asJSON := flags.Bool("json", false, "print the account as JSON")
	if err := p.parse(flags, args); err != nil {
		return err
	}
	if err := p.required(flags, "tenant"); err != nil {
		return err
	}
	var n directory.New
	person.apply(&n)
	if n.Email == "" && n.Username == "" {
		return p.misuse(flags, "--email or --username is required")
	}
	if n.Name == "" {
		n.Name = strings.TrimSpace(n.GivenName + " " + n.FamilyName)
	}
	password := rand.Text() // 130 random bits need no policy.
	if *fromStdin {
		line, err := bufio.NewReader(p.stdin).ReadString('\n')
		if password = strings.TrimRight(line, "\r\n"); password == "" {
			return errors.Join(errors.New("standard input holds no password"), err)
		}
		if err := p.checkPassword(ctx, *slug, password, n); err != nil {
			return err
		}
	}
	hash, err := factor.Passwords{Hasher: secret.NewHasher(1)}.Hash(ctx, password)
	if err != nil {
		return err
	}
	var u directory.User
	err = p.inTenant(ctx, *slug, func(ctx context.Context, tx *store.Tx) (err error) {
		u, err = addUser(ctx, tx, n, hash)
		return err
	})
	if err != nil {
		return err
	}
	if *asJSON {
		out := claimsOf(u)
		if !*fromStdin {
			out = append(out, claim{"password", password})
		}
		return p.printJSON(object(out))
	}
	p.printf("id        %s\nusername  %s\n", u.ID, u.Username)
	if !*fromStdin {
		p.printf("password  %s\n          Keep it now: it is not shown again.\n", password)
	}
	return nil
}

// checkPassword holds a password to the tenant's policy.
func (p *process) checkPassword(ctx context.Context, slug, password string, n directory.New) error {
	return p.underPlatform(ctx, slug, func(ctx context.Context, tx *store.Tx, platform settings.Layer) error {
		set, err := settings.Load(ctx, tx, platform)
		if err != nil {
			return err
		}
		return signin.PasswordPolicy(set.Security.Authentication.PasswordPolicy).
			Check(password, n.Email, n.Username, n.Name, set.Branding.CompanyName)
	})
}

// addUser creates an account with a password and records it.
func addUser(ctx context.Context, tx *store.Tx, n directory.New, hash string) (directory.User, error) {
	u, err := directory.Create(ctx, tx, n)
	if err != nil {
		return directory.User{}, err
	}
	if err := factor.Put(ctx, tx, u.ID, hash); err != nil {
		return directory.User{}, fmt.Errorf("keep password: %w", err)
	}
	return u, audit.Record(ctx, tx, audit.Event{
		Type: audit.UserCreated, Status: audit.Success, Actor: audit.Operator(operator), Target: audit.User(u.ID),
	})
}

func userShow(ctx context.Context, p *process, args []string) error {
	return p.onUser(ctx, "show", args, func(context.Context, *store.Tx, *directory.User) error { return nil })
}

func userDisable(ctx context.Context, p *process, args []string) error {
	return p.onUser(ctx, "disable", args, setEnabled(false))
}

func userEnable(ctx context.Context, p *process, args []string) error {
	return p.onUser(ctx, "enable", args, setEnabled(true))
}

func setEnabled(enabled bool) func(context.Context, *store.Tx, *directory.User) error {
	return func(ctx context.Context, tx *store.Tx, u *directory.User) (err error) {
		if err := directory.SetEnabled(ctx, tx, u.ID, enabled, audit.Operator(operator)); err != nil {
			return err
		}
		*u, err = directory.ByID(ctx, tx, u.ID)
		return err
	}
}

func userUpdate(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako user update", flag.ContinueOnError)
	person := newPersonFlags(flags)
	return p.withUser(ctx, flags, args, func(ctx context.Context, tx *store.Tx, u *directory.User) (err error) {
		given := person.given()
		delete(given, "tenant")
		delete(given, "user")
		delete(given, "json")
		if len(given) == 0 {
			return p.misuse(flags, "say what changes; see %s --help", flags.Name())
		}
		*u, err = directory.Change(ctx, tx, u.ID, audit.Operator(operator), person.apply)
		return err
	})
}

// onUser runs a command that takes a person and nothing else.
func (p *process) onUser(ctx context.Context, verb string, args []string, do func(context.Context, *store.Tx, *directory.User) error) error {
	return p.withUser(ctx, flag.NewFlagSet("parako user "+verb, flag.ContinueOnError), args, do)
}

// withUser finds the person the flags name, lets do work on them, and prints what is known of them then.
func (p *process) withUser(ctx context.Context, flags *flag.FlagSet, args []string, do func(context.Context, *store.Tx, *directory.User) error) error {
	slug := flags.String("tenant", "", "the tenant's slug; default in single-tenant mode (required)")
	who := flags.String("user", "", "the account, by its id, email address or username (required)")
	asJSON := flags.Bool("json", false, "print the account as JSON")
	if err := p.parse(flags, args); err != nil {
		return err
	}
	if err := p.required(flags, "tenant", "user"); err != nil {
		return err
	}
	var u directory.User
	err := p.inTenant(ctx, *slug, func(ctx context.Context, tx *store.Tx) (err error) {
		if u, err = directory.Find(ctx, tx, *who); err != nil {
			return err
		}
		return do(ctx, tx, &u)
	})
	if err != nil {
		return err
	}
	if *asJSON {
		return p.printJSON(object(claimsOf(u)))
	}
	for _, c := range claimsOf(u) {
		p.printf("%-22s %s\n", c.name, c.text())
	}
	return nil
}

func userList(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako user list", flag.ContinueOnError)
	slug := flags.String("tenant", "", "the tenant's slug; default in single-tenant mode (required)")
	asJSON := flags.Bool("json", false, "print the accounts as JSON")
	if err := p.parse(flags, args); err != nil {
		return err
	}
	if err := p.required(flags, "tenant"); err != nil {
		return err
	}
	all := []directory.User{}
	err := p.inTenant(ctx, *slug, func(ctx context.Context, tx *store.Tx) error {
		for after := ""; ; {
			const page = 500
			list, err := directory.List(ctx, tx, after, page)
			if err != nil {
				return err
			}
			all = append(all, list...)
			if len(list) < page {
				return nil
			}
			after = list[len(list)-1].UsernameNorm
		}
	})
	if err != nil {
		return err
	}
	if *asJSON {
		list := make([]map[string]any, len(all))
		for i, u := range all {
			list[i] = object(claimsOf(u))
		}
		return p.printJSON(map[string]any{"users": list})
	}
	for _, u := range all {
		status := "enabled"
		if !u.AccountEnabled {
			status = "disabled"
		}
		p.printf("%-38s %-10s %s\n", u.ID, status, directory.Label(u))
	}
	return nil
}

// claim is something that is known of a person, under the name that applications know it by.
type claim struct {
	name  string
	value any
}

func (c claim) text() string {
	switch v := c.value.(type) {
	case []string:
		return strings.Join(v, " ")
	case time.Time:
		return v.UTC().Format(time.RFC3339)
	case json.RawMessage:
		return string(v)
	default:
		return fmt.Sprint(v)
	}
}

// claimsOf are what is known of a person, in the order to show.
func claimsOf(u directory.User) []claim {
	list := []claim{{"id", u.ID}, {"username", u.Username}, {"account_enabled", u.AccountEnabled}, {"roles", u.Roles}}
	add := func(name string, text *string, beside ...claim) {
		if text != nil {
			list = append(append(list, claim{name, *text}), beside...)
		}
	}
	add("email", u.Email, claim{"email_verified", u.EmailVerified})
	add("name", u.Name)
	add("given_name", u.GivenName)
	add("family_name", u.FamilyName)
	add("middle_name", u.MiddleName)
	add("nickname", u.Nickname)
	add("profile", u.Profile)
	add("picture", u.Picture)
	add("website", u.Website)
	add("gender", u.Gender)
	add("birthdate", u.Birthdate)
	add("zoneinfo", u.Zoneinfo)
	add("locale", u.Locale)
	add("phone_number", u.PhoneNumber, claim{"phone_number_verified", u.PhoneNumberVerified})
	if len(u.Address) > 0 {
		list = append(list, claim{"address", u.Address})
	}
	list = append(list, claim{"created_at", u.CreatedAt}, claim{"updated_at", u.UpdatedAt})
	if u.LastLoginAt != nil {
		list = append(list, claim{"last_login", *u.LastLoginAt})
	}
	return list
}

// object is the claims as a JSON object.
func object(claims []claim) map[string]any {
	o := make(map[string]any, len(claims))
	for _, c := range claims {
		o[c.name] = c.value
	}
	return o
}
