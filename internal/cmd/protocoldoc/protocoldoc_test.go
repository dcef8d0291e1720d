package main

import (
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// TestDocument holds docs/protocol.md to the tree: it is what would be written
// now, and nothing in it is claimed and missing.
func TestDocument(t *testing.T) {
	source := os.DirFS(root)
	want, problems, err := generate(source, rowsText, boxesText)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Error(problem)
	}
	got, err := fs.ReadFile(source, document)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is stale (%s): run go generate ./internal/cmd/protocoldoc", document, firstDifference(string(got), want))
	}
}

// firstDifference gives the first line in which two texts differ.
func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return "has " + g[i] + ", want " + w[i]
		}
	}
	return "one text is longer"
}

const (
	plantedRows = `
// A comment.
== Election
EL-06 | built | raft/vote.go:handleVote, raft/vote.go:Raft.grant | One vote per term.
EL-07 | open | | Only for a log as good.
later EL-10..EL-12 B-5
`
	plantedBoxes = "RequestVote receiver | raft/vote.go:Raft | EL-06 EL-07\n"
	plantedCode  = "package raft\ntype Raft struct{}\nfunc handleVote() {}\nfunc (r *Raft) grant() {}\n"
	plantedTest  = "package raft\n// TestVote shows EL-06.\nfunc TestVote(t *testing.T) {}\n"
)

// planted is a small tree without problems, with files replaced or added.
func planted(files ...string) fstest.MapFS {
	source := fstest.MapFS{
		"raft/vote.go":      {Data: []byte(plantedCode)},
		"raft/vote_test.go": {Data: []byte(plantedTest)},
	}
	for i := 0; i < len(files); i += 2 {
		source[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	return source
}

// TestProblems plants each claim that does not hold.
func TestProblems(t *testing.T) {
	tests := []struct {
		name        string
		rows, boxes string
		source      fstest.MapFS
		want        string
	}{
		{"nothing wrong", plantedRows, plantedBoxes, planted(), ""},
		{
			"a built row without a test", plantedRows, plantedBoxes,
			planted("raft/vote_test.go", "package raft\n"), "EL-06 is marked as built and no test cites it",
		},
		{
			"a citation outside a test", plantedRows, plantedBoxes,
			planted("raft/vote_test.go", "package raft\n// EL-06\nfunc helper() {}\n"), "EL-06 is marked as built and no test cites it",
		},
		{
			"a function that is gone", plantedRows, plantedBoxes,
			planted("raft/vote.go", "package raft\ntype Raft struct{}\nfunc (Raft) grant() {}\n"), "handleVote in raft/vote.go, which is not declared",
		},
		{
			"a file that is gone", strings.ReplaceAll(plantedRows, "vote.go", "ballot.go"), plantedBoxes,
			planted("raft/ballot.go", "package raft\nfunc handleVote() {}\n"), "Raft.grant in raft/ballot.go, which is not declared",
		},
		{
			"a built row without a function", strings.Replace(plantedRows, "open", "built", 1), plantedBoxes,
			planted("raft/vote_test.go", plantedTest+"// EL-07\nfunc TestLog(t *testing.T) {}\n"), "EL-07 is marked as built and names no function",
		},
		{
			"a box of a row that does not exist", plantedRows, "Box | raft/vote.go:Raft | EL-09",
			planted(), "names EL-09, which is not in rows.txt",
		},
		{
			"a citation of a row that does not exist", plantedRows, plantedBoxes,
			planted("sim/a_test.go", "package sim\nfunc TestA(t *testing.T) { /* EL-99 */ }\n"), "TestA of sim cites EL-99",
		},
		{
			"a citation of a row to come", plantedRows, plantedBoxes,
			planted("sim/a_test.go", "package sim\nfunc TestA(t *testing.T) { /* EL-11, B-5 */ }\n"), "",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, problems, err := generate(test.source, test.rows, test.boxes)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case test.want == "" && len(problems) > 0:
				t.Errorf("got %q, want none", problems)
			case test.want != "" && (len(problems) != 1 || !strings.Contains(problems[0], test.want)):
				t.Errorf("got %q, want one that says %q", problems, test.want)
			}
		})
	}
}

// TestScan: a test shows what it cites itself or through a table that it uses.
func TestScan(t *testing.T) {
	source := fstest.MapFS{
		"raft/a_test.go": {Data: []byte(`package raft
var cases = []string{
	"EL-01: a case",
	"another", // EL-02
}
// EL-03 is cited by a helper, which shows nothing by itself.
func helper() {}
func TestCases(t *testing.T) { _ = cases; helper() }
func TestEL04(t *testing.T) {}
func TestRestart_EL05(t *testing.T) {}
// TestDoc shows EL-06 and B-7, not the ranges EL-07..EL-09, RP-01
// to RP-04.
func TestDoc(t *testing.T) {}
func TestBody(t *testing.T) { t.Run("EL-10", nil) }
func FuzzBody(f *testing.F) { /* EL-11 */ }
func BenchmarkBody(b *testing.B) { /* EL-12 */ }
func TestStories(t *testing.T) { read("testdata/vote.txt") }
`)},
		"raft/testdata/vote.txt":  {Data: []byte("# EL-13\n")},
		"raft/testdata/fuzz/F/01": {Data: []byte("EL-14\n")},
		"wal/a_test.go":           {Data: []byte("package wal\nfunc TestA(t *testing.T) {}\n")},
		"wal/testdata/a.txt":      {Data: []byte("EL-15: nobody reads this\n")},
		"bench/go.mod":            {Data: []byte("module bench\n")},
		"bench/a_test.go":         {Data: []byte("package bench\nfunc TestA(t *testing.T) { /* EL-16 */ }\n")},
		"raft/a.go":               {Data: []byte("package raft\n// EL-17\nfunc a() {}\n")},
	}
	want := map[string]string{
		"EL-01": "TestCases", "EL-02": "TestCases", "EL-04": "TestEL04", "EL-05": "TestRestart_EL05",
		"EL-06": "TestDoc", "B-7": "TestDoc", "EL-10": "TestBody", "EL-11": "FuzzBody", "EL-13": "testdata/vote.txt",
	}
	got, err := scanTree(source)
	if err != nil {
		t.Fatal(err)
	}
	for id, name := range want {
		if !slices.Equal(got.Proofs[id], []proof{{Dir: "raft", Name: name}}) {
			t.Errorf("%s: got %v, want %s of raft", id, got.Proofs[id], name)
		}
	}
	for id := range got.Proofs {
		if want[id] == "" {
			t.Errorf("%s: got %v, want nothing", id, got.Proofs[id])
		}
	}
}

// TestMalformed: rows.txt and boxes.txt are read strictly.
func TestMalformed(t *testing.T) {
	for name, text := range map[string][2]string{
		"a row before a section":        {"EL-01 | open | | rule", ""},
		"a row twice":                   {"== S\nEL-01 | open | | rule\nEL-01 | open | | rule", ""},
		"a row with a wrong name":       {"== S\nEL-1 | open | | rule", ""},
		"a row neither built nor open":  {"== S\nEL-01 | done | | rule", ""},
		"a row without a rule":          {"== S\nEL-01 | open | | ", ""},
		"a row with too many fields":    {"== S\nEL-01 | open | | rule | more", ""},
		"a place without a name":        {"== S\nEL-01 | open | raft/a.go | rule", ""},
		"a range backwards":             {"later EL-05..EL-02", ""},
		"a range over two areas":        {"later EL-05..RP-07", ""},
		"a box with too few fields":     {"", "box | raft/a.go:f"},
		"a box of what is not a row":    {"", "box | raft/a.go:f | votes"},
		"a box with a malformed place":  {"", "box | f | EL-01"},
		"a list of what are not a rows": {"later votes", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parseBook(text[0], text[1]); err == nil {
				t.Errorf("got no error for %q", text)
			}
		})
	}
}

// TestRender: a rule without a test is not claimed.
func TestRender(t *testing.T) {
	text, _, err := generate(planted(), plantedRows, plantedBoxes)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"| EL-06 | One vote per term. | [raft/vote.go](../raft/vote.go) `handleVote`, `Raft.grant` | raft: `TestVote` |",
		"| EL-07 | Only for a log as good. |  | " + notShown + " |",
		"| RequestVote receiver | [raft/vote.go](../raft/vote.go) `Raft` | EL-06 EL-07 | raft: `TestVote` |",
		"Of 2 rules, 1 are cited by tests; 1 are marked as built, which the tests hold to be shown.",
	} {
		if !slices.Contains(strings.Split(text, "\n"), line) {
			t.Errorf("want the line %q in\n%s", line, text)
		}
	}
}

// TestMark: a rule is marked when it has both a function and a test, and the mark
// stays.
func TestMark(t *testing.T) {
	const rows = "== S\n" +
		"EL-01 | built | | rule\n" +
		"EL-06 | open | raft/vote.go:handleVote | a function and a test\n" +
		"EL-07 | open | raft/vote.go:handleVote | a function and no test\n" +
		"EL-08 | open | | a test and no function\n"
	source := planted("raft/log_test.go", "package raft\n// EL-08\nfunc TestLog(t *testing.T) {}\n")
	got, err := markBuilt(source, rows)
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Replace(rows, "EL-06 | open", "EL-06 | built", 1); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
