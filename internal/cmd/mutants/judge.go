package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The judges, as headers name them.
const (
	judgeTests   = "tests"   // rule tests and stories of packages
	judgeExplore = "explore" // the model check
	judgeSim     = "sim"     // the simulator, all properties
	judgeTrace   = "trace"   // the validator of traces, over simulated ones
	judgeClients = "clients" // what clients see, and nothing else: of the simulator, or of the model check
)

// A mutant that makes a judge run for ever is caught, too: after so much processor
// time, or after so long if it only waits. The latter is far more than is needed,
// or a busy machine would find bugs where there are none.
const (
	processorSeconds = 240
	patience         = 6 * time.Minute
)

// verdict is what one judge said of one mutant.
type verdict struct {
	Judge  string  `json:"judge"`
	Caught bool    `json:"caught"`
	By     string  `json:"by,omitempty"`     // the test or the property
	Seeds  uint64  `json:"seeds,omitempty"`  // how many were run
	States uint64  `json:"states,omitempty"` // how many were met
	CPU    float64 `json:"cpu_seconds"`
	Err    string  `json:"error,omitempty"` // it could not judge
}

// bench plants mutants and judges them.
type bench struct {
	root  string // of the tree
	seeds int    // how many each seed judge may run
	temp  string
	// sound are the packages and judges that find no fault with the tree itself.
	sound map[string]error
}

// planted is a mutant in the tree, without a file of the tree being touched: the
// go command is told to read other files in their places.
type planted struct {
	*bench
	dir     string
	overlay string // flag for the go command; empty if nothing is planted
}

func (b *bench) plant(m *mutant) (*planted, error) {
	name := "none"
	if m != nil {
		name = m.name
	}
	p := &planted{bench: b, dir: filepath.Join(b.temp, name)}
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return nil, err
	}
	if m == nil {
		return p, nil
	}
	replace := map[string]string{}
	for i := range m.diffs {
		d := &m.diffs[i]
		original := filepath.Join(b.root, filepath.FromSlash(d.file))
		text, err := os.ReadFile(original)
		if err != nil {
			return nil, err
		}
		mutated, err := d.apply(string(text))
		if err != nil {
			return nil, err
		}
		file := filepath.Join(p.dir, fmt.Sprintf("%d.go", i))
		if err := os.WriteFile(file, []byte(mutated), 0o644); err != nil {
			return nil, err
		}
		replace[original] = file
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return nil, err
	}
	overlay := filepath.Join(p.dir, "overlay.json")
	p.overlay = "-overlay=" + overlay
	return p, os.WriteFile(overlay, text, 0o644)
}

func (p *planted) remove() error { return os.RemoveAll(p.dir) }

// build builds a package, or its tests.
func (p *planted) build(ctx context.Context, tests bool, pkg string) (string, error) {
	binary := filepath.Join(p.dir, strings.NewReplacer("/", "_", ".", "").Replace(pkg)+".bin")
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	args := []string{"build"}
	if tests {
		args = []string{"test", "-c"}
	}
	if p.overlay != "" {
		args = append(args, p.overlay)
	}
	// Without tables for debuggers it links in half the time.
	cmd := exec.CommandContext(ctx, "go", append(args, "-ldflags=-s -w", "-o", binary, pkg)...)
	cmd.Dir = p.root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s does not build: %w\n%s", pkg, err, out)
	}
	return binary, nil
}

// run runs a binary to its end, and tells how much processor time it took.
func run(ctx context.Context, dir, binary string, args ...string) (out string, cpu float64, failed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	if sh, err := exec.LookPath("sh"); err == nil {
		limited := fmt.Sprintf(`ulimit -t %d; exec "$0" "$@"`, processorSeconds)
		cmd = exec.CommandContext(ctx, sh, append([]string{"-c", limited, binary}, args...)...)
	}
	cmd.Dir = dir
	// What tests leave in temporary directories goes with the mutant.
	cmd.Env = append(os.Environ(), "TMPDIR="+filepath.Dir(binary))
	var buf bytes.Buffer
	cmd.Stdout, cmd.Stderr = &buf, &buf
	err = cmd.Run()
	if s := cmd.ProcessState; s != nil {
		cpu = (s.UserTime() + s.SystemTime()).Seconds()
	}
	var exit *exec.ExitError
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return buf.String() + "\ndoes not end\n", cpu, true, nil
	case ctx.Err() != nil:
		return "", cpu, false, ctx.Err()
	case errors.As(err, &exit):
		return buf.String(), cpu, true, nil
	}
	return buf.String(), cpu, false, err
}

// judge lets one judge look at what is planted.
func (p *planted) judge(ctx context.Context, judge string, m *mutant) verdict {
	var v verdict
	switch scopes := m.scopes(judge); {
	case judge == judgeTests:
		v = p.runTests(ctx, m.tests)
	case len(scopes) > 0:
		v = p.runExplore(ctx, judge, scopes)
	default:
		v = p.runSeeds(ctx, judge, m.machine)
	}
	v.Judge = judge
	return v
}

// runTests runs the tests of packages until one fails.
func (p *planted) runTests(ctx context.Context, packages []string) (v verdict) {
	for _, pkg := range packages {
		if err := p.sound[pkg]; err != nil {
			v.Err = fmt.Sprintf("%s fails without a planted bug: %v", pkg, err)
			return v
		}
		binary, err := p.build(ctx, true, pkg)
		if err != nil {
			v.Err = err.Error()
			return v
		}
		dir := filepath.Join(p.root, filepath.FromSlash(pkg))
		out, cpu, failed, err := run(ctx, dir, binary, "-test.failfast", "-test.timeout="+patience.String())
		v.CPU += cpu
		if err != nil {
			v.Err = err.Error()
			return v
		}
		if failed {
			v.Caught, v.By = true, failedTest(out)
			return v
		}
	}
	return v
}

var (
	failLine  = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)
	panicLine = regexp.MustCompile(`(?m)^panic: (.*)$`)
	testFrame = regexp.MustCompile(`(?m)\.(Test\w+)(\.func[\d.]+)?\(`)
	cited     = regexp.MustCompile(`\b((?:EL|RP|CM|PS|MB|SN|RD|LT|FC|SF|B)-\d+)\b`)
)

// failedTest names the first test that failed.
func failedTest(out string) string {
	if m := failLine.FindAllStringSubmatch(out, -1); m != nil {
		// Of a test and its subtests, the deepest tells most.
		name := m[0][1]
		for _, more := range m {
			if strings.HasPrefix(more[1], name+"/") {
				name = more[1]
				break
			}
		}
		return name
	}
	if m := testFrame.FindStringSubmatch(out); m != nil && panicLine.MatchString(out) {
		return m[1]
	}
	if m := panicLine.FindStringSubmatch(out); m != nil {
		return "panic: " + m[1]
	}
	if strings.Contains(out, "does not end") {
		return "does not end"
	}
	return "a test"
}

// seedsCommand runs seeds and scopes, with what is planted in it.
const seedsCommand = "./internal/cmd/mutants/seeds"

// seedsReport is what the seeds command prints.
type seedsReport struct {
	Seeds  uint64 `json:"seeds"`
	States uint64 `json:"states"`
	Failed uint64 `json:"failed"`
	Error  string `json:"error"`
}

// runSeeds runs seeds of the simulator until one fails.
func (p *planted) runSeeds(ctx context.Context, judge, machine string) (v verdict) {
	if err := p.sound[at(judge, machine)]; err != nil {
		v.Err = fmt.Sprintf("%s finds fault without a planted bug: %v", at(judge, machine), err)
		return v
	}
	v = p.ask(ctx, "-seeds", fmt.Sprint(p.seeds), "-judge", judge, "-machine", machine)
	if v.Caught && machine != "" && !cited.MatchString(v.By) {
		v.By = "the " + machine // as its judges tell values, and no row
	}
	return v
}

// ask runs the seeds command.
func (p *planted) ask(ctx context.Context, args ...string) (v verdict) {
	binary, err := p.build(ctx, false, seedsCommand)
	if err != nil {
		v.Err = err.Error()
		return v
	}
	out, cpu, failed, err := run(ctx, p.root, binary, args...)
	v.CPU = cpu
	if err != nil {
		v.Err = err.Error()
		return v
	}
	var report seedsReport
	if line := lastLine(out); json.Unmarshal([]byte(line), &report) != nil {
		if m := panicLine.FindStringSubmatch(out); m != nil && failed {
			report.Error = "panic: " + m[1]
		} else if strings.Contains(out, "does not end") {
			report.Error = "does not end"
		} else {
			v.Err = "the seeds command said " + out
			return v
		}
	}
	v.Seeds, v.States, v.Caught = report.Seeds, report.States, report.Error != ""
	if v.Caught {
		v.By = property(report.Error)
	}
	return v
}

func lastLine(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return lines[len(lines)-1]
}

// property finds in an error which property was broken.
func property(err string) string {
	if m := cited.FindStringSubmatch(err); m != nil {
		return m[1]
	}
	if i := strings.LastIndex(err, ": "); i >= 0 {
		err = err[i+2:]
	}
	if len(err) > 60 {
		err = err[:60] + "..."
	}
	return err
}

// runExplore explores scopes of the model check, for that judge, until one fails.
func (p *planted) runExplore(ctx context.Context, judge string, scopes []string) verdict {
	for _, scope := range scopes {
		if err := p.sound[at(judge, scope)]; err != nil {
			return verdict{Err: fmt.Sprintf("%s: %v", at(judge, scope), err)}
		}
	}
	return p.ask(ctx, "-judge", judge, "-scopes", strings.Join(scopes, ","))
}

// at names a judge at a scope of the model check, or over a machine.
func at(judge, what string) string { return strings.TrimSuffix(judge+" at "+what, " at ") }

// baseline finds out which judges find no fault with the tree as it is: who does
// cannot be asked about a planted bug.
func (b *bench) baseline(ctx context.Context, mutants []mutant, workers int, progress func(string, verdict)) error {
	p, err := b.plant(nil)
	if err != nil {
		return err
	}
	b.sound = map[string]error{}
	asked := map[string]func() verdict{}
	for i := range mutants {
		m := &mutants[i]
		for _, judge := range m.judges {
			switch scopes := m.scopes(judge); {
			case judge == judgeTests:
				for _, pkg := range m.tests {
					asked[pkg] = func() verdict { return p.runTests(ctx, []string{pkg}) }
				}
			case len(scopes) > 0:
				for _, scope := range scopes {
					asked[at(judge, scope)] = func() verdict { return p.runExplore(ctx, judge, []string{scope}) }
				}
			default:
				asked[at(judge, m.machine)] = func() verdict { return p.runSeeds(ctx, judge, m.machine) }
			}
		}
	}
	// What all of them are built with, once and not by each at the same time.
	if _, err := p.build(ctx, false, seedsCommand); err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(asked))
	verdicts := make([]verdict, len(names))
	var next atomic.Int64
	var mu sync.Mutex // of progress
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(names)) && ctx.Err() == nil; i = next.Add(1) - 1 {
				verdicts[i] = asked[names[i]]()
				mu.Lock()
				progress(names[i], verdicts[i])
				mu.Unlock()
			}
		})
	}
	running.Wait()
	for i, name := range names {
		if v := &verdicts[i]; v.Caught {
			b.sound[name] = errors.New(v.By)
		} else if v.Err != "" {
			b.sound[name] = errors.New(v.Err)
		}
	}
	return errors.Join(ctx.Err(), p.remove())
}
