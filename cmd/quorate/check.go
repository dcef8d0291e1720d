package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/quorate/quorate/check/explore"
)

const checkHelp = `usage: quorate check [--scope NAME[,NAME...]] [--long] [--json]
       quorate check --list
       quorate check --scope NAME --replay SCHEDULE

Explores small groups of replicas, as they really are, through every order of
deliveries, losses, repetitions, timers, crashes and completed writes, and judges
every state. A scope is a group and the bounds of what happens to it; within them
nothing is left out. What is broken is told by the shortest way to it, as a story
with reasons, and with the command that replays it:

  quorate check                      the quick scopes, a minute or two
  quorate check --long               all scopes, up to an hour, 4 GB
  quorate check --scope figure8      one of them
  quorate check --clients            judged by what clients are answered: is it safe,
                                     and if not, how does a client come to see it?
  quorate check --list               what each scope bounds

The exit code is 0 if all is well, 1 if a property is broken or a scope could not
be explored to its end, 2 for wrong usage.

Flags:
`

// checkSummary is what --json prints.
type checkSummary struct {
	Scopes []checkedScope `json:"scopes"`
	// States and Seconds are the sums.
	States  uint64  `json:"states"`
	Seconds float64 `json:"seconds"`
	Broken  bool    `json:"broken"`
}

type checkedScope struct {
	Name        string  `json:"name"`
	Bound       string  `json:"bound"`
	States      uint64  `json:"states"`
	Transitions uint64  `json:"transitions"`
	Depth       int     `json:"depth"`
	Seconds     float64 `json:"seconds"`
	// Events are those that the real code has run: each in each state of a
	// replica once.
	Events int `json:"events"`
	// Error says why the scope was not explored to its end.
	Error     string         `json:"error,omitempty"`
	Violation *checkedBroken `json:"violation,omitempty"`
}

type checkedBroken struct {
	Property string   `json:"property"`
	Message  string   `json:"message"`
	Steps    int      `json:"steps"`
	Replay   string   `json:"replay"`
	Story    []string `json:"story"`
}

func runCheck(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("quorate check", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), checkHelp)
		flags.PrintDefaults()
	}
	names := flags.String("scope", "", "explore these, by name, with commas between")
	long := flags.Bool("long", false, "explore all scopes, not only the quick ones")
	list := flags.Bool("list", false, "list the scopes")
	asJSON := flags.Bool("json", false, "print the summary as JSON, and no progress")
	replay := flags.String("replay", "", "with one --scope: let this schedule happen and tell the story")
	workers := flags.Int("workers", runtime.GOMAXPROCS(0), "how many explore at once")
	figure3 := flags.Bool("figure3", false, "judge by the five properties of Figure 3 alone, and not by what they rest on")
	clients := flags.Bool("clients", false, "judge by what clients are answered, and go on, beyond the bounds of a scope, until one is answered wrongly")
	most := flags.Int("max-states", 0, "give up on a scope after so many states; 0 for no bound")
	keepGoing := flags.Bool("keep-going", false, "explore the other scopes after one in which a property is broken")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage
	}
	scopes := explore.Scopes(!*long)
	if *clients {
		scopes = explore.ClientScopes()
	}
	if *names != "" {
		scopes = nil
		for name := range strings.SplitSeq(*names, ",") {
			s, err := explore.Named(name)
			if err != nil {
				fmt.Fprintln(stderr, "quorate check:", err)
				return exitUsage
			}
			scopes = append(scopes, s)
		}
	}
	options := explore.Options{Workers: *workers, MaxStates: *most, Figure3: *figure3, Clients: *clients}
	switch {
	case *clients && (*figure3 || *long):
		fmt.Fprintln(stderr, "--clients goes with neither --figure3 nor --long")
		flags.Usage()
		return exitUsage
	case flags.NArg() > 0 || *workers < 1 || *most < 0 || *replay != "" && (*names == "" || len(scopes) != 1):
		fmt.Fprintln(stderr, "--replay goes with one --scope; nothing follows the flags")
		flags.Usage()
		return exitUsage
	case *list:
		return listScopes(stdout)
	case *replay != "":
		return replaySchedule(scopes[0], *replay, options, stdout, stderr)
	}
	c := checker{stdout: stdout, stderr: stderr, json: *asJSON, options: options}
	return c.run(ctx, scopes, *keepGoing)
}

func listScopes(stdout io.Writer) int {
	for _, s := range explore.Scopes(false) {
		quick := ""
		if s.Quick {
			quick = " (quick)"
		}
		fmt.Fprintf(stdout, "%s%s\n  %s\n  %s\n", s.Name, quick, s.About, s.Bound())
	}
	for _, s := range explore.ClientScopes() {
		fmt.Fprintf(stdout, "%s (clients)\n  %s\n  %s\n", s.Name, s.About, s.Bound())
	}
	return exitOK
}

func replaySchedule(scope explore.Scope, schedule string, options explore.Options, stdout, stderr io.Writer) int {
	r, err := explore.Replay(scope, schedule, options)
	if err != nil {
		fmt.Fprintln(stderr, "quorate check:", err)
		return exitUsage
	}
	for _, line := range r.Trace.Story {
		fmt.Fprintln(stdout, line)
	}
	if r.Violation != nil {
		return exitFailed
	}
	return exitOK
}

// checker explores scopes and reports.
type checker struct {
	stdout, stderr io.Writer
	json           bool
	options        explore.Options
	summary        checkSummary
}

func (c *checker) run(ctx context.Context, scopes []explore.Scope, keepGoing bool) int {
	// What is remembered stays; to collect garbage less often saves time.
	debug.SetGCPercent(300)
	failed := false
	for _, scope := range scopes {
		done := c.explore(ctx, scope)
		c.summary.Scopes = append(c.summary.Scopes, done)
		c.summary.States += done.States
		c.summary.Seconds += done.Seconds
		c.summary.Broken = c.summary.Broken || done.Violation != nil
		if done.Violation != nil || done.Error != "" {
			failed = true
			if ctx.Err() != nil || !keepGoing {
				break
			}
		}
	}
	if err := c.report(); err != nil {
		fmt.Fprintln(c.stderr, "quorate check:", err)
		return exitFailed
	}
	if failed {
		return exitFailed
	}
	return exitOK
}

// explore explores one scope.
func (c *checker) explore(ctx context.Context, scope explore.Scope) checkedScope {
	begin := time.Now()
	last := begin
	options := c.options
	if !c.json {
		options.Progress = func(p explore.Progress) {
			if time.Since(last) < 5*time.Second {
				return
			}
			last = time.Now()
			fmt.Fprintf(c.stderr, "%s: %d states, depth %d, %d left of it, %.0f states per second\n",
				scope.Name, p.States, p.Depth, p.Queue, float64(p.States)/time.Since(begin).Seconds())
		}
	}
	r, err := explore.Explore(ctx, scope, options)
	done := checkedScope{
		Name: scope.Name, Bound: scope.Bound(), States: r.States, Transitions: r.Transitions, Depth: r.Depth,
		Seconds: time.Since(begin).Seconds(), Events: r.Events,
	}
	if err != nil {
		done.Error = err.Error()
	}
	if !c.json {
		fmt.Fprintf(c.stderr, "%s: ended with %d states after %.1f s\n", scope.Name, done.States, done.Seconds)
	}
	if r.Violation != nil {
		done.Violation = &checkedBroken{
			Property: r.Violation.Property, Message: r.Violation.Error(), Steps: r.Trace.Steps, Story: r.Trace.Story,
			Replay: fmt.Sprintf("quorate check --scope %s%s --replay '%s'", scope.Name, c.judged(), r.Trace.Schedule),
		}
	}
	return done
}

// judged gives the flags that say who judges.
func (c *checker) judged() string {
	flags := ""
	if c.options.Figure3 {
		flags += " --figure3"
	}
	if c.options.Clients {
		flags += " --clients"
	}
	return flags
}

func (c *checker) report() error {
	s := &c.summary
	if c.json {
		encoder := json.NewEncoder(c.stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(s)
	}
	w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "scope\tstates\ttransitions\tdepth\tevents\tseconds\tverdict\t")
	for _, done := range s.Scopes {
		verdict := "holds"
		switch {
		case done.Violation != nil:
			verdict = done.Violation.Property
		case done.Error != "":
			verdict = "not finished"
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%.1f\t%s\t\n", done.Name, done.States, done.Transitions, done.Depth, done.Events, done.Seconds, verdict)
	}
	fmt.Fprintf(w, "sum\t%d\t\t\t\t%.1f\t\t\n", s.States, s.Seconds)
	if err := w.Flush(); err != nil {
		return err
	}
	for _, done := range s.Scopes {
		if done.Error != "" {
			fmt.Fprintf(c.stdout, "\n%s: %s\n", done.Name, done.Error)
		}
		if v := done.Violation; v != nil {
			fmt.Fprintf(c.stdout, "\n%s: %s\nin %d steps:\n\n", done.Name, v.Message, v.Steps)
			for _, line := range v.Story {
				fmt.Fprintln(c.stdout, line)
			}
			fmt.Fprintf(c.stdout, "\nreplay: %s\n", v.Replay)
		}
	}
	return nil
}
