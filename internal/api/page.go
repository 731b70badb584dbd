package api

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strconv"

	"parako/internal/secret"
)

const (
	defaultPage = 25
	maxPage     = 100
	// maxCursor is the longest cursor that is read.
	maxCursor = 2048
)

// Single is the envelope of one thing.
type Single[T any] struct {
	ETag string `header:"ETag" doc:"The state that was read, for If-Match."`
	Body struct {
		Data T `json:"data"`
	}
}

// List is the envelope of a page.
type List[T any] struct {
	Body struct {
		Data       []T        `json:"data"`
		Pagination Pagination `json:"pagination"`
	}
}

// Pagination says how a list goes on.
type Pagination struct {
	HasMore    bool    `json:"has_more" doc:"There is another page."`
	NextCursor *string `json:"next_cursor" doc:"What to send as after for the next page; null on the last one."`
	TotalCount *int64  `json:"total_count,omitempty" doc:"How many entries the whole list has, when include_count asked for it."`
}

// Paging is what a caller says of the page it wants.
type Paging struct {
	Limit        string `query:"limit"`
	After        string `query:"after" doc:"The next_cursor of the page before."`
	IncludeCount bool   `query:"include_count" doc:"Count the whole list."`
}

// size is how many entries a page has: what was asked for, within the bounds.
func (p Paging) size() int {
	n, err := strconv.Atoi(p.Limit)
	if err != nil {
		return defaultPage
	}
	return min(max(n, 1), maxPage)
}

// cut makes a page of up to one row more than it holds, of which the last one only says that there is more. next says where the
// page after an entry begins.
func cut[T any](rows []T, size int, next func(T) string) (page []T, p Pagination) {
	if len(rows) <= size {
		return rows, Pagination{}
	}
	rows = rows[:size]
	cursor := next(rows[size-1])
	return rows, Pagination{HasMore: true, NextCursor: &cursor}
}

// cursorMAC is the member of a cursor that binds it to its tenant and list.
const cursorMAC = "mac"

// cursor says where a list goes on: members that its query understands, as base64url of a JSON object. It is of use to the tenant
// it was given out by, for the list it came from.
func (h *Handler) cursor(who *caller, list string, members map[string]string) string {
	members[cursorMAC] = h.macOf(who, list, members)
	text, err := json.Marshal(members)
	if err != nil {
		panic(err) // A map of texts is JSON.
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// readCursor reads a cursor of the list. An empty one begins the list; one of another tenant or list, or one that was changed,
// is refused.
func (h *Handler) readCursor(who *caller, list, after string) (map[string]string, error) {
	if after == "" {
		return nil, nil //nolint:nilnil // No members: the beginning.
	}
	refused := invalid(FieldError{Field: "after", Message: messageCursor})
	if len(after) > maxCursor {
		return nil, refused
	}
	text, err := base64.RawURLEncoding.Strict().DecodeString(after)
	if err != nil {
		return nil, refused
	}
	var members map[string]string
	if json.Unmarshal(text, &members) != nil {
		return nil, refused
	}
	mac := members[cursorMAC]
	delete(members, cursorMAC)
	if !secret.Equal([]byte(mac), []byte(h.macOf(who, list, members))) {
		return nil, refused
	}
	return members, nil
}

func (h *Handler) macOf(who *caller, list string, members map[string]string) string {
	text, err := json.Marshal([]any{list, members}) // with the members in their order
	if err != nil {
		panic(err) // A map of texts is JSON.
	}
	m := hmac.New(sha256.New, h.deps.Vault.Master.Derive(who.tenant.ID, "api-cursor-v1", 32))
	m.Write(text)
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}
