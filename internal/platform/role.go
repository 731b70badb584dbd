// Package platform owns who works for the platform as a whole: what the roles of the people of its own tenant allow, and how the first
// of them comes to be.
//
// It refuses to know tenants other than that one: what is done to them is the business of package tenant. Start reading at [RoleOf] and
// [Bootstrap].
package platform

import (
	"slices"

	"parako/internal/directory"
)

// Role is what a person of the platform's own tenant may do on its pages. The zero value is nothing.
type Role string

// The roles. A Viewer sees everything and changes nothing.
const (
	Viewer Role = directory.PlatformViewer
	Admin  Role = directory.PlatformAdmin
)

// RoleOf is the role of an account of the platform's own tenant. A platform role that was given counts before what administrators of a
// tenant are by themselves, so that platform_viewer makes one of them a viewer.
func RoleOf(u directory.User) Role {
	has := func(role string) bool { return slices.Contains(u.Roles, role) }
	switch {
	case has(directory.PlatformAdmin):
		return Admin
	case has(directory.PlatformViewer):
		return Viewer
	case has("admin"), has("superadmin"):
		return Admin
	}
	return ""
}
