package settings

import "github.com/google/uuid"

// LayerOf makes a layer of the trees of its sections.
func LayerOf(owner uuid.UUID, sections map[string]map[string]any) Layer {
	l := Layer{Owner: owner, sections: map[string]override{}}
	for section, value := range sections {
		l.sections[section] = override{version: 1, value: value}
	}
	return l
}
