package server_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/constant"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// checked is a package as the compiler sees it.
type checked struct {
	types.Info

	path  string
	set   *token.FileSet
	files []*ast.File
}

// source is what takes requests apart, type-checked: our packages that the server is made of, and fosite's. The go command
// says where they are; what they import comes from the build cache.
var source = sync.OnceValues(func() ([]checked, error) {
	type listed struct {
		ImportPath string   `json:"ImportPath"`
		Dir        string   `json:"Dir"`
		Export     string   `json:"Export"`
		GoFiles    []string `json:"GoFiles"`
	}
	list := exec.Command("go", "list", "-deps", "-export", "-json=ImportPath,Dir,Export,GoFiles", ".")
	list.Stderr = os.Stderr
	output, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var wanted []listed
	exports := map[string]string{}
	for decoder := json.NewDecoder(bytes.NewReader(output)); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		exports[p.ImportPath] = p.Export
		if ours(p.ImportPath) || strings.HasPrefix(p.ImportPath, "github.com/ory/fosite") {
			wanted = append(wanted, p)
		}
	}
	set := token.NewFileSet()
	config := types.Config{
		Importer: importer.ForCompiler(set, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) }),
	}
	packages := make([]checked, len(wanted))
	for i, p := range wanted {
		packages[i] = checked{path: p.ImportPath, set: set, Info: types.Info{
			Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{},
		}}
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(set, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				return nil, err
			}
			packages[i].files = append(packages[i].files, file)
		}
		if _, err := config.Check(p.ImportPath, set, packages[i].files, &packages[i].Info); err != nil {
			return nil, err
		}
	}
	return packages, nil
})

func ours(path string) bool { return strings.HasPrefix(path, "parako/") }

// reading is a place where a value is taken out of a request under a name.
type reading struct {
	kind, name string
	at         token.Position
}

// function is what one function reads, and which it calls or passes on: by their full names, or, when only an interface is
// known, by "." and the name of the method.
type function struct {
	reads []reading
	calls []string
}

// requestReaders are the functions that take a named value out of a request.
var requestReaders = map[string]string{
	"(net/url.Values).Get": "parameter", "(net/url.Values).Has": "parameter",
	"(*net/http.Request).FormValue": "parameter", "(*net/http.Request).PostFormValue": "parameter", "(*net/http.Request).FormFile": "parameter",
	"(github.com/labstack/echo/v4.Context).QueryParam": "parameter", "(github.com/labstack/echo/v4.Context).FormValue": "parameter",
	"(github.com/labstack/echo/v4.Context).FormFile": "parameter", "(github.com/labstack/echo/v4.Context).Param": "path",
	"(*net/http.Request).PathValue": "path", "(net/http.Header).Get": "header", "(net/http.Header).Values": "header",
	"(*net/http.Request).Cookie": "cookie", "(*net/http.Request).CookiesNamed": "cookie", "(github.com/labstack/echo/v4.Context).Cookie": "cookie",
}

// opaqueReaders take out of a request what the source does not tell.
var opaqueReaders = map[string]bool{
	"(github.com/labstack/echo/v4.Context).Bind": true, "(*net/http.Request).MultipartReader": true, "(*net/http.Request).Cookies": true,
	"(github.com/labstack/echo/v4.Context).Cookies": true, "(github.com/labstack/echo/v4.Context).ParamValues": true,
}

// configured are names that are not in the source, by the expression that stands for them.
var configured = map[string]string{"v.o.Header": "X-Tenant-Id", "certificate": "Client-Cert"}

// functions are all functions of the source, by their full names. What the source does not tell fails the test.
func functions(t *testing.T) map[string]*function {
	t.Helper()
	packages, err := source()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*function{}
	for _, p := range packages {
		lists := p.lists()
		for _, file := range p.files {
			for _, declaration := range file.Decls {
				declared, ok := declaration.(*ast.FuncDecl)
				if !ok {
					continue
				}
				object, ok := p.Defs[declared.Name].(*types.Func)
				if !ok {
					t.Fatalf("%s: no function", p.set.Position(declared.Pos()))
				}
				f := p.function(t, declared, lists)
				all[object.FullName()] = f
				if method := "." + object.Name(); declared.Recv != nil { // what an interface may stand for
					if all[method] == nil {
						all[method] = &function{}
					}
					all[method].calls = append(all[method].calls, object.FullName())
				}
			}
		}
	}
	return all
}

func (p checked) function(t *testing.T, declared *ast.FuncDecl, lists map[types.Object][]string) *function {
	t.Helper()
	f := &function{reads: p.bound(declared)}
	take := func(kind string, name ast.Expr) {
		names, ok := p.names(name, lists)
		if !ok && ours(p.path) {
			t.Errorf("%s: the source does not say which %s this reads: name it, or add it to configured", p.set.Position(name.Pos()), kind)
		}
		for _, text := range names {
			f.reads = append(f.reads, reading{kind, text, p.set.Position(name.Pos())})
		}
	}
	ast.Inspect(declared, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Ident:
			if used, ok := p.Uses[n].(*types.Func); ok {
				if receiver := used.Signature().Recv(); receiver != nil && types.IsInterface(receiver.Type()) {
					f.calls = append(f.calls, "."+used.Name())
				}
				f.calls = append(f.calls, used.FullName())
			}
		case *ast.CallExpr:
			called := p.called(n)
			if kind := requestReaders[called]; kind != "" && len(n.Args) == 1 {
				take(kind, n.Args[0])
			}
			if called == "(*net/http.Request).BasicAuth" {
				f.reads = append(f.reads, reading{"header", "Authorization", p.set.Position(n.Pos())})
			}
			if opaqueReaders[called] && ours(p.path) {
				t.Errorf("%s: the matrix cannot know what %s reads", p.set.Position(n.Pos()), called)
			}
		case *ast.IndexExpr:
			switch typ := p.TypeOf(n.X); {
			case typ == nil:
			case typ.String() == "net/url.Values":
				take("parameter", n.Index)
			case typ.String() == "net/http.Header":
				take("header", n.Index)
			}
		case *ast.SelectorExpr:
			field, ok := p.Uses[n.Sel].(*types.Var)
			if ok && field.IsField() && field.Name() == "Body" && p.TypeOf(n.X).String() == "*net/http.Request" && ours(p.path) && !slices.Contains([]string{"limitBody", "takeTurn"}, declared.Name.Name) && declared.Name.Name != "readRegistration" {
				t.Errorf("%s: the matrix sends forms: teach it this body, and this test what is read from it", p.set.Position(n.Pos()))
			}
		}
		return true
	})
	return f
}

// bound is what huma takes out of a request for an operation of the Management API: the parameters that the tags of its input
// name, and the members of the body.
func (p checked) bound(declared *ast.FuncDecl) (reads []reading) {
	if !strings.HasPrefix(p.path, "parako/internal/api") || declared.Recv == nil || declared.Type.Params == nil {
		return nil
	}
	var walk func(typ types.Type, body bool)
	walk = func(typ types.Type, body bool) {
		fields, ok := typ.Underlying().(*types.Struct)
		if !ok {
			return
		}
		for i := range fields.NumFields() {
			field, tag := fields.Field(i), reflect.StructTag(fields.Tag(i))
			for name, kind := range map[string]string{"query": "parameter", "path": "path", "header": "header", "cookie": "cookie"} {
				if named := tag.Get(name); named != "" {
					reads = append(reads, reading{kind, named, p.set.Position(declared.Pos())})
				}
			}
			if member, _, _ := strings.Cut(tag.Get("json"), ","); body && member != "" {
				reads = append(reads, reading{"parameter", member, p.set.Position(declared.Pos())})
			}
			if field.Embedded() || field.Name() == "Body" {
				walk(field.Type(), body || field.Name() == "Body")
			}
		}
	}
	for _, parameter := range declared.Type.Params.List {
		if pointer, ok := p.TypeOf(parameter.Type).(*types.Pointer); ok && strings.HasSuffix(pointer.Elem().String(), "Input") {
			walk(pointer.Elem(), false)
		}
	}
	return reads
}

// called is the full name of the function that is called; empty when it is a value.
func (p checked) called(call *ast.CallExpr) string {
	if selector, ok := call.Fun.(*ast.SelectorExpr); ok {
		if f, ok := p.Uses[selector.Sel].(*types.Func); ok {
			return f.FullName()
		}
	}
	return ""
}

// names are what an expression can be: a constant, a constant beginning, one of the strings of a list that is walked through,
// or the argument of a function of its package. A walk through a map gives no name that the product knows.
func (p checked) names(e ast.Expr, lists map[types.Object][]string) ([]string, bool) {
	if value := p.Types[e].Value; value != nil && value.Kind() == constant.String {
		return []string{constant.StringVal(value)}, true
	}
	if name, ok := configured[types.ExprString(e)]; ok {
		return []string{name}, true
	}
	switch e := e.(type) {
	case *ast.BinaryExpr:
		return p.names(e.X, lists)
	case *ast.CallExpr:
		if f := p.called(e); strings.Contains(f, p.path+".") && len(e.Args) == 1 {
			return p.names(e.Args[0], lists)
		}
	case *ast.Ident:
		names, ok := lists[p.Uses[e]]
		return names, ok
	}
	return nil, false
}

// lists are the variables that walk through a list of strings or through a map, with the strings; none for a map.
func (p checked) lists() map[types.Object][]string {
	literals, lists := map[types.Object][]string{}, map[types.Object][]string{}
	for _, file := range p.files {
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Names) == len(spec.Values) {
				for i, name := range spec.Names {
					if all, ok := p.strings(spec.Values[i]); ok {
						literals[p.Defs[name]] = all
					}
				}
			}
			return true
		})
	}
	for _, file := range p.files {
		ast.Inspect(file, func(n ast.Node) bool {
			walk, ok := n.(*ast.RangeStmt)
			if !ok {
				return true
			}
			key, _ := walk.Key.(*ast.Ident)
			value, _ := walk.Value.(*ast.Ident)
			if _, ok := p.TypeOf(walk.X).Underlying().(*types.Map); ok && key != nil {
				lists[p.Defs[key]] = nil
			}
			if value == nil {
				return true
			}
			if all, ok := p.strings(walk.X); ok {
				lists[p.Defs[value]] = all
			} else if name, ok := walk.X.(*ast.Ident); ok {
				if all, ok := literals[p.Uses[name]]; ok {
					lists[p.Defs[value]] = all
				}
			}
			return true
		})
	}
	return lists
}

// strings are the elements of a literal list of constants.
func (p checked) strings(e ast.Expr) ([]string, bool) {
	literal, ok := e.(*ast.CompositeLit)
	if !ok {
		return nil, false
	}
	var all []string
	for _, element := range literal.Elts {
		value := p.Types[element].Value
		if value == nil || value.Kind() != constant.String {
			return nil, false
		}
		all = append(all, constant.StringVal(value))
	}
	return all, true
}

// readBy returns what a route reads, as kind and name: its handler, everything that calls or could call, and the packages
// around the routes, which see every request. handler is the name that echo gives a route.
func readBy(t *testing.T, all map[string]*function, handler string) map[[2]string]bool {
	t.Helper()
	if parts := method.FindStringSubmatch(handler); parts != nil { // path/of/package.(*Type).name-fm
		handler = "(" + parts[2] + parts[1] + "." + parts[3] + ")." + parts[4]
	}
	if all[handler] == nil {
		t.Fatalf("the source has no function %s: have a method or a function handle the route", handler)
	}
	read, met := map[[2]string]bool{}, map[string]bool{}
	var follow func(name string)
	follow = func(name string) {
		f := all[name]
		if f == nil || met[name] || onStored[name] {
			return
		}
		met[name] = true
		for _, r := range f.reads {
			read[[2]string{r.kind, r.name}] = true
		}
		for _, called := range f.calls {
			follow(called)
		}
	}
	follow(handler)
	if strings.Contains(handler, "parako/internal/api.") {
		follow("(*parako/internal/api.Handler).admit") // stands in front of it
	}
	for name := range all {
		if name == onlyAtTheGateway {
			continue
		}
		if strings.Contains(name, "parako/internal/server.") || strings.Contains(name, "parako/internal/tenant.") {
			for _, r := range all[name].reads {
				read[[2]string{r.kind, r.name}] = true
			}
		}
	}
	return read
}

// onlyAtTheGateway reads requests to the host of the gateway, which has no routes and nothing of any tenant.
const onlyAtTheGateway = "(*parako/internal/server.Server).receive"

// onStored work on the request that an interaction has stored, and not on the one that has come.
var onStored = map[string]bool{
	"(*parako/internal/oidc.Provider).Waiting": true, "(*parako/internal/oidc.Provider).Complete": true, "(*parako/internal/oidc.Provider).Deny": true,
}

var method = regexp.MustCompile(`^(.*)\.\((\*?)(\w+)\)\.(\w+)-fm$`)

// TestMatrixKnowsWhatRoutesRead holds the lists of the matrix against the source of the product, and of fosite, which reads
// requests too: whatever is taken out of a request under a name is on a list, and nothing else is.
func TestMatrixKnowsWhatRoutesRead(t *testing.T) {
	t.Parallel()
	known := map[string]map[string]bool{"parameter": {}, "path": {}, "header": {}, "cookie": {}}
	for name := range parameters {
		known["parameter"][name] = true
	}
	for name := range pathParameters {
		known["path"][name] = true
	}
	for _, name := range headers {
		known["header"][name] = true
	}
	for _, name := range cookies {
		known["cookie"][name] = true
	}
	read, all := map[[2]string]bool{}, functions(t)
	for name := range onStored {
		if all[name] == nil {
			t.Errorf("the source has no function %s any more", name)
		}
	}
	if all[onlyAtTheGateway] == nil {
		t.Errorf("the source has no function %s any more", onlyAtTheGateway)
	}
	for _, f := range all {
		for _, r := range f.reads {
			if r.name == "Content-Security-Policy" { // of an answer, which is read back
				continue
			}
			if read[[2]string{r.kind, r.name}] = true; !known[r.kind][r.name] {
				t.Errorf("%s: the %s %q is read and not on the list of the matrix (matrix_request_test.go)", r.at, r.kind, r.name)
			}
		}
	}
	for kind, names := range known {
		for name := range names {
			if !read[[2]string{kind, name}] {
				t.Errorf("the matrix lists the %s %q, which nothing reads", kind, name)
			}
		}
	}
}
