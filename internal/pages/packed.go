package pages

import (
	"bytes"
	"compress/gzip"
	"strings"

	"github.com/labstack/echo/v4"
)

// respondPacked is [respond] for a page that is long and much the same from line to line. It is compressed for browsers that take it,
// because it may not weigh more than the others on a slow line. Only pages that hold no secret are: the length of a compressed one tells
// whoever can put text into it what else is there (BREACH). Secrets of settings are never on a page, and forms carry no token.
func respondPacked[V any](c echo.Context, status int, write func(*bytes.Buffer, V) error, view V) error {
	header := c.Response().Header()
	header.Add("Vary", "Accept-Encoding")
	if !takesGzip(c.Request().Header.Get("Accept-Encoding")) {
		return respond(c, status, write, view)
	}
	var page, packed bytes.Buffer
	if err := write(&page, view); err != nil {
		return err
	}
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(page.Bytes()); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	SecurityHeaders(header)
	header.Set("Content-Encoding", "gzip")
	return c.HTMLBlob(status, packed.Bytes())
}

// takesGzip reads an Accept-Encoding header (RFC 9110 section 12.5.3).
func takesGzip(accept string) bool {
	for coding := range strings.SplitSeq(accept, ",") {
		name, weight, _ := strings.Cut(coding, ";")
		if strings.TrimSpace(name) == "gzip" {
			quality, weighed := strings.CutPrefix(strings.TrimSpace(weight), "q=")
			return !weighed || strings.Trim(quality, "0.") != ""
		}
	}
	return false
}
