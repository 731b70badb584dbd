package internal_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sqlToken is one word, literal, parameter or sign of SQL, as lexSQL returns it: keywords and names in lower case, a
// parameter as @name (also where it was written sqlc.arg(name) or sqlc.narg(name)), strings and dollar quotes as 'text'
// with the quotes inside doubled. A parenthesis and a CASE … END hold what they enclose in group; their text is "(" and
// "case".
type sqlToken struct {
	text  string
	line  int // from 1
	group []sqlToken
}

// is reports whether the token is one of these words or signs.
func (t sqlToken) is(words ...string) bool { return slices.Contains(words, t.text) }

// name reports whether the token can be the name of a table, a column or a function.
func (t sqlToken) name() bool {
	return t.text != "" && strings.ContainsRune("_abcdefghijklmnopqrstuvwxyz", rune(t.text[0])) &&
		!slices.Contains(sqlKeywords, t.text)
}

// sqlKeywords are the words after which, or before which, a name would be misread. They are far from all keywords.
var sqlKeywords = strings.Fields(`all and as case conflict cross delete do except exists fetch for from full group having in
	inner insert intersect into is join lateral left limit materialized not null offset on only or order outer returning right
	select set union update using values when where window with natural`)

// sqlPattern matches one token, or the tag that opens a dollar-quoted text. An earlier alternative wins.
var sqlPattern = regexp.MustCompile(`(?is)` + strings.Join([]string{
	`--[^\n]*`, `/\*.*?\*/`, // comments
	`\$(?:[a-z_]\w*)?\$`,                         // the tag of a dollar quote
	`'(?:[^']|'')*'`,                             // strings
	`"(?:[^"]|"")*"`,                             // quoted names
	`\$[0-9]+`,                                   // positional parameters
	`@[a-z_][a-z0-9_]*`,                          // parameters of sqlc
	`[a-z_][a-z0-9_$]*`,                          // words
	`[0-9][0-9a-z_.]*`,                           // numbers
	`::`, `<@`, `@>`, `@@`, `[<>=!#%^&|~+*/?-]+`, // operators
	`\S`, // any other sign
}, "|"))

// literal reports whether the token is a string.
func (t sqlToken) literal() bool { return strings.HasPrefix(t.text, "'") }

// unquote returns what a string says.
func (t sqlToken) unquote() string { return strings.ReplaceAll(t.text[1:len(t.text)-1], "''", "'") }

// lexSQL splits SQL into statements at the semicolons, and each statement into nested tokens. Comments disappear.
func lexSQL(sql string) [][]sqlToken {
	flat := sqlWords(sql)
	var statements [][]sqlToken
	for len(flat) > 0 {
		var statement []sqlToken
		statement, flat = nest(flat, ";")
		if len(statement) > 0 {
			statements = append(statements, statement)
		}
	}
	return statements
}

// sqlWords returns every token, without comments and not nested.
func sqlWords(sql string) []sqlToken {
	var words []sqlToken
	line := 1
	for {
		at := sqlPattern.FindStringIndex(sql)
		if at == nil {
			return words
		}
		line += strings.Count(sql[:at[0]], "\n")
		end := at[1]
		word := sqlToken{text: sql[at[0]:end], line: line}
		switch text := word.text; {
		case strings.HasPrefix(text, "--"), strings.HasPrefix(text, "/*"):
			word.text = ""
		case text[0] == '$' && text[len(text)-1] == '$':
			quoted, _, _ := strings.Cut(sql[end:], text)
			end = min(end+len(quoted)+len(text), len(sql))
			word.text = "'" + strings.ReplaceAll(quoted, "'", "''") + "'"
		case text[0] == '\'':
		case text[0] == '"':
			word.text = text[1 : len(text)-1]
		default:
			word.text = strings.ToLower(text)
		}
		if word.text != "" {
			words = append(words, word)
		}
		line += strings.Count(sql[at[0]:end], "\n")
		sql = sql[end:]
	}
}

// nest reads tokens up to one of the closing words, and returns them with their groups folded, and what follows.
func nest(flat []sqlToken, closing string) (tokens, rest []sqlToken) {
	for len(flat) > 0 {
		next := flat[0]
		flat = flat[1:]
		switch {
		case next.text == closing:
			return tokens, flat
		case next.text == "(":
			next.group, flat = nest(flat, ")")
		case next.text == "case":
			next.group, flat = nest(flat, "end")
		}
		tokens = append(tokens, next)
		if n := len(tokens); n >= 4 && next.text == "(" && len(next.group) == 1 && // sqlc.arg(name) → @name
			tokens[n-4].is("sqlc") && tokens[n-3].is(".") && tokens[n-2].is("arg", "narg") {
			parameter := sqlToken{text: "@" + strings.Trim(next.group[0].text, "'"), line: next.line}
			tokens = append(tokens[:n-4], parameter)
		}
	}
	return tokens, nil
}

// plain writes tokens with one space between them, for messages and for matching the shape of a statement.
func plain(tokens []sqlToken) string {
	words := make([]string, 0, len(tokens))
	for _, token := range tokens {
		switch token.text {
		case "(":
			words = append(words, "("+plain(token.group)+")")
		case "case":
			words = append(words, "case "+plain(token.group)+" end")
		default:
			words = append(words, token.text)
		}
	}
	return strings.Join(words, " ")
}

func TestLexSQL(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		sql  string
		want []string
	}{
		"statements end at semicolons":       {"SELECT 1; SELECT 2", []string{"select 1", "select 2"}},
		"comments disappear":                 {"SELECT 1 -- a; b\n, /* c; */ 2;", []string{"select 1 , 2"}},
		"a string keeps its signs":           {"SELECT 'a; -- ''b'", []string{"select 'a; -- ''b'"}},
		"a quoted name is a name":            {`SELECT "Select"`, []string{"select Select"}},
		"a dollar quote is one string":       {"DO $$ BEGIN; END $$; DO $f$ a; $$ 'b' $f$", []string{"do ' BEGIN; END '", "do ' a; $$ ''b'' '"}},
		"parameters have one form":           {"SELECT @a::text, sqlc.narg('b'), sqlc.arg(c), $1", []string{"select @a :: text , @b , @c , $1"}},
		"an operator is not a parameter":     {"SELECT a @> b, c<=-1", []string{"select a @> b , c <=- 1"}},
		"parentheses and cases are nested":   {"SELECT (a, (b)), CASE WHEN c THEN d END", []string{"select (a , (b)) , case when c then d end"}},
		"a semicolon in a body stays inside": {"CREATE FUNCTION f() AS $$ a; $$; SELECT 1", []string{"create function f () as ' a; '", "select 1"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, statement := range lexSQL(tt.sql) {
				got = append(got, plain(statement))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("lexSQL(%q) mismatch (-want +got):\n%s", tt.sql, diff)
			}
		})
	}
}
