package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A mutant is a planted bug: a patch of a few lines, and what is to be known of it.
//
// Its file begins with a header, a field a line, and goes on with a unified diff:
//
//	Bug: what is wrong, in a line
//	Row: the rule that it breaks
//	Origin: who had it, or "own" for one that we thought of as hard to catch
//	Judges: who has to catch it, of tests, explore, sim, trace, clients
//	Tests: the packages whose tests are run, if tests is among the judges
//	Explore: the scopes that are explored, if explore is among the judges
//	Clients: scopes at which clients judge, if it is not seeds of the simulator
//	Machine: store, if seeds are to replicate the server's store
//	--- a/raft/step.go
//	+++ b/raft/step.go
//	@@ ...
type mutant struct {
	name    string
	bug     string
	row     string
	origin  string
	judges  []string // that are asked
	needed  []string // that have to find it; set when they are chosen
	tests   []string
	explore []string // scopes, if explore is among the judges
	clients []string // scopes at which they judge, if it is not seeds
	machine string   // what is replicated in seeds, if it is not registers
	diffs   []fileDiff
}

// scopes gives those of the model check at which a judge judges.
func (m *mutant) scopes(judge string) []string {
	switch judge {
	case judgeExplore:
		return m.explore
	case judgeClients:
		return m.clients
	}
	return nil
}

// fileDiff is what a patch does to one file.
type fileDiff struct {
	file  string
	hunks []hunk
}

// hunk replaces before by after, near a line.
type hunk struct {
	line          int
	before, after []string
}

// readMutants reads all patches of a directory, ordered by name.
func readMutants(dir string) ([]mutant, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.patch"))
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no patch in %s", dir)
	}
	slices.Sort(names)
	var mutants []mutant
	var errs []error
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		m, err := parseMutant(strings.TrimSuffix(filepath.Base(name), ".patch"), string(text))
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
			continue
		}
		mutants = append(mutants, m)
	}
	return mutants, errors.Join(errs...)
}

// allJudges are those that there are, in order of cost.
var allJudges = []string{judgeTests, judgeExplore, judgeSim, judgeTrace, judgeClients}

func parseMutant(name, text string) (mutant, error) {
	m := mutant{name: name}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for len(lines) > 0 && !strings.HasPrefix(lines[0], "--- ") {
		field, value, ok := strings.Cut(lines[0], ": ")
		switch {
		case !ok:
			return m, fmt.Errorf("header line %q is not a field and its value", lines[0])
		case field == "Bug":
			m.bug = value
		case field == "Row":
			m.row = value
		case field == "Origin":
			m.origin = value
		case field == "Judges":
			m.judges = strings.Fields(value)
		case field == "Tests":
			m.tests = strings.Fields(value)
		case field == "Explore":
			m.explore = strings.Fields(value)
		case field == "Clients":
			m.clients = strings.Fields(value)
		case field == "Machine" && value == "store":
			m.machine = value
		default:
			return m, fmt.Errorf("unknown field %q", field)
		}
		lines = lines[1:]
	}
	if m.bug == "" || m.row == "" || len(m.judges) == 0 {
		return m, errors.New("the header lacks Bug, Row or Judges")
	}
	for _, judge := range m.judges {
		if !slices.Contains(allJudges, judge) {
			return m, fmt.Errorf("unknown judge %q, there are %v", judge, allJudges)
		}
	}
	if slices.Contains(m.judges, judgeTests) != (len(m.tests) > 0) {
		return m, errors.New("a Tests line names packages if tests is among the Judges, and only then")
	}
	if slices.Contains(m.judges, judgeExplore) != (len(m.explore) > 0) {
		return m, errors.New("an Explore line names scopes if explore is among the Judges, and only then")
	}
	if len(m.clients) > 0 && !slices.Contains(m.judges, judgeClients) {
		return m, errors.New("a Clients line names scopes only if clients is among the Judges")
	}
	var err error
	m.diffs, err = parseDiff(lines)
	if err == nil && len(m.diffs) == 0 {
		err = errors.New("no diff")
	}
	return m, err
}

// parseDiff reads a unified diff of files that exist before and after it.
func parseDiff(lines []string) ([]fileDiff, error) {
	var diffs []fileDiff
	var h *hunk
	for i, line := range lines {
		switch {
		case strings.HasPrefix(line, "--- a/"):
			diffs, h = append(diffs, fileDiff{file: line[len("--- a/"):]}), nil
		case strings.HasPrefix(line, "+++ b/") && h == nil:
			if n := len(diffs); n == 0 || diffs[n-1].file != line[len("+++ b/"):] {
				return nil, fmt.Errorf("line %d of the diff: another file than before", i+1)
			}
		case strings.HasPrefix(line, "@@ -") && len(diffs) > 0:
			d := &diffs[len(diffs)-1]
			d.hunks = append(d.hunks, hunk{})
			h = &d.hunks[len(d.hunks)-1]
			if _, err := fmt.Sscanf(line, "@@ -%d", &h.line); err != nil {
				return nil, fmt.Errorf("line %d of the diff: %q", i+1, line)
			}
		case h == nil:
			return nil, fmt.Errorf("line %d of the diff: %q", i+1, line)
		case line == "" || line[0] == ' ':
			line = strings.TrimPrefix(line, " ")
			h.before, h.after = append(h.before, line), append(h.after, line)
		case line[0] == '-':
			h.before = append(h.before, line[1:])
		case line[0] == '+':
			h.after = append(h.after, line[1:])
		default:
			return nil, fmt.Errorf("line %d of the diff: %q", i+1, line)
		}
	}
	return diffs, nil
}

// apply gives the text with the hunks applied. What a hunk replaces has to be
// there once, wherever it has moved: a patch that fits twice is as rotten as one
// that fits nowhere.
func (d *fileDiff) apply(text string) (string, error) {
	for i := range d.hunks {
		h := &d.hunks[i]
		// Whole lines: they begin behind a newline.
		before, after := "\n"+strings.Join(h.before, "\n")+"\n", "\n"+strings.Join(h.after, "\n")+"\n"
		text = "\n" + text
		switch n := occurrences(text, before); n {
		case 1:
			text = strings.Replace(text, before, after, 1)[1:]
		case 0:
			return "", fmt.Errorf("%s: what is to be replaced near line %d is no longer there", d.file, h.line)
		default:
			return "", fmt.Errorf("%s: what is to be replaced near line %d is there %d times", d.file, h.line, n)
		}
	}
	return text, nil
}

// occurrences counts, also those that share a line's end.
func occurrences(text, of string) int {
	n := 0
	for {
		i := strings.Index(text, of)
		if i < 0 {
			return n
		}
		n, text = n+1, text[i+1:]
	}
}
