package transfer

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"runtime/debug"
	"slices"
	"time"
	"unicode/utf8"

	"filippo.io/age"
	"github.com/google/uuid"

	"parako/internal/secret"
	"parako/internal/tenant"
)

// format is the version of what is inside the file.
const format = 1

// Header is the first line of a file: what it is of.
type Header struct {
	Format int `json:"format"`
	// Schema is the version of the database's schema. Rows go where the schema is the same.
	Schema     int64     `json:"schema"`
	ExportedAt time.Time `json:"exported_at"`
	ExportedBy string    `json:"exported_by"`
	Tenant     Origin    `json:"tenant"`
	// Former are the tenants that it was moved from, whose keys it has.
	Former []uuid.UUID `json:"former,omitempty"`
	// Derived are the derived keys that the tenant takes along, by purpose.
	Derived map[string][]byte `json:"derived,omitempty"`
}

// Origin is the tenant as it was.
type Origin struct {
	ID          uuid.UUID    `json:"id"`
	Slug        string       `json:"slug"`
	DisplayName string       `json:"display_name"`
	Issuer      string       `json:"issuer"`
	IssuerURL   string       `json:"issuer_url,omitempty"`
	Quota       tenant.Quota `json:"quota"`
}

// Part is what a file holds of a table.
type Part struct {
	Table string `json:"table"`
	Rows  int64  `json:"rows"`
	// SHA256 is of the lines of its rows, in hexadecimal.
	SHA256 string `json:"sha256"`
}

// line is a line of a file, which is one of these. First is the header; then, for each table, its name and its rows; last is the
// manifest, and nothing comes after it.
type line struct {
	Header   *Header         `json:"header,omitempty"`
	Table    string          `json:"table,omitempty"`
	Row      json.RawMessage `json:"row,omitempty"`
	Manifest []Part          `json:"manifest,omitempty"`
}

// workFactor is the cost of scrypt as a power of two, about a second and 256 MiB. A file that demands more is refused.
const workFactor = 18

// release gives the memory of scrypt back. Taken for live, it would let as much garbage gather before somebody looks.
func release() { debug.FreeOSMemory() }

// writer writes lines and counts them.
type writer struct {
	out   io.WriteCloser
	lines *bufio.Writer
	sum   hash.Hash
	parts []Part
}

func newWriter(w io.Writer, passphrase secret.String, work int) (*writer, error) {
	if utf8.RuneCountInString(passphrase.Reveal()) < minPassphrase {
		return nil, ErrPassphraseShort
	}
	recipient, err := age.NewScryptRecipient(passphrase.Reveal())
	if err != nil {
		return nil, err
	}
	recipient.SetWorkFactor(work)
	out, err := age.Encrypt(w, recipient)
	if err != nil {
		return nil, err
	}
	release()
	return &writer{out: out, lines: bufio.NewWriterSize(out, 64<<10), sum: sha256.New()}, nil
}

func (w *writer) line(l line) error {
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if l.Row != nil {
		w.sum.Write(text)
		w.parts[len(w.parts)-1].Rows++
	}
	_, err = w.lines.Write(text)
	return err
}

// begin starts a table.
func (w *writer) begin(table string) error {
	w.parts = append(w.parts, Part{Table: table})
	w.sum.Reset()
	return w.line(line{Table: table})
}

// end finishes a table.
func (w *writer) end() { w.parts[len(w.parts)-1].SHA256 = hex.EncodeToString(w.sum.Sum(nil)) }

// close writes the manifest and what is not written yet. Only a file that was closed is whole.
func (w *writer) close() error {
	return errors.Join(w.line(line{Manifest: w.parts}), w.lines.Flush(), w.out.Close())
}

// file is an export that can be read several times.
type file struct {
	in  io.ReadSeeker
	key age.Identity
}

// open finds out whether the passphrase opens the file. It is the slow part, and is done once.
func open(in io.ReadSeeker, passphrase secret.String) (*file, error) {
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	header, err := age.ExtractHeader(in)
	if err != nil {
		return nil, ErrNoExport
	}
	identity, err := age.NewScryptIdentity(passphrase.Reveal())
	if err != nil {
		return nil, ErrPassphrase
	}
	identity.SetMaxWorkFactor(workFactor)
	key, err := age.DecryptHeader(header, identity)
	release()
	switch {
	case errors.Is(err, age.ErrIncorrectIdentity):
		return nil, ErrPassphrase
	case err != nil:
		return nil, ErrDamaged
	}
	return &file{in: in, key: age.NewInjectedFileKeyIdentity(key)}, nil
}

// maxLine is far more than a row can have.
const maxLine = 64 << 20

// The rows that are handed on together.
const (
	batchRows  = 1000
	batchBytes = 4 << 20
)

// read reads the file from its begin to its end: header gets the header, and rows some rows of a table at a time. It returns the manifest once
// everything agrees with it, and ErrDamaged when anything does not; what header and rows were given then counts for nothing.
func (f *file) read(header func(Header) error, rows func(table string, batch []json.RawMessage) error) ([]Part, error) {
	if _, err := f.in.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	plain, err := age.Decrypt(f.in, f.key)
	if err != nil {
		return nil, ErrDamaged
	}
	r := reader{rows: rows, sum: sha256.New()}
	scanner := bufio.NewScanner(plain)
	scanner.Buffer(make([]byte, 0, 64<<10), maxLine)
	if !scanner.Scan() {
		return nil, ErrDamaged
	}
	var first line
	switch err := json.Unmarshal(scanner.Bytes(), &first); {
	case err != nil || first.Header == nil:
		return nil, ErrNoExport
	case first.Header.Format != format:
		return nil, formatProblem(first.Header.Format)
	}
	if err := header(*first.Header); err != nil {
		return nil, err
	}
	for scanner.Scan() {
		if err := r.line(scanner.Bytes()); err != nil {
			return nil, err
		}
	}
	// Whatever age has to say is said by now: a file that was cut off or changed ends with an error, and not with an end.
	if scanner.Err() != nil || !slices.Equal(r.manifest, r.parts) || len(r.parts) != len(moved) {
		return nil, ErrDamaged
	}
	return r.parts, nil
}

// reader takes the lines behind the header apart.
type reader struct {
	rows     func(table string, batch []json.RawMessage) error
	batch    []json.RawMessage
	size     int
	sum      hash.Hash
	parts    []Part
	manifest []Part
}

func (r *reader) line(text []byte) error {
	var l line
	if err := json.Unmarshal(text, &l); err != nil || r.manifest != nil {
		return ErrDamaged
	}
	switch {
	case l.Row != nil:
		if len(r.parts) == 0 {
			return ErrDamaged
		}
		r.sum.Write(text)
		r.sum.Write([]byte{'\n'})
		r.parts[len(r.parts)-1].Rows++
		r.batch = append(r.batch, bytes.Clone(l.Row))
		if r.size += len(l.Row); len(r.batch) == batchRows || r.size >= batchBytes {
			return r.flush()
		}
		return nil
	case l.Table != "":
		// Each table once, and in the order in which rows can be added.
		if i := len(r.parts); i >= len(moved) || moved[i].table != l.Table {
			return ErrDamaged
		}
		err := r.end()
		r.parts = append(r.parts, Part{Table: l.Table})
		return err
	case l.Manifest != nil:
		r.manifest = l.Manifest
		return r.end()
	}
	return ErrDamaged
}

// end finishes the table that is being read.
func (r *reader) end() error {
	if len(r.parts) == 0 {
		return nil
	}
	r.parts[len(r.parts)-1].SHA256 = hex.EncodeToString(r.sum.Sum(nil))
	r.sum.Reset()
	return r.flush()
}

func (r *reader) flush() error {
	if len(r.batch) == 0 {
		return nil
	}
	err := r.rows(r.parts[len(r.parts)-1].Table, r.batch)
	r.batch, r.size = nil, 0
	return err
}
