package pages

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"parako/internal/settings"
)

// sectionForm is one section of a tenant's settings on the way between what is stored, the form, and what was typed into it.
type sectionForm struct {
	section string
	version int64 // that the form is about
	fields  []*fieldForm
	reason  string
	// stale: somebody else has changed the section since the form was sent.
	stale bool
	// faults belong to no field.
	faults []string
}

// fieldForm is one setting in a form.
type fieldForm struct {
	settings.Entry

	name    string // the path below the section
	typed   formValue
	fault   string // from the settings themselves, in English
	mistake SettingError
	theirs  string // what somebody else has made of it meanwhile
	moved   bool   // somebody else has
	asked   secretAction
	secret  string
}

// formValue is what a field says. Two that are the same mean the same; the zero value inherits.
type formValue struct {
	text string
	// empty: a text or list is meant to be empty, where no text would inherit.
	empty bool
}

// secretAction is what becomes of a secret.
type secretAction string

const (
	keepSecret    secretAction = "keep"
	replaceSecret secretAction = "replace"
	removeSecret  secretAction = "remove"
)

// newSectionForm is the form as it is before anybody types.
func newSectionForm(platform, own settings.Layer, section string) (*sectionForm, error) {
	entries, err := settings.Overview(platform, own, section)
	if err != nil {
		return nil, err
	}
	s := &sectionForm{section: section, version: own.Version(section)}
	for _, e := range entries {
		s.fields = append(s.fields, &fieldForm{
			Entry: e, name: strings.TrimPrefix(e.Key, section+"."), typed: formValueOf(e.Field, e.Tenant), asked: keepSecret,
		})
	}
	return s, nil
}

// fixed reports whether nobody can set the field for a tenant.
func (f *fieldForm) fixed() bool { return f.Field.Awaits != "" || f.PlatformOnly }

// choice is how a value of an enumeration stands in a form, in which nothing means to inherit: some enumerations have an empty value.
const choice = "="

// formValueOf is what a field says when it is set to a value; nil: it is not set. Of a secret it is nothing.
func formValueOf(f settings.Field, value any) formValue {
	if value == nil || f.Kind == settings.Secret {
		return formValue{}
	}
	text := display(f, value)
	switch f.Kind {
	case settings.String:
		if f.Enum != nil {
			return formValue{text: choice + text}
		}
		return formValue{text: text, empty: text == ""}
	case settings.Strings:
		return formValue{text: text, empty: text == ""}
	case settings.Boolean, settings.Integer, settings.Number, settings.Objects, settings.Secret:
	}
	return formValue{text: text}
}

// display is a value as text: a list in lines, objects as JSON.
func display(f settings.Field, value any) string {
	document, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	switch f.Kind {
	case settings.String, settings.Secret:
		var text string
		if json.Unmarshal(document, &text) == nil {
			return text
		}
	case settings.Strings:
		var list []string
		if json.Unmarshal(document, &list) == nil {
			return strings.Join(list, "\n")
		}
	case settings.Objects:
		return normal(string(document))
	case settings.Boolean, settings.Integer, settings.Number:
	}
	return string(document)
}

// normal spells a JSON document in the one way in which forms show it; what is none stays.
func normal(text string) string {
	var tree any
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if d.Decode(&tree) != nil || d.More() {
		return text
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if e.Encode(tree) != nil {
		return text
	}
	return strings.TrimSpace(out.String())
}

// The beginnings of the names under which a form sends what it says about a setting.
const (
	valueName  = "v."
	emptyName  = "e."
	secretName = "a."
)

// read takes what was typed. What the form does not name stays as it is stored.
func (s *sectionForm) read(posted map[string]string) {
	for _, f := range s.fields {
		text, sent := posted[valueName+f.name]
		if !sent || f.fixed() {
			continue
		}
		if f.Field.Kind == settings.Secret {
			f.asked, f.secret = secretAction(posted[secretName+f.name]), text
			continue
		}
		_, empty := posted[emptyName+f.name]
		f.typed = f.tidy(text, empty)
	}
}

// tidy brings what was typed into the form in which values are compared.
func (f *fieldForm) tidy(text string, empty bool) formValue {
	text = strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n"))
	switch f.Field.Kind {
	case settings.Strings:
		var lines []string
		for line := range strings.SplitSeq(text, "\n") {
			if line = strings.TrimSpace(line); line != "" {
				lines = append(lines, line)
			}
		}
		text = strings.Join(lines, "\n")
	case settings.Objects:
		text = normal(text)
	case settings.Boolean, settings.Integer, settings.Number, settings.String, settings.Secret:
	}
	return formValue{text: text, empty: empty && text == "" && f.emptiable()}
}

// emptiable reports whether a setting that is empty differs from one that is not set.
func (f *fieldForm) emptiable() bool {
	switch f.Field.Kind {
	case settings.String:
		return f.Field.Enum == nil && f.Field.Minimum == nil && f.Field.Format != "color"
	case settings.Strings:
		return true
	case settings.Boolean, settings.Integer, settings.Number, settings.Objects, settings.Secret:
	}
	return false
}

// value is what was typed, as JSON has it; nil: it inherits.
func (f *fieldForm) value() (any, SettingError) {
	v := f.typed
	switch f.Field.Kind {
	case settings.Boolean:
		if v.text == "true" || v.text == "false" {
			return v.text == "true", ""
		}
	case settings.Integer, settings.Number:
		if v.text == "" {
			return nil, ""
		}
		if n, err := strconv.Atoi(v.text); err == nil {
			return n, ""
		}
		x, err := strconv.ParseFloat(v.text, 64)
		if err != nil || f.Field.Kind == settings.Integer || x-x != 0 { // which infinity and NaN are not
			return nil, SettingNumber
		}
		return x, ""
	case settings.String:
		if text, chosen := strings.CutPrefix(v.text, choice); chosen && f.Field.Enum != nil {
			return text, ""
		}
		if f.Field.Enum == nil && v != (formValue{}) {
			return v.text, ""
		}
	case settings.Strings:
		if v.empty {
			return []string{}, ""
		}
		if v.text != "" {
			return strings.Split(v.text, "\n"), ""
		}
	case settings.Objects:
		if v.text == "" {
			return nil, ""
		}
		if !json.Valid([]byte(v.text)) || v.text[0] != '[' {
			return nil, SettingJSON
		}
		return json.RawMessage(v.text), ""
	case settings.Secret:
	}
	return nil, ""
}

// document is a patch (RFC 7396) that makes what is stored what was typed. It names nothing that stays as it is.
func (s *sectionForm) document() (patch map[string]any, seals bool) {
	patch = map[string]any{}
	for _, f := range s.fields {
		switch {
		case f.fixed():
		case f.Field.Kind == settings.Secret:
			switch {
			case (f.asked == replaceSecret) != (f.secret != ""):
				f.mistake = SettingSecret
			case f.asked == replaceSecret:
				put(patch, f.name, f.secret)
				seals = true
			case f.asked == removeSecret:
				put(patch, f.name, nil)
			}
		case f.typed != formValueOf(f.Field, f.Tenant):
			value, fault := f.value()
			if f.mistake = fault; fault == "" {
				put(patch, f.name, value)
			}
		}
	}
	return patch, seals
}

// put sets a member at a path of names.
func put(object map[string]any, path string, value any) {
	for {
		name, rest, deeper := strings.Cut(path, ".")
		if !deeper {
			object[name] = value
			return
		}
		inner, ok := object[name].(map[string]any)
		if !ok {
			inner = map[string]any{}
			object[name] = inner
		}
		object, path = inner, rest
	}
}

// rebase has what was typed into a form of an earlier version meet what somebody else has made of the section since. What was left alone
// becomes theirs; what was typed stays, with theirs beside it where they have changed it, too. changes are between the two versions.
func (s *sectionForm) rebase(changes []settings.Difference) {
	s.stale = true
	before := map[string]any{}
	for _, d := range changes {
		before[d.Path] = d.Before
	}
	for _, f := range s.fields {
		was, moved := before[f.Key]
		if !moved {
			continue
		}
		f.moved = true
		if now := formValueOf(f.Field, f.Tenant); f.typed == formValueOf(f.Field, was) || f.typed == now {
			f.typed = now
		}
		if f.Tenant != nil {
			f.theirs = display(f.Field, f.Tenant)
		}
	}
}

// refuse puts what is wrong beside the fields that it is about.
func (s *sectionForm) refuse(r *settings.Refused) {
	said := slices.Clone(r.Faults)
	for _, v := range r.Violations {
		said = append(said, v.Message)
	}
	for _, fault := range said {
		var about *fieldForm
		length := 0
		for _, f := range s.fields {
			for _, path := range []string{f.Key, strings.TrimSuffix(f.Key, ".enabled")} {
				rest, ok := strings.CutPrefix(fault, path)
				if ok && len(path) > length && (rest == "" || strings.ContainsRune(" .:[", rune(rest[0]))) {
					about, length = f, len(path)
				}
			}
		}
		if about == nil || about.fixed() {
			s.faults = append(s.faults, fault)
			continue
		}
		about.fault = strings.TrimSpace(about.fault + " " + sentence(fault[length:]))
	}
}

// sentence begins with a capital letter and ends with a full stop.
func sentence(text string) string {
	text = strings.TrimLeft(text, " .")
	first, size := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(first)) + strings.TrimSuffix(text[size:], ".") + "."
}

// wrong reports whether anything has to be corrected.
func (s *sectionForm) wrong() bool {
	return len(s.faults) > 0 || !reasonFits(s.reason) || slices.ContainsFunc(s.fields, func(f *fieldForm) bool { return f.fault != "" || f.mistake != "" })
}

const maxReason = 500

// reasonFits reports whether the settings take a reason.
func reasonFits(reason string) bool {
	return utf8.RuneCountInString(reason) <= maxReason && utf8.ValidString(reason) && !strings.ContainsFunc(reason, unicode.IsControl)
}

// forget has whoever typed a secret type it again: a page never shows one.
func (s *sectionForm) forget() {
	for _, f := range s.fields {
		if f.Field.Kind == settings.Secret && f.secret != "" && f.mistake == "" {
			f.mistake = SettingAgain
		}
	}
}

// groups are the parts of the section as the page shows them, nested parts under their names.
func (s *sectionForm) groups(mayChange bool, foreign bool) []SettingGroup {
	alone := map[string]int{}
	for _, f := range s.fields {
		alone[parent(f.name)]++
	}
	group := func(f *fieldForm) (path, label string) {
		path, label = parent(f.name), f.name[strings.LastIndexByte(f.name, '.')+1:]
		if label == "enabled" && alone[path] == 1 { // A switch is called what it switches.
			path, label = parent(path), path[strings.LastIndexByte(path, '.')+1:]
		}
		return path, label
	}
	members := map[string]int{}
	for _, f := range s.fields {
		path, _ := group(f)
		members[path]++
	}
	var list []SettingGroup
	at := map[string]int{}
	var add func(path string) int
	add = func(path string) int { // What a part is nested in comes before it.
		if path != "" {
			add(parent(path))
		}
		i, known := at[path]
		if !known && members[path] > 0 {
			i = len(list)
			at[path] = i
			list = append(list, SettingGroup{ID: "g-" + id(path), Title: title(path)})
		}
		return i
	}
	for _, f := range s.fields {
		path, label := group(f)
		g := &list[add(path)]
		setting := f.view(title(label), mayChange, foreign)
		g.All++
		if f.Tenant != nil {
			g.Set++
		}
		g.Open = g.Open || f.Tenant != nil || setting.Wrong() || f.moved
		g.Settings = append(g.Settings, setting)
	}
	for i := range list {
		list[i].Open = list[i].Open || len(list) == 1 || list[i].Title == ""
	}
	return list
}

func parent(path string) string { return path[:max(0, strings.LastIndexByte(path, '.'))] }

func id(path string) string { return strings.ReplaceAll(path, ".", "-") }

// abbreviations are words that are not written in small letters.
var abbreviations = map[string]string{
	"api": "API", "dpop": "DPoP", "github": "GitHub", "html": "HTML", "id": "ID", "ip": "IP", "json": "JSON", "jwks": "JWKS", "jwt": "JWT", "linkedin": "LinkedIn",
	"mtls": "mTLS", "ms": "ms", "oidc": "OpenID Connect", "op": "OP", "pkce": "PKCE", "rp": "RP", "sms": "SMS", "smtp": "SMTP", "tls": "TLS", "tos": "terms", "totp": "TOTP",
	"ttl": "TTL", "uri": "URI", "url": "URL", "urls": "URLs", "webauthn": "WebAuthn", "2fa": "2FA", "kmh": "km/h",
}

// title makes words of the name of a setting, and of a path the names of its parts.
func title(path string) string {
	var parts []string
	for part := range strings.SplitSeq(path, ".") {
		var spaced strings.Builder
		for _, r := range part {
			if unicode.IsUpper(r) {
				spaced.WriteByte(' ')
			}
			spaced.WriteRune(unicode.ToLower(r))
		}
		words := strings.FieldsFunc(spaced.String(), func(r rune) bool { return r == '_' || r == ' ' })
		for i, word := range words {
			if known, ok := abbreviations[word]; ok {
				words[i] = known
			} else if i == 0 {
				words[i] = strings.ToUpper(word[:1]) + word[1:]
			}
		}
		parts = append(parts, strings.Join(words, " "))
	}
	return strings.Join(parts, " · ")
}

// view is the field as the page shows it.
func (f *fieldForm) view(label string, mayChange, foreign bool) Setting {
	field := f.Field
	v := Setting{
		ID: "s-" + id(f.name), Name: f.name, Label: label, Unit: field.Unit, Doc: f.Doc, Foreign: foreign, Kind: KindText, Text: f.typed.text, Empty: f.typed.empty,
		Inherited: f.shown(f.Inherited), FromPlatform: f.Source == settings.FromPlatform, Own: f.Tenant != nil, Awaits: field.Awaits, PlatformOnly: f.PlatformOnly,
		Adjusted: f.Adjusted, Fault: f.fault, Error: f.mistake, Moved: f.moved, Theirs: f.theirs, Secret: string(f.asked),
	}
	v.MayBeEmpty = f.emptiable() && (f.typed.empty || display(field, f.Inherited) != "")
	v.Limit, v.Bound = f.limit()
	if f.Clamped {
		v.Clamped = f.shown(f.Tenant)
	}
	switch field.Kind {
	case settings.Boolean:
		v.Kind = KindChoice
		v.Choices = append(v.Choices, Choice{Key: "platform.config.inherit", Selected: v.Text == ""})
		for _, on := range []string{"true", "false"} {
			v.Choices = append(v.Choices, Choice{Value: on, Key: switchKey(on), Selected: v.Text == on})
		}
	case settings.Integer, settings.Number:
		v.Kind, v.Whole = KindNumber, field.Kind == settings.Integer
		v.Min, v.Max = f.ends()
	case settings.String:
		if field.Enum == nil {
			break
		}
		v.Kind = KindChoice
		v.Choices = append(v.Choices, Choice{Key: "platform.config.inherit", Selected: v.Text == ""})
		for _, value := range field.Enum {
			shown := Choice{Value: choice + value, Text: value, Selected: v.Text == choice+value}
			if value == "" {
				shown.Key = "platform.config.nothing"
			}
			v.Choices = append(v.Choices, shown)
		}
	case settings.Strings:
		v.Kind = KindList
	case settings.Objects:
		v.Kind = KindJSON
	case settings.Secret:
		v.Kind = KindSecret
	}
	if v.Limit == "" && (v.Kind == KindNumber || v.Kind == KindList || v.Kind == KindText && field.Format != "") {
		v.Range = sentence(field.Range())
	}
	if f.fixed() || !mayChange {
		v.Kind, v.Value, v.Unit = KindFixed, f.shown(f.Value), ""
	}
	return v
}

// shown is a value as a page tells it.
func (f *fieldForm) shown(value any) Shown {
	text := strings.ReplaceAll(display(f.Field, value), "\n", ", ")
	switch {
	case f.Field.Kind == settings.Boolean:
		return Shown{Key: switchKey(text)}
	case f.Field.Kind == settings.Secret && text != "":
		return Shown{Key: "platform.config.secret_set"}
	case f.Field.Kind == settings.Secret:
		return Shown{Key: "platform.config.secret_unset"}
	case text == "":
		return Shown{Key: "platform.config.nothing"}
	case f.Field.Unit != "":
		text += " " + f.Field.Unit
	}
	return Shown{Text: text}
}

func switchKey(on string) string {
	if on == "true" {
		return "platform.config.on"
	}
	return "platform.config.off"
}

// limit says how far the platform lets the tenant go; "" is freely.
func (f *fieldForm) limit() (SettingLimit, string) {
	if f.Bound == nil {
		return "", ""
	}
	bound := f.shown(f.Bound).Text
	switch {
	case f.Field.Kind == settings.Boolean && f.Limit == settings.Floor && f.Bound == true:
		return LimitOn, ""
	case f.Field.Kind == settings.Boolean && f.Limit == settings.Ceiling && f.Bound == false:
		return LimitOff, ""
	case f.Field.Kind == settings.Boolean:
		return "", ""
	case f.Limit == settings.Floor:
		return LimitLeast, bound
	case f.Limit == settings.Ceiling:
		return LimitMost, bound
	case f.Limit == settings.Ceiling0 && fmt.Sprint(f.Bound) != "0":
		return LimitBetween, bound
	}
	return "", ""
}

// ends are the least and the greatest number that can be set.
func (f *fieldForm) ends() (least, most string) {
	number := func(x *float64) string {
		if x == nil {
			return ""
		}
		return strconv.FormatFloat(*x, 'f', -1, 64)
	}
	least, most = number(f.Field.Minimum), number(f.Field.Maximum)
	switch limit, _ := f.limit(); limit {
	case LimitLeast:
		least = fmt.Sprint(f.Bound)
	case LimitMost:
		most = fmt.Sprint(f.Bound)
	case LimitBetween:
		least, most = "1", fmt.Sprint(f.Bound)
	case LimitOn, LimitOff, "":
	}
	return least, most
}
