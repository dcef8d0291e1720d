package archtest

import (
	"bytes"
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxLines is the length at which a file surely has more than one subject.
const maxLines = 900

// maxTextBytes bounds the files that are searched for foreign paths; larger ones
// are data.
const maxTextBytes = 1 << 20

// A Violation is one broken rule at one place.
type Violation struct {
	File string
	Line int
	// What the file does, and the Rule that it breaks.
	What string
	Rule string
}

// String gives file:line: what: rule.
func (v Violation) String() string {
	return fmt.Sprintf("%s:%d: %s: %s", v.File, v.Line, v.What, v.Rule)
}

// Check reads a module's tree and gives every violation in it, ordered by file
// and line. An error means that the tree could not be read or parsed. Modules
// nested in the tree are other modules: only their text is checked.
func Check(tree fs.FS) ([]Violation, error) {
	c := checker{tree: tree, docs: map[string][]string{}, packages: map[string]string{}}
	nested, err := nestedModules(tree)
	if err != nil {
		return nil, err
	}
	err = fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if name == ".git" || name == "bin" || strings.HasSuffix(name, "testdata/fuzz") {
				return fs.SkipDir
			}
			return nil
		case !d.Type().IsRegular() || name == ".git": // a file in a linked work tree
			return nil
		}
		return c.file(name, d, slices.ContainsFunc(nested, func(dir string) bool { return within(name, dir) }))
	})
	if err != nil {
		return nil, err
	}
	c.checkDocs()
	slices.SortFunc(c.violations, func(a, b Violation) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.What, b.What))
	})
	return c.violations, nil
}

// nestedModules gives the directories below the root that have their own go.mod.
func nestedModules(tree fs.FS) ([]string, error) {
	var dirs []string
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name == ".git" {
			return fs.SkipDir
		}
		if !d.IsDir() && path.Base(name) == "go.mod" && path.Dir(name) != "." {
			dirs = append(dirs, path.Dir(name))
		}
		return nil
	})
	return dirs, err
}

type checker struct {
	tree       fs.FS
	violations []Violation
	// packages are the directories that hold a package, with its name; docs are
	// the files of each that carry its doc comment.
	packages map[string]string
	docs     map[string][]string
}

func (c *checker) report(file string, line int, what, rule string) {
	c.violations = append(c.violations, Violation{File: file, Line: line, What: what, Rule: rule})
}

// file checks one file of the tree.
func (c *checker) file(name string, d fs.DirEntry, nested bool) error {
	isGo := strings.HasSuffix(name, ".go")
	info, err := d.Info()
	if err != nil {
		return err
	}
	if !isGo && info.Size() > maxTextBytes {
		return nil
	}
	text, err := fs.ReadFile(c.tree, name)
	if err != nil {
		return err
	}
	c.checkForeignPaths(name, text)
	if !isGo || nested || slices.Contains(strings.Split(path.Dir(name), "/"), "testdata") {
		return nil
	}
	return c.goFile(name, text)
}

// foreignPath finds an absolute path into one particular machine.
var foreignPath = regexp.MustCompile("(^|[\\s\"'`(=:,])/(work|home|root|Users)/[A-Za-z0-9._-]")

func (c *checker) checkForeignPaths(name string, text []byte) {
	if !utf8.Valid(text) {
		return
	}
	for i, line := range bytes.Split(text, []byte("\n")) {
		if m := foreignPath.Find(line); m != nil {
			c.report(name, i+1, fmt.Sprintf("names the path %q", strings.TrimSpace(string(m))),
				"the project speaks of itself alone, not of the machine it was written on")
		}
	}
}

// goFile checks one Go file of this module.
func (c *checker) goFile(name string, text []byte) error {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	line := func(pos token.Pos) int { return files.Position(pos).Line }

	if lines := files.File(file.FileStart).LineCount(); lines > maxLines && !ast.IsGenerated(file) {
		c.report(name, lines, fmt.Sprintf("has %d lines", lines),
			fmt.Sprintf("a file has one subject and at most %d lines", maxLines))
	}

	imports := map[string]string{} // local name -> path
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return fmt.Errorf("%s: import %s: %w", name, spec.Path.Value, err)
		}
		local := path.Base(imported)
		if spec.Name != nil {
			local = spec.Name.Name
		}
		if local == "." {
			c.report(name, line(spec.Pos()), fmt.Sprintf("dot-imports %q", imported),
				"no dot imports: a reader sees where a name comes from")
		}
		imports[local] = imported
	}
	uses := uses{imports: imports, line: line}

	if strings.HasSuffix(name, "_test.go") {
		c.checkSleep(name, file, uses)
		return nil
	}

	dir := path.Dir(name)
	c.packages[dir] = file.Name.Name
	if file.Doc.Text() != "" {
		c.docs[dir] = append(c.docs[dir], name)
	}
	rule, ok := ruleFor(dir)
	if !ok {
		c.report(name, line(file.Package), fmt.Sprintf("is in package directory %q, which has no place in the tree", dir),
			"every package has a row in packageRules of internal/archtest, which says what it may import")
		return nil
	}
	for _, spec := range file.Imports {
		imported, _ := strconv.Unquote(spec.Path.Value)
		if why := judgeImport(rule, imported); why != "" {
			c.report(name, line(spec.Pos()), fmt.Sprintf("imports %q", imported), why)
		}
	}
	c.checkSleep(name, file, uses)
	if rule.Pure || rule.Clockless {
		c.checkClock(name, file, uses, rule)
	}
	if rule.Pure {
		c.checkConcurrency(name, file, line)
	}
	if !rule.Steps {
		c.checkTypesOnly(name, file, uses)
	}
	return nil
}

// uses finds mentions of imported names in one file.
type uses struct {
	imports map[string]string
	line    func(token.Pos) int
}

// imported gives the path and name that an expression pkg.Name refers to.
func (u uses) imported(n ast.Node) (from, name string) {
	selector, ok := n.(*ast.SelectorExpr)
	if !ok {
		return "", ""
	}
	x, ok := selector.X.(*ast.Ident)
	if !ok {
		return "", ""
	}
	return u.imports[x.Name], selector.Sel.Name
}

// checkSleep: nothing waits by sleeping. In a bubble of testing/synctest the
// clock is virtual and a sleep is a step of it.
func (c *checker) checkSleep(name string, file *ast.File, u uses) {
	ast.Inspect(file, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			if from, fn := u.imported(call.Fun); from == "testing/synctest" && fn == "Test" {
				return false
			}
		}
		if from, fn := u.imported(n); from == "time" && fn == "Sleep" {
			c.report(name, u.line(n.Pos()), "calls time.Sleep",
				"a wait has an event, a context or a close; a test steps time itself or runs in a synctest bubble")
		}
		return true
	})
}

// checkClock: no clock is read.
func (c *checker) checkClock(name string, file *ast.File, u uses, rule packageRule) {
	ast.Inspect(file, func(n ast.Node) bool {
		if from, fn := u.imported(n); from == "time" && slices.Contains(clockReads, fn) {
			c.report(name, u.line(n.Pos()), "uses time."+fn, "time comes in from outside; "+rule.Why)
		}
		return true
	})
}

// checkConcurrency: a pure package has one thread of control.
func (c *checker) checkConcurrency(name string, file *ast.File, line func(token.Pos) int) {
	ast.Inspect(file, func(n ast.Node) bool {
		what := ""
		switch n := n.(type) {
		case *ast.GoStmt:
			what = "starts a goroutine"
		case *ast.SelectStmt:
			what = "selects"
		case *ast.SendStmt:
			what = "sends on a channel"
		case *ast.ChanType:
			what = "speaks of a channel"
		case *ast.UnaryExpr:
			if n.Op == token.ARROW {
				what = "receives from a channel"
			}
		}
		if what != "" {
			c.report(name, line(n.Pos()), what, "a pure package has no goroutine and no channel")
		}
		return true
	})
}

// checkTypesOnly: the protocol is stepped in one place.
func (c *checker) checkTypesOnly(name string, file *ast.File, u uses) {
	ast.Inspect(file, func(n ast.Node) bool {
		from, used := u.imported(n)
		if from == Module+"/raft" && (used == "New" || used == "Raft") {
			c.report(name, u.line(n.Pos()), "uses raft."+used,
				"only internal/replica, sim and check hold a raft.Raft; others speak the types of raft")
		}
		return true
	})
}

// checkDocs: a package's doc comment stands in one file.
func (c *checker) checkDocs() {
	for dir, pkg := range c.packages {
		docs := c.docs[dir]
		slices.Sort(docs)
		switch len(docs) {
		case 0:
			c.report(dir, 0, fmt.Sprintf("package %s has no doc comment", pkg),
				"each package has one paragraph that says what it decides and what it refuses to do")
		case 1:
		default:
			c.report(docs[1], 1, fmt.Sprintf("package %s is documented in %s", pkg, strings.Join(docs, " and ")),
				"a package is documented in one place")
		}
	}
}
