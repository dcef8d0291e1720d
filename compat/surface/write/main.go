// Command write writes docs/etcd-compatibility.md anew.
package main

import (
	"fmt"
	"os"

	"github.com/quorate/quorate/compat/surface"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("write: name the file to write")
	}
	text, err := surface.Markdown()
	if err != nil {
		return err
	}
	return os.WriteFile(args[0], []byte(text), 0o644)
}
