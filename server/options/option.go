// Package options is how a server is configured from outside: etcd's flags,
// environment variables and configuration file. It decides for each of etcd's
// options whether Quorate does what it says, ignores it with a warning, or
// refuses to start; it refuses to guess.
package options

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Verdict is what becomes of an option.
type Verdict int

// The verdicts.
const (
	// Implemented: the server does what the option says.
	Implemented Verdict = iota
	// NoEffect: nothing depends on it here; a value that asks for something is
	// warned about.
	NoEffect
	// Refused: to go on without what the value asks for could harm, so the server
	// does not start. The default is accepted.
	Refused
)

// String names the verdict.
func (v Verdict) String() string {
	return [...]string{"implemented", "no effect", "refused"}[v]
}

// Type is the form of an option's value.
type Type int

// The types. Milliseconds are a whole number on the command line and nanoseconds
// in a configuration file, as in etcd.
const (
	Text Type = iota
	Bool
	Integer
	Duration
	List
)

// Option is one option of etcd 3.7, or of Quorate's own.
type Option struct {
	Name    string
	Type    Type
	Default string
	Verdict Verdict
	// Why says why the option has no effect or is refused, as half a sentence.
	Why string
	// Usage is for --help; empty for what is not implemented.
	Usage string
	// Own: Quorate's, not etcd's.
	Own bool
}

// Env are the names of the option's environment variables, the stronger first.
func (o *Option) Env() []string {
	name := strings.ToUpper(strings.ReplaceAll(o.Name, "-", "_"))
	if o.Own {
		return []string{"QUORATE_" + name}
	}
	return []string{"QUORATE_" + name, "ETCD_" + name}
}

// check reports a value that is not of the option's type.
func (o *Option) check(value string) error {
	var err error
	what := ""
	switch o.Type {
	case Bool:
		_, err = strconv.ParseBool(value)
		what = "true or false"
	case Integer:
		_, err = strconv.ParseInt(value, 10, 64)
		what = "a whole number"
	case Duration:
		_, err = time.ParseDuration(value)
		what = `a duration such as "10s" or "5m"`
	}
	if err != nil {
		return fmt.Errorf("--%s: %q is not %s", o.Name, value, what)
	}
	return nil
}

// same reports whether two values of the option mean the same.
func (o *Option) same(a, b string) bool {
	if a == b {
		return true
	}
	switch o.Type {
	case Bool:
		x, errX := strconv.ParseBool(a)
		y, errY := strconv.ParseBool(b)
		return errX == nil && errY == nil && x == y
	case Duration:
		x, errX := time.ParseDuration(a)
		y, errY := time.ParseDuration(b)
		return errX == nil && errY == nil && x == y
	case List:
		return slices.Equal(split(a), split(b))
	}
	return false
}

// split gives the parts of a list.
func split(list string) []string {
	var parts []string
	for part := range strings.SplitSeq(list, ",") {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}

// Lookup finds an option by its name.
func Lookup(name string) (*Option, bool) {
	i, found := byName[name]
	if !found {
		return nil, false
	}
	return &Table[i], true
}

var byName = func() map[string]int {
	m := make(map[string]int, len(Table))
	for i := range Table {
		m[Table[i].Name] = i
	}
	return m
}()
