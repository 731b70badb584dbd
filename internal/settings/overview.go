package settings

import "parako/internal/tenant"

// Entry is a setting as a form shows it: its declaration, where its value comes from, and what would hold without the tenant.
type Entry struct {
	Explanation

	Field Field
	// Inherited is what holds when the tenant sets nothing, and Source the layer that says so. Secrets are masked.
	Inherited any
	Source    From
}

// Overview explains every setting of a section, in the order of the declaration, as [Explain] does one. ErrSection: there is no such
// section.
func Overview(platform, own Layer, section string) ([]Entry, error) {
	if own.Owner == tenant.DefaultID {
		platform, own = own, Layer{}
	}
	s, _, err := Effective(platform, own)
	if err != nil {
		return nil, err
	}
	var list []Entry
	for i := range all {
		f := &all[i]
		if f.Section != section {
			continue
		}
		e, base, err := f.explain(&s, platform, own)
		if err != nil {
			return nil, err
		}
		list = append(list, Entry{Explanation: e, Field: *f, Inherited: f.shown(base.value), Source: base.layer})
	}
	if list == nil {
		return nil, ErrSection
	}
	return list, nil
}

// Set counts the settings of a section that the layer says something about.
func (l Layer) Set(section string) int {
	n := 0
	for i := range all {
		if f := &all[i]; f.Section == section {
			if _, said := l.value(f); said {
				n++
			}
		}
	}
	return n
}
