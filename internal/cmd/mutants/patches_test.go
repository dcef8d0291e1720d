package main

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/quorate/quorate/check/explore"
)

// Every patch applies to the tree as it is, changes it, and leaves Go behind.
// (That it builds, and is caught, make mutants shows.)
func TestPatchesApply(t *testing.T) {
	mutants, err := readMutants(filepath.FromSlash("../../../check/mutants"))
	if err != nil {
		t.Fatal(err)
	}
	if len(mutants) < 40 {
		t.Errorf("%d patches", len(mutants))
	}
	for i := range mutants {
		m := &mutants[i]
		for _, scope := range slices.Concat(m.explore, m.clients) {
			if _, err := explore.Named(scope); err != nil {
				t.Errorf("%s: %v", m.name, err)
			}
		}
		for j := range m.diffs {
			d := &m.diffs[j]
			text, err := os.ReadFile(filepath.Join("../../..", filepath.FromSlash(d.file)))
			if err != nil {
				t.Errorf("%s: %v", m.name, err)
				continue
			}
			got, err := d.apply(string(text))
			switch {
			case err != nil:
				t.Errorf("%s: %v: mend check/mutants/%s.patch, so that it plants the same bug in the code as it is now", m.name, err, m.name)
			case got == string(text):
				t.Errorf("%s: %s: changes nothing", m.name, d.file)
			default:
				if _, err := parser.ParseFile(token.NewFileSet(), d.file, got, parser.SkipObjectResolution); err != nil {
					t.Errorf("%s: %v", m.name, err)
				}
			}
		}
	}
}

func TestApply(t *testing.T) {
	const header = "Bug: b\nRow: R\nJudges: sim\n"
	const diff = "--- a/f.go\n+++ b/f.go\n@@ -2,3 +2,3 @@\n two\n-three\n+3\n four\n"
	for _, test := range []struct{ name, patch, text, want, err string }{
		{"in its place", header + diff, "one\ntwo\nthree\nfour\n", "one\ntwo\n3\nfour\n", ""},
		{"moved", header + diff, "zero\none\none\ntwo\nthree\nfour\n", "zero\none\none\ntwo\n3\nfour\n", ""},
		{"at the beginning", header + diff, "two\nthree\nfour\n", "two\n3\nfour\n", ""},
		{"gone", header + diff, "one\ntwo\n3\nfour\n", "", "no longer there"},
		{"there twice", header + diff, "two\nthree\nfour\ntwo\nthree\nfour\n", "", "2 times"},
		{"part of a line", header + diff, "two\nthree\nfourteen\n", "", "no longer there"},
		{"no header", diff, "", "", "lacks"},
		{"unknown judge", strings.Replace(header, "sim", "nobody", 1) + diff, "", "", "unknown judge"},
		{"tests of no package", strings.Replace(header, "sim", "tests", 1) + diff, "", "", "names packages"},
		{"no diff", header, "", "", "no diff"},
		{"noise", header + diff + "?\n", "", "", "diff"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, err := parseMutant("m", test.patch)
			var got string
			if err == nil {
				got, err = m.diffs[0].apply(test.text)
			}
			switch {
			case test.err == "" && (err != nil || got != test.want):
				t.Errorf("got %q, %v, want %q", got, err, test.want)
			case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
				t.Errorf("got %q, %v, want an error with %q", got, err, test.err)
			}
		})
	}
}

// A sample is spread over all, and is the same each time.
func TestSample(t *testing.T) {
	all := make([]mutant, 10)
	for i := range all {
		all[i].name = string(rune('a' + i))
	}
	var got []string
	for _, m := range sample(all, 3) {
		got = append(got, m.name)
	}
	if want := []string{"a", "d", "g"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if n := len(sample(all, 99)); n != len(all) {
		t.Errorf("a sample of more than there are has %d", n)
	}
}
