package sim

import (
	"strings"
	"time"
)

// Shrink looks for a short script that fails as a run did: for the same property.
// It leaves out faults, then shortens what is left, then takes nodes' load away,
// and runs each attempt. The attempts are bounded; whoever wants to stop earlier
// lets progress, which is told each script that still fails, give false.
//
// It gives nil if the script that the run wrote does not fail by itself, which
// would be a bug of the simulator.
func Shrink(cfg Config, failed *Result, progress func(s *Script, attempts int) bool) (*Script, *Result) {
	if failed.Err == nil || failed.Script == nil {
		return nil, nil
	}
	cfg.Trace = nil
	cfg.noSearch = !strings.HasPrefix(property(failed.Err), "B-20")
	k := shrinking{cfg: cfg, property: property(failed.Err), progress: progress}
	if !k.try(*failed.Script) {
		return nil, nil
	}
	for before := -1; before != k.size() && k.more(); {
		before = k.size()
		k.leaveOut()
		k.simplify()
	}
	return k.script, k.result
}

// shrinkAttempts bounds the runs of one Shrink.
const shrinkAttempts = 600

type shrinking struct {
	cfg      Config
	property string
	progress func(*Script, int) bool
	script   *Script // the shortest that fails
	result   *Result
	attempts int
	stopped  bool
}

// property is what an error says is broken, without where and when.
func property(err error) string {
	text := err.Error()
	for _, part := range strings.Split(text, ": ") {
		if strings.HasPrefix(part, "B-") || strings.HasPrefix(part, "PS-") {
			return part
		}
	}
	// "at 1.2s, event 345: node 1 cannot ...": the words, without numbers.
	_, text, _ = strings.Cut(text, ": ")
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r < 'A' || r > 'z' }), " ")
}

func (k *shrinking) more() bool { return !k.stopped && k.attempts < shrinkAttempts }

func (k *shrinking) size() int {
	s := k.script
	return len(s.Steps)*100 + s.Clients + s.Groups
}

// try runs a script and takes it if it fails for the same reason.
func (k *shrinking) try(s Script) bool {
	if !k.more() {
		return false
	}
	k.attempts++
	r := s.Run(k.cfg)
	if r.Err == nil || property(r.Err) != k.property {
		return false
	}
	// What comes after the failure does not matter.
	for len(s.Steps) > 0 && s.Steps[len(s.Steps)-1].At > r.Virtual {
		s.Steps = s.Steps[:len(s.Steps)-1]
	}
	k.script, k.result = &s, &r
	if k.progress != nil && !k.progress(&s, k.attempts) {
		k.stopped = true
	}
	return true
}

// leaveOut tries without half of the steps, a quarter, ... and each.
func (k *shrinking) leaveOut() {
	for part := (len(k.script.Steps) + 1) / 2; part > 0 && k.more(); part /= 2 {
		for from := 0; from < len(k.script.Steps) && k.more(); {
			s := *k.script
			s.Steps = append(append([]Fault(nil), s.Steps[:from]...), s.Steps[min(len(s.Steps), from+part):]...)
			if !k.try(s) {
				from += part
			}
		}
	}
}

// simplify tries with fewer groups and clients, and with shorter and plainer
// faults.
func (k *shrinking) simplify() {
	for clients := 1; clients < 8 && k.more(); clients *= 2 {
		if s := *k.script; s.Clients == 0 || s.Clients > clients {
			s.Clients = clients
			if k.try(s) {
				break
			}
		}
	}
	if s := *k.script; s.Groups != 1 {
		s.Groups = 1
		k.try(s)
	}
	for i := 0; i < len(k.script.Steps) && k.more(); i++ {
		for _, change := range []func(f *Fault) bool{
			func(f *Fault) bool { f.At = f.At.Truncate(time.Millisecond); return true },
			func(f *Fault) bool { f.For = f.For.Truncate(10 * time.Millisecond); return f.For > 0 },
			func(f *Fault) bool { f.Back = f.Back.Truncate(10 * time.Millisecond); return f.Back > 0 },
			func(f *Fault) bool { f.Draw = 0; return true },
			func(f *Fault) bool { f.Data, f.Entries = 0, 0; return true },
		} {
			if i >= len(k.script.Steps) {
				return
			}
			s := *k.script
			s.Steps = append([]Fault(nil), s.Steps...)
			if before := s.Steps[i]; change(&s.Steps[i]) && s.Steps[i] != before {
				k.try(s)
			}
		}
	}
}
