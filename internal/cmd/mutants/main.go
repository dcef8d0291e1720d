// Command mutants plants the bugs of check/mutants, one at a time, and lets the
// tests, the model check, the simulator and the validator of traces look for
// them. A bug that nobody finds shows where they are too weak.
//
//	go run ./internal/cmd/mutants
//
// It is run from the root of the tree, which it does not change: the go command
// reads the mutated files in the place of the real ones.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const usage = `usage: mutants [flags]

Plants each bug of check/mutants into the tree, in the memory of the go command
only, and lets those judges look for it that its header names:

  tests    rule tests and stories of the packages that the bug is in
  explore  the model check, at the scopes that the header names
  sim      seeds of the simulator, all properties checked
  trace    traces of simulated nodes, read by the validator
  clients  seeds of the simulator, judged by what clients see alone

First it makes sure that they find no fault with the tree as it is. The exit code
is 0 if each judge found each bug that it has to find, 1 if one did not, 2 for
wrong usage.

Flags:
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(command(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("mutants", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
	}
	only := flags.String("only", "", "only the bugs whose name matches this regular expression")
	count := flags.Int("sample", 0, "only so many, spread over all")
	judges := flags.String("judges", "", "only these judges, separated by commas")
	all := flags.Bool("all", false, "ask all judges, also those that a bug's header does not name; they need not find it")
	seeds := flags.Int("seeds", 400, "how many seeds of the simulator may be run for one bug")
	workers := flags.Int("workers", runtime.GOMAXPROCS(0), "bugs that are looked for at once")
	asJSON := flags.Bool("json", false, "print the table as JSON")
	from := flags.String("from", "", "judge nothing anew: print the table that -json once printed into this file")
	document := flags.String("write", "", "write the table into this file too, between its marks")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0 || *workers < 1 || *seeds < 1:
		flags.Usage()
		return 2
	}
	filter, err := regexp.Compile(*only)
	if err != nil {
		fmt.Fprintln(stderr, "mutants: -only:", err)
		return 2
	}
	mutants, err := readMutants(filepath.FromSlash("check/mutants"))
	if err != nil {
		fmt.Fprintln(stderr, "mutants:", err)
		return 1
	}
	mutants = chosen(mutants, filter, *judges, *all)
	if *count > 0 {
		mutants = sample(mutants, *count)
	}
	began := time.Now()
	t := table{Seeds: *seeds}
	if *from != "" {
		err = t.read(*from, mutants)
	} else {
		t.Results, err = judgeAll(ctx, mutants, *seeds, *workers, stderr)
		t.Seconds = time.Since(began).Seconds()
	}
	if err != nil {
		fmt.Fprintln(stderr, "mutants:", err)
		return 1
	}
	if *asJSON {
		encoder := json.NewEncoder(stdout)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(&t)
	} else {
		err = t.text(stdout)
	}
	if err == nil && *document != "" {
		err = t.write(*document)
	}
	if err != nil {
		fmt.Fprintln(stderr, "mutants:", err)
		return 1
	}
	if t.survivors() > 0 {
		return 1
	}
	return 0
}

// chosen gives the mutants that match, with the judges that are asked.
func chosen(mutants []mutant, filter *regexp.Regexp, judges string, all bool) []mutant {
	var kept []mutant
	for _, m := range mutants {
		if !filter.MatchString(m.name) {
			continue
		}
		m.needed = m.judges
		if all {
			m.judges = nil
			for _, judge := range allJudges {
				if judge == judgeTests && len(m.tests) == 0 || judge == judgeExplore && len(m.explore) == 0 {
					continue
				}
				m.judges = append(m.judges, judge)
			}
		}
		if judges != "" {
			var some []string
			for _, judge := range m.judges {
				if strings.Contains(","+judges+",", ","+judge+",") {
					some = append(some, judge)
				}
			}
			m.judges = some
		}
		if len(m.judges) > 0 {
			kept = append(kept, m)
		}
	}
	return kept
}

// sample gives n of the mutants, the same each time.
func sample(mutants []mutant, n int) []mutant {
	if n >= len(mutants) {
		return mutants
	}
	var some []mutant
	for i := range n {
		some = append(some, mutants[i*len(mutants)/n])
	}
	return some
}

// judgeAll judges mutants, several at once.
func judgeAll(ctx context.Context, mutants []mutant, seeds, workers int, progress io.Writer) ([]result, error) {
	root, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	temp, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp)
	b := &bench{root: root, seeds: seeds, temp: temp}
	err = b.baseline(ctx, mutants, workers, func(name string, v verdict) {
		switch {
		case v.Caught || v.Err != "":
			fmt.Fprintf(progress, "%s finds fault with the tree as it is: %s%s\n", name, v.By, v.Err)
		default:
			fmt.Fprintf(progress, "%s finds no fault with the tree as it is, %.1f s\n", name, v.CPU)
		}
	})
	if err != nil {
		return nil, err
	}
	results := make([]result, len(mutants))
	var mu sync.Mutex
	next, done := 0, 0
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for ctx.Err() == nil {
				mu.Lock()
				i := next
				next++
				mu.Unlock()
				if i >= len(mutants) {
					return
				}
				results[i] = b.judgeOne(ctx, &mutants[i])
				mu.Lock()
				done++
				fmt.Fprintf(progress, "%d of %d: %s\n", done, len(mutants), results[i].line())
				mu.Unlock()
			}
		})
	}
	running.Wait()
	return results, ctx.Err()
}

func (b *bench) judgeOne(ctx context.Context, m *mutant) result {
	r := result{Name: m.name, Bug: m.bug, Row: m.row, Origin: m.origin, Needed: m.needed}
	p, err := b.plant(m)
	if err != nil {
		r.Err = err.Error()
		return r
	}
	for _, judge := range m.judges {
		r.Verdicts = append(r.Verdicts, p.judge(ctx, judge, m))
	}
	if err := p.remove(); err != nil {
		r.Err = err.Error()
	}
	return r
}
