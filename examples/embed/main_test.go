package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/quorate/quorate/rsm"
)

func Example() {
	main()
	// Output:
	// to 1
	// be 1
	// or 1
	// not 1
	// to 2
	// be 2
	// times of be: 2
}

// TestReadme: the program that the README shows is this one, which the tests run.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	// The README leaves out the package's comment.
	_, code, found := strings.Cut(string(program), "\npackage main\n")
	if !found {
		t.Fatal("main.go has no package clause")
	}
	if want := "```go\npackage main\n" + code + "```\n"; !strings.Contains(string(readme), want) {
		t.Errorf("README.md does not show examples/embed/main.go as it is:\n%s", want)
	}
}

// TestSnapshot: what is restored is what was counted when the picture was taken.
func TestSnapshot(t *testing.T) {
	w := newWords()
	count := func(word string) {
		if err := w.Apply([]rsm.Entry{{Command: []byte(word)}}); err != nil {
			t.Fatal(err)
		}
	}
	count("b")
	count("a")
	picture, err := w.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	count("a")
	var b bytes.Buffer
	if err := picture.WriteSnapshot(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	if got, want := b.String(), `{"a":1,"b":1}`+"\n"; got != want {
		t.Errorf("snapshot %s, want %s", got, want)
	}
	restored := newWords()
	if err := restored.Restore(&b); err != nil {
		t.Fatal(err)
	}
	if got, err := restored.Read(t.Context(), "a"); got != uint64(1) || err != nil {
		t.Errorf("a was counted %v times (%v), want 1", got, err)
	}
}
