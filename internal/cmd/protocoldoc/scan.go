package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// A proof is a test, or a file of a test's data, that cites a rule.
type proof struct {
	// Dir is the directory of its package.
	Dir string
	// Name is the test's, or the file's from Dir on.
	Name string
}

// A tree is what was found in the source.
type tree struct {
	// Files are the Go files that were read, with the names they declare.
	Files map[string]map[string]bool
	// Proofs are what cites each rule, in order of directory and name.
	Proofs map[string][]proof
}

// citation finds the rules that prose cites; nameCitation those in a test's name,
// TestEL06... or Test..._EL06, where a dash cannot stand.
var (
	citation     = regexp.MustCompile(`\b(?:(?:EL|RP|CM|PS|MB|SN|CS|RD|LT|FC|TM|MG|SF|PX)-\d\d|B-[1-9]\d?)\b`)
	nameCitation = regexp.MustCompile(`(?:^Test|^Fuzz|_)(EL|RP|CM|PS|MB|SN|CS|RD|LT|FC|TM|MG|SF|PX)_?(\d\d)(?:\D|$)`)
)

// rangeAfter and rangeBefore find the other end of a range, EL-01..EL-24 or EL-01
// to EL-24.
var (
	rangeAfter  = regexp.MustCompile(`^(?:\.\.|\s+to\s+[A-Z]{1,2}-\d)`)
	rangeBefore = regexp.MustCompile(`(?:\.\.|[A-Z]{1,2}-\d+\s+to\s+)$`)
)

// cited gives the rules that a text cites. The ends of a range are not cited: a
// range says what is spoken of, not what is shown.
func cited(text string) []string {
	var ids []string
	for _, at := range citation.FindAllStringIndex(text, -1) {
		if rangeAfter.MatchString(text[at[1]:]) || rangeBefore.MatchString(text[:at[0]]) {
			continue
		}
		ids = append(ids, text[at[0]:at[1]])
	}
	return ids
}

// self is this command's directory: its own tests name rules without showing any.
const self = "internal/cmd/protocoldoc"

// scanTree reads every Go file of the module, and the text below testdata of its
// packages. Modules nested in it are other modules.
func scanTree(source fs.FS) (tree, error) {
	t := tree{Files: map[string]map[string]bool{}, Proofs: map[string][]proof{}}
	tests := map[string]*testPackage{}
	stories := map[string][]string{} // package directory -> files below its testdata
	err := fs.WalkDir(source, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name == ".git" || strings.HasSuffix(name, "testdata/fuzz") {
				return fs.SkipDir
			}
			if _, err := fs.Stat(source, path.Join(name, "go.mod")); name != "." && err == nil {
				return fs.SkipDir
			}
			return nil
		}
		if dir, _, ok := strings.Cut(name, "/testdata/"); ok {
			if path.Ext(name) == ".txt" {
				stories[dir] = append(stories[dir], name)
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		text, err := fs.ReadFile(source, name)
		if err != nil {
			return err
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		t.Files[name] = declared(file)
		if dir := path.Dir(name); strings.HasSuffix(name, "_test.go") && dir != self {
			if tests[dir] == nil {
				tests[dir] = &testPackage{tables: map[string][]string{}}
			}
			tests[dir].read(file)
		}
		return nil
	})
	if err != nil {
		return tree{}, err
	}
	for dir, p := range tests {
		p.prove(dir, &t)
		if !p.readsTestdata {
			continue
		}
		for _, name := range stories[dir] {
			text, err := fs.ReadFile(source, name)
			if err != nil {
				return tree{}, err
			}
			for _, id := range cited(string(text)) {
				t.add(id, proof{Dir: dir, Name: strings.TrimPrefix(name, dir+"/")})
			}
		}
	}
	for id := range t.Proofs {
		slices.SortFunc(t.Proofs[id], func(a, b proof) int {
			return strings.Compare(a.Dir+"\x00"+a.Name, b.Dir+"\x00"+b.Name)
		})
	}
	return t, nil
}

func (t *tree) add(id string, p proof) {
	if !slices.Contains(t.Proofs[id], p) {
		t.Proofs[id] = append(t.Proofs[id], p)
	}
}

// declared gives the names that a file declares at its top.
func declared(file *ast.File) map[string]bool {
	names := map[string]bool{}
	for _, decl := range file.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			name := decl.Name.Name
			if receiver := receiverName(decl); receiver != "" {
				name = receiver + "." + name
			}
			names[name] = true
		case *ast.GenDecl:
			for _, spec := range decl.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					names[spec.Name.Name] = true
				case *ast.ValueSpec:
					for _, name := range spec.Names {
						names[name.Name] = true
					}
				}
			}
		}
	}
	return names
}

// receiverName is the type of a method's receiver; empty for a function.
func receiverName(f *ast.FuncDecl) string {
	if f.Recv == nil || len(f.Recv.List) != 1 {
		return ""
	}
	expr := f.Recv.List[0].Type
	if star, ok := expr.(*ast.StarExpr); ok {
		expr = star.X
	}
	if generic, ok := expr.(*ast.IndexExpr); ok {
		expr = generic.X
	}
	if name, ok := expr.(*ast.Ident); ok {
		return name.Name
	}
	return ""
}

// A testPackage is what the test files of a directory say.
type testPackage struct {
	tests []citingTest
	// tables are the variables and constants that cite rules, such as a table of
	// cases: what they cite is shown by the tests that use them. What a helper
	// function cites is not counted: who calls it need not be about the rule.
	tables        map[string][]string
	readsTestdata bool
}

type citingTest struct {
	name  string
	cites []string
	uses  map[string]bool
}

// isTest reports whether a function is run by go test to show something.
func isTest(f *ast.FuncDecl) bool {
	name := f.Name.Name
	if f.Recv != nil || name == "TestMain" {
		return false
	}
	return strings.HasPrefix(name, "Test") || strings.HasPrefix(name, "Fuzz") || strings.HasPrefix(name, "Example")
}

// read collects the citations of one test file.
func (p *testPackage) read(file *ast.File) {
	for _, decl := range file.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			if !isTest(decl) {
				p.noteTestdata(decl)
				continue
			}
			p.noteTestdata(decl)
			test := citingTest{name: decl.Name.Name, cites: citedBy(file, decl, decl.Doc), uses: identifiers(decl)}
			for _, m := range nameCitation.FindAllStringSubmatch(test.name, -1) {
				test.cites = append(test.cites, m[1]+"-"+m[2])
			}
			p.tests = append(p.tests, test)
		case *ast.GenDecl:
			for _, spec := range decl.Specs {
				value, ok := spec.(*ast.ValueSpec)
				if !ok {
					continue
				}
				doc := value.Doc
				if len(decl.Specs) == 1 && doc == nil {
					doc = decl.Doc
				}
				p.noteTestdata(value)
				for _, name := range value.Names {
					p.tables[name.Name] = citedBy(file, value, doc)
				}
			}
		}
	}
}

// noteTestdata remembers whether the package's tests read its testdata.
func (p *testPackage) noteTestdata(n ast.Node) {
	ast.Inspect(n, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING && strings.Contains(lit.Value, "testdata") {
			p.readsTestdata = true
		}
		return true
	})
}

// citedBy gives the rules cited in the comments and strings of a declaration.
func citedBy(file *ast.File, n ast.Node, doc *ast.CommentGroup) []string {
	from := n.Pos()
	if doc != nil {
		from = doc.Pos()
	}
	var ids []string
	for _, group := range file.Comments {
		if group.Pos() >= from && group.End() <= n.End() {
			ids = append(ids, cited(group.Text())...)
		}
	}
	ast.Inspect(n, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			ids = append(ids, cited(lit.Value)...)
		}
		return true
	})
	return ids
}

// identifiers gives the names that a declaration mentions.
func identifiers(n ast.Node) map[string]bool {
	names := map[string]bool{}
	ast.Inspect(n, func(n ast.Node) bool {
		if ident, ok := n.(*ast.Ident); ok {
			names[ident.Name] = true
		}
		return true
	})
	return names
}

// prove adds what the tests of a directory cite, themselves or through a table.
func (p *testPackage) prove(dir string, t *tree) {
	for _, test := range p.tests {
		for _, id := range test.cites {
			t.add(id, proof{Dir: dir, Name: test.name})
		}
		for table, ids := range p.tables {
			if !test.uses[table] {
				continue
			}
			for _, id := range ids {
				t.add(id, proof{Dir: dir, Name: test.name})
			}
		}
	}
}
