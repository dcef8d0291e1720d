package options

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// Values are what was configured: the options that were set, by name, checked
// for their type.
type Values struct {
	set map[string]string
	// Warnings are what an operator should be told: options without effect,
	// variables that nothing reads.
	Warnings []string
}

// Read puts together what flags, given by name, and the environment, as from
// os.Environ, say: a flag is stronger than a QUORATE_ variable, and that than an
// ETCD_ one. A configuration file, if one is named, takes the place of both.
//
// The error names everything that is wrong.
func Read(flags map[string]string, environment []string) (*Values, error) {
	v := &Values{set: map[string]string{}}
	variables := map[string]string{}
	for _, entry := range environment {
		name, value, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, "QUORATE_") || strings.HasPrefix(name, "ETCD_") {
			variables[name] = value
		}
	}
	if file, ok := configFile(flags, variables); ok {
		if err := v.readFile(file); err != nil {
			return nil, err
		}
	} else {
		v.readFlags(flags, variables)
	}
	return v, v.judge()
}

func configFile(flags, variables map[string]string) (string, bool) {
	option, _ := Lookup("config-file")
	for _, file := range []string{flags["config-file"], variables[option.Env()[0]], variables[option.Env()[1]]} {
		if file != "" {
			return file, true
		}
	}
	return "", false
}

func (v *Values) readFlags(flags, variables map[string]string) {
	used := map[string]bool{}
	for i := range Table {
		o := &Table[i]
		value, set := flags[o.Name]
		for _, name := range o.Env() {
			fromEnv, inEnv := variables[name]
			used[name] = true
			// As in etcd, an empty variable is one that is not set.
			if !set && inEnv && fromEnv != "" && o.Name != "version" {
				value, set = fromEnv, true
			}
		}
		if set {
			v.set[o.Name] = value
		}
	}
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		if !used[name] {
			v.warn("the environment variable %s is not known and does nothing", name)
		}
	}
}

// judge checks every value and does what the table says about it.
func (v *Values) judge() error {
	var errs []error
	for i := range Table {
		o := &Table[i]
		value, set := v.set[o.Name]
		if !set {
			continue
		}
		if err := o.check(value); err != nil {
			errs = append(errs, err)
			continue
		}
		if o.Verdict == Implemented || o.same(value, o.Default) {
			continue
		}
		if o.Verdict == Refused {
			errs = append(errs, fmt.Errorf("--%s=%s is refused: %s", o.Name, value, o.Why))
			continue
		}
		v.warn("--%s has no effect: %s", o.Name, o.Why)
	}
	return errors.Join(errs...)
}

func (v *Values) warn(format string, args ...any) {
	v.Warnings = append(v.Warnings, fmt.Sprintf(format, args...))
}

// Set reports whether an option was given.
func (v *Values) Set(name string) bool {
	_, ok := v.set[name]
	return ok
}

// Get is an option's value, or its default.
func (v *Values) Get(name string) string {
	if value, ok := v.set[name]; ok {
		return value
	}
	o, ok := Lookup(name)
	if !ok {
		panic("options: no option " + name)
	}
	return o.Default
}

// ArgsOf gives arguments as pflag reads them: etcd's flags may have one dash.
func ArgsOf(args []string) []string {
	out := make([]string, 0, len(args))
	for _, arg := range args {
		if len(arg) > 2 && arg[0] == '-' && arg[1] != '-' {
			name, _, _ := strings.Cut(arg[1:], "=")
			if _, known := Lookup(name); known {
				arg = "-" + arg
			}
		}
		out = append(out, arg)
	}
	return out
}

// readFile reads etcd's configuration file.
func (v *Values) readFile(name string) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("--config-file: %w", err)
	}
	if err := v.readYAML(b); err != nil {
		return fmt.Errorf("--config-file %s: %w", name, err)
	}
	return nil
}
