package settings

import (
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Kind is the JSON type of a setting.
type Kind string

// The kinds. A setting of kind Objects is a list that is replaced as a whole.
const (
	Boolean Kind = "boolean"
	Integer Kind = "integer"
	Number  Kind = "number"
	String  Kind = "string"
	Strings Kind = "strings"
	Objects Kind = "objects"
	Secret  Kind = "secret"
)

// Limit says how far a tenant may move what holds for the platform.
type Limit string

// The limits. A floor keeps a switch on, a number from falling and a choice from becoming weaker; a ceiling keeps a switch off
// and a number from rising. Zero is no bound to Ceiling0: it may replace only another zero.
const (
	Free     Limit = ""
	Floor    Limit = "floor"
	Ceiling  Limit = "ceiling"
	Ceiling0 Limit = "ceiling0"
)

// Field is one setting as the tags of its struct field declare it:
//
//	default    the value where nobody has said anything; lists with commas. Without it the zero value.
//	doc        what it does, a sentence or two.
//	minimum, maximum, minLength, maxLength, enum, format, least    what is valid. An enum runs from weak to strong.
//	unit       of a number.
//	limit      floor, ceiling or ceiling0; with ",set" only against what the platform has set and not against its default.
//	scope      platform: tenants cannot set it.
//	needs      another setting, without which this switch cannot be on.
//	with       another setting: what the platform has set is not inherited by a tenant that sets the other one itself.
//	awaits     why it has no effect yet: it cannot be set to anything but its default. What stands beside or below an enabled that
//	           awaits, and is off, awaits the same.
//	keys       colors: a map with these names, each of which is a setting.
type Field struct {
	// Path is the name with dots, such as oidc.token_ttl.access_token; its first part is the section.
	Path    string
	Section string
	Kind    Kind
	Doc     string
	Unit    string
	Default any // as encoding/json decodes it, numbers as json.Number
	// Minimum and Maximum bound a number, or the characters of a string.
	Minimum, Maximum *float64
	Enum             []string
	Format           string
	Limit            Limit
	// OnlySet: the limit holds only against what the platform has set.
	OnlySet      bool
	PlatformOnly bool
	Needs        string
	With         string
	Awaits       string

	least int
	index []int
	key   string // of a map
}

// all is every setting, in the order of the declaration.
var all, byPath = declared()

// Sections lists the sections in the order of the declaration.
var Sections = sectionNames()

// Fields lists every setting, in the order of the declaration.
func Fields() []Field { return slices.Clone(all) }

// Lookup finds a setting by its path.
func Lookup(path string) (Field, bool) {
	f, ok := byPath[path]
	if !ok {
		return Field{}, false
	}
	return *f, true
}

func sectionNames() []string {
	var list []string
	for f := range reflect.TypeFor[Settings]().Fields() {
		list = append(list, f.Tag.Get("json"))
	}
	return list
}

func declared() ([]Field, map[string]*Field) {
	fields := declare(nil, reflect.TypeFor[Settings](), "", nil)
	byPath := make(map[string]*Field, len(fields))
	for i := range fields {
		byPath[fields[i].Path] = &fields[i]
	}
	for i := range fields {
		if f := &fields[i]; f.Awaits == "" {
			f.Awaits = awaited(byPath, f.Path)
		}
	}
	return fields, byPath
}

// awaited is why the part of the product that a setting belongs to cannot be on yet, so that the setting would do nothing.
func awaited(byPath map[string]*Field, path string) string {
	for group := path; ; {
		dot := strings.LastIndexByte(group, '.')
		if dot < 0 {
			return ""
		}
		group = group[:dot]
		if on := byPath[group+".enabled"]; on != nil && on.Awaits != "" && on.off() {
			return on.Awaits
		}
	}
}

// Kept reports whether the setting is a colour that brands have and no page uses yet.
func (f *Field) Kept() bool { return f.key != "" && slices.Contains(keptColors, f.key) }

// off reports whether a switch, or the list of what is on, has nothing on by default.
func (f *Field) off() bool {
	list, isList := f.Default.([]any)
	return f.Default == false || isList && len(list) == 0
}

func declare(fields []Field, t reflect.Type, prefix string, index []int) []Field {
	for sf := range t.Fields() {
		path := strings.TrimPrefix(prefix+"."+sf.Tag.Get("json"), ".")
		at := append(slices.Clone(index), sf.Index...)
		switch {
		case sf.Type == reflect.TypeFor[Switch]():
			fields = append(fields, declaration(sf.Tag, path+".enabled", append(at, 0), Boolean))
		case sf.Type == reflect.TypeFor[Sealed]():
			fields = append(fields, declaration(sf.Tag, path, at, Secret))
		case sf.Type.Kind() == reflect.Struct:
			fields = declare(fields, sf.Type, path, at)
		case sf.Type.Kind() == reflect.Map:
			for _, name := range colorNames {
				f := declaration(sf.Tag, path+"."+name, at, String)
				f.key, f.Format = name, "color"
				if f.Kept() {
					f.Doc = "A colour that no page has yet."
				}
				fields = append(fields, f)
			}
		default:
			fields = append(fields, declaration(sf.Tag, path, at, kindOf(sf.Type)))
		}
	}
	return fields
}

func kindOf(t reflect.Type) Kind {
	switch t.Kind() {
	case reflect.Bool:
		return Boolean
	case reflect.Int:
		return Integer
	case reflect.Float64:
		return Number
	case reflect.String:
		return String
	case reflect.Slice:
		if t.Elem().Kind() == reflect.String {
			return Strings
		}
		return Objects
	default:
		panic("settings: no setting can be of type " + t.String())
	}
}

func declaration(tag reflect.StructTag, path string, index []int, kind Kind) Field {
	section, _, _ := strings.Cut(path, ".")
	limit, only, _ := strings.Cut(tag.Get("limit"), ",")
	f := Field{
		Path: path, Section: section, Kind: kind, Doc: tag.Get("doc"), Unit: tag.Get("unit"), Format: tag.Get("format"),
		Limit: Limit(limit), OnlySet: only == "set", PlatformOnly: tag.Get("scope") == "platform",
		Needs: tag.Get("needs"), With: tag.Get("with"), Awaits: tag.Get("awaits"), index: index,
	}
	if list, ok := tag.Lookup("enum"); ok {
		f.Enum = strings.Split(list, ",")
	}
	f.Minimum, f.Maximum = bound(tag, "minimum", "minLength"), bound(tag, "maximum", "maxLength")
	f.least, _ = strconv.Atoi(tag.Get("least"))
	f.Default = f.parse(tag.Get("default"))
	return f
}

func bound(tag reflect.StructTag, names ...string) *float64 {
	for _, name := range names {
		if text, ok := tag.Lookup(name); ok {
			n, err := strconv.ParseFloat(text, 64)
			if err != nil {
				panic("settings: " + name + " is no number: " + text)
			}
			return &n
		}
	}
	return nil
}

// parse reads a default from its tag.
func (f *Field) parse(text string) any {
	switch f.Kind {
	case Boolean:
		return text == "true"
	case Integer, Number:
		if text == "" {
			text = "0"
		}
		return json.Number(text)
	case Strings, Objects:
		list := []any{}
		if text != "" {
			for part := range strings.SplitSeq(text, ",") {
				list = append(list, part)
			}
		}
		return list
	case String, Secret:
	}
	return text
}

// set puts a value, as encoding/json decodes it, into its place.
func (f *Field) set(s *Settings, value any) error {
	if f.key != "" {
		text, ok := value.(string)
		if !ok {
			return &json.UnmarshalTypeError{Value: "value", Type: reflect.TypeFor[string](), Field: f.Path}
		}
		reflect.ValueOf(s).Elem().FieldByIndex(f.index).SetMapIndex(reflect.ValueOf(f.key), reflect.ValueOf(text))
		return nil
	}
	document, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return json.Unmarshal(document, f.place(s))
}

func (f *Field) place(s *Settings) any {
	return reflect.ValueOf(s).Elem().FieldByIndex(f.index).Addr().Interface()
}

// Value is what the setting is in s, as encoding/json would encode it. Secrets are masked.
func (f *Field) Value(s *Settings) any {
	v := reflect.ValueOf(s).Elem().FieldByIndex(f.index)
	if f.key != "" {
		if v = v.MapIndex(reflect.ValueOf(f.key)); !v.IsValid() {
			return ""
		}
	}
	return v.Interface()
}

// Default is what holds where nobody has said anything.
func Default() Settings {
	s := Settings{Branding: Branding{Colors: Colors{Light: map[string]string{}, Dark: map[string]string{}}}}
	for i := range all {
		if f := &all[i]; f.key == "" && f.Kind == Objects {
			list := reflect.ValueOf(&s).Elem().FieldByIndex(f.index)
			list.Set(reflect.MakeSlice(list.Type(), 0, 0))
		} else if f.key == "" && f.Kind != Secret {
			if err := f.set(&s, f.Default); err != nil {
				panic("settings: default of " + f.Path + ": " + err.Error())
			}
		}
	}
	return s
}
