// Command protocoldoc writes docs/protocol.md: each box of the paper's Figure 2
// and each rule of the protocol, with the function that keeps it and the tests
// that show it. Rules and functions are listed in rows.txt and boxes.txt; tests
// are found by looking for those that cite a rule's name. It claims nothing that
// it did not find: a rule without a test is "not yet shown".
//
// Run it by `go generate ./internal/cmd/protocoldoc`. Its own test fails if the
// document is stale, if a function or a rule that is named does not exist, or if
// a rule that is marked as built has no test. With -mark it first marks every rule
// in rows.txt that has a function and a test as built, so that none loses its test
// unnoticed.
package main

import (
	_ "embed"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

//go:generate go run .

// root is the module's root as seen from this directory, where go generate and
// go test run.
const root = "../../.."

// document is the file that is written, from the root.
const document = "docs/protocol.md"

var (
	//go:embed rows.txt
	rowsText string
	//go:embed boxes.txt
	boxesText string
)

func main() {
	mark := flag.Bool("mark", false, "mark the rules that have a function and a test as built")
	flag.Parse()
	if err := run(*mark); err != nil {
		fmt.Fprintln(os.Stderr, "protocoldoc:", err)
		os.Exit(1)
	}
}

// run writes the document, also when it has problems to report: what was found
// is then visible in it.
func run(mark bool) error {
	if mark {
		marked, err := markBuilt(os.DirFS(root), rowsText)
		if err != nil {
			return err
		}
		if err := os.WriteFile("rows.txt", []byte(marked), 0o644); err != nil {
			return err
		}
		rowsText = marked
	}
	text, problems, err := generate(os.DirFS(root), rowsText, boxesText)
	if err != nil {
		return err
	}
	if err := os.WriteFile(root+"/"+document, []byte(text), 0o644); err != nil {
		return err
	}
	for _, problem := range problems {
		fmt.Fprintln(os.Stderr, problem)
	}
	if len(problems) > 0 {
		return fmt.Errorf("%d problems", len(problems))
	}
	return nil
}

// generate renders the document for a tree, and lists what is wrong with the
// rows and boxes, each problem in a sentence.
func generate(tree fs.FS, rows, boxes string) (text string, problems []string, err error) {
	b, err := parseBook(rows, boxes)
	if err != nil {
		return "", nil, err
	}
	t, err := scanTree(tree)
	if err != nil {
		return "", nil, err
	}
	return render(b, t), findProblems(b, t), nil
}

// markBuilt gives rows with every rule marked as built that names a function and
// is cited by a test.
func markBuilt(tree fs.FS, rows string) (string, error) {
	b, err := parseBook(rows, "")
	if err != nil {
		return "", err
	}
	t, err := scanTree(tree)
	if err != nil {
		return "", err
	}
	for _, s := range b.Sections {
		for _, r := range s.Rows {
			if len(r.Places) > 0 && len(t.Proofs[r.ID]) > 0 {
				rows = strings.Replace(rows, "\n"+r.ID+" | open |", "\n"+r.ID+" | built |", 1)
			}
		}
	}
	return rows, nil
}
