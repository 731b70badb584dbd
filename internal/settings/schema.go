package settings

import (
	"fmt"
	"strings"
)

// Schema describes a section as a JSON Schema (draft 2020-12) of what may be written there. Members x-limit, x-scope, x-secret
// and x-awaits say what a schema cannot. ErrSection: there is no such section.
func Schema(section string) (map[string]any, error) {
	root := object(section)
	found := false
	for i := range all {
		f := &all[i]
		if f.Section != section {
			continue
		}
		found = true
		node := root
		parts := names(f.Path)
		for j, name := range parts[:len(parts)-1] {
			members := node["properties"].(map[string]any) //nolint:forcetypeassert // Made by object.
			if members[name] == nil {
				members[name] = object(strings.Join(append([]string{section}, parts[:j+1]...), "."))
			}
			node = members[name].(map[string]any) //nolint:forcetypeassert // The same.
		}
		node["properties"].(map[string]any)[parts[len(parts)-1]] = f.schema() //nolint:forcetypeassert // The same.
	}
	if !found {
		return nil, ErrSection
	}
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	return root, nil
}

func object(title string) map[string]any {
	return map[string]any{"title": title, "type": []string{"object", "null"}, "additionalProperties": false, "properties": map[string]any{}}
}

// schema of one setting. Every setting may be null, which is not to set it.
func (f *Field) schema() map[string]any {
	s := map[string]any{"description": f.Doc}
	kind := string(f.Kind)
	switch f.Kind {
	case Strings:
		kind = "array"
		items := map[string]any{"type": "string"}
		if f.Enum != nil {
			items["enum"] = f.Enum
		}
		s["items"], s["maxItems"] = items, maxList
		if f.least > 0 {
			s["minItems"] = f.least
		}
	case Objects:
		kind = "array"
		s["items"], s["maxItems"] = map[string]any{"type": "object"}, maxList
	case Secret:
		kind = "string"
		s["writeOnly"], s["x-secret"], s["maxLength"] = true, true, maxSecret
	case String:
		if f.Enum != nil {
			s["enum"] = append(anys(f.Enum), nil)
		}
		if f.Maximum != nil {
			s["maxLength"] = *f.Maximum
		}
		if f.Minimum != nil {
			s["minLength"] = *f.Minimum
		}
	case Integer, Number:
		if f.Minimum != nil {
			s["minimum"] = *f.Minimum
		}
		if f.Maximum != nil {
			s["maximum"] = *f.Maximum
		}
	case Boolean:
	}
	s["type"] = []string{kind, "null"}
	if f.Kind != Secret {
		s["default"] = f.Default
	}
	if f.Unit != "" {
		s["x-unit"] = f.Unit
	}
	if f.Limit != Free {
		s["x-limit"] = string(f.Limit)
	}
	if f.PlatformOnly {
		s["x-scope"] = "platform"
	}
	if f.Awaits != "" {
		s["x-awaits"] = f.Awaits
	}
	return s
}

func anys(list []string) []any {
	out := make([]any, len(list))
	for i, text := range list {
		out[i] = text
	}
	return out
}

// Range says in words what a setting may be, such as "1 to 86400 s".
func (f *Field) Range() string {
	switch {
	case f.Kind == Boolean:
		return "true or false"
	case f.Enum != nil && f.Kind == Strings:
		return "any of " + strings.Join(f.Enum, ", ")
	case f.Enum != nil:
		return oneOf(f.Enum)
	case f.Kind == Integer || f.Kind == Number:
		return strings.TrimSpace(fmt.Sprintf("%s to %s %s", digits(*f.Minimum), digits(*f.Maximum), f.Unit))
	case f.Kind == Secret:
		return fmt.Sprintf("a secret of at most %d bytes", maxSecret)
	case f.Format == "web":
		return "an https URL, or empty"
	case f.Format == "color":
		return "#rgb or #rrggbb"
	case f.Format != "" && f.Kind == Strings:
		return strings.TrimPrefix(strings.TrimPrefix(formats[f.Format].list, "must be "), "at most 100 ")
	case f.Format != "":
		return strings.TrimPrefix(formats[f.Format].is, "must be ")
	case f.Kind == Objects:
		return "a list of objects"
	case f.Maximum != nil:
		return fmt.Sprintf("at most %s characters", digits(*f.Maximum))
	}
	return "text"
}
