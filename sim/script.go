package sim

import (
	"fmt"
	"strconv"
	"strings"
)

// A Script is a run written down: what the seed decides besides the faults, and
// the faults one by one. A line of its text is empty, a comment after #, or one of
//
//	seed N              everything but the faults is drawn from it
//	heavy               Config.Heavy
//	nodes N             instead of what the seed draws; groups and clients likewise
//	at TIME KIND ...    a Fault
//
// Any run gives its script (Result.Script); a shorter one that fails for the same
// reason is found by Shrink, and makes a test by itself.
type Script struct {
	Seed   uint64
	Heavy  bool
	Nodes  int
	Groups int
	// Clients is how many there are.
	Clients int
	Steps   []Fault
}

// Run runs the script. What cfg says of seed, size and faults does not count.
func (s *Script) Run(cfg Config) Result {
	cfg.Seed, cfg.Heavy, cfg.Voters, cfg.Groups, cfg.Clients, cfg.Script = s.Seed, s.Heavy, s.Nodes, s.Groups, s.Clients, s
	return Run(cfg)
}

// String is the script's text.
func (s *Script) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d\n", s.Seed)
	if s.Heavy {
		b.WriteString("heavy\n")
	}
	for _, line := range []struct {
		key string
		n   int
	}{{"nodes", s.Nodes}, {"groups", s.Groups}, {"clients", s.Clients}} {
		if line.n > 0 {
			fmt.Fprintf(&b, "%s %d\n", line.key, line.n)
		}
	}
	for i := range s.Steps {
		fmt.Fprintln(&b, s.Steps[i])
	}
	return b.String()
}

// ParseScript reads a script's text.
func ParseScript(text string) (*Script, error) {
	s := &Script{}
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if err := s.parseLine(line); err != nil {
			return nil, fmt.Errorf("script, line %d: %w", i+1, err)
		}
	}
	return s, nil
}

func (s *Script) parseLine(line string) (err error) {
	key, value, _ := strings.Cut(line, " ")
	count := func(to *int, largest int) {
		if *to, err = strconv.Atoi(value); err == nil && (*to < 1 || *to > largest) {
			err = fmt.Errorf("%s %d: want 1 to %d", key, *to, largest)
		}
	}
	switch key {
	case "seed":
		s.Seed, err = strconv.ParseUint(value, 10, 64)
	case "heavy":
		s.Heavy = true
	case "nodes":
		count(&s.Nodes, 9)
	case "groups":
		count(&s.Groups, 16)
	case "clients":
		count(&s.Clients, 64)
	case "at":
		var f Fault
		f, err = parseFault(line)
		s.Steps = append(s.Steps, f)
	default:
		err = fmt.Errorf("%q begins no line of a script", key)
	}
	return err
}
