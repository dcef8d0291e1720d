package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
)

// checked runs quorate check.
func checked(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = runCheck(context.Background(), args, &out, &errs)
	return code, out.String(), errs.String()
}

// A scope is explored by the rules and by answers alone, and both say how far they came.
func TestCheckScope(t *testing.T) {
	states := map[string]uint64{}
	for _, judge := range []string{"", "--clients"} {
		args := []string{"--scope", "learner", "--json"}
		if judge != "" {
			args = append(args, judge)
		}
		code, stdout, stderr := checked(args...)
		var s checkSummary
		if err := json.Unmarshal([]byte(stdout), &s); err != nil || code != exitOK {
			t.Fatalf("%v: exit code %d, %v: %s", args, code, err, stderr)
		}
		if len(s.Scopes) != 1 || s.Scopes[0].Name != "learner" || s.Broken || s.Scopes[0].Error != "" || s.States == 0 {
			t.Errorf("%v: %+v", args, s)
		}
		states[judge] = s.States
	}
	if states[""] == states["--clients"] {
		t.Error("who judges makes no difference to what has to be remembered")
	}
}

// What cannot be is refused with exit code 2 and a word that helps; a scope that is given
// up on is no success.
func TestCheckRefuses(t *testing.T) {
	for _, test := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--scope", "nowhere"}, exitUsage, "there are election"},
		{[]string{"--clients", "--figure3"}, exitUsage, "goes with neither"},
		{[]string{"--clients", "--long"}, exitUsage, "goes with neither"},
		{[]string{"--replay", "1E"}, exitUsage, "goes with one --scope"},
		{[]string{"more"}, exitUsage, "nothing follows the flags"},
		{[]string{"--scope", "learner", "--replay", "9E"}, exitUsage, "names no replica"},
		{[]string{"--scope", "election", "--max-states", "1000"}, exitFailed, "too many states"},
	} {
		code, stdout, stderr := checked(test.args...)
		if code != test.code || !strings.Contains(stdout+stderr, test.says) {
			t.Errorf("%v: exit code %d, want %d, and %q in %s%s", test.args, code, test.code, test.says, stdout, stderr)
		}
	}
	if code, stdout, _ := checked("--list"); code != exitOK || !strings.Contains(stdout, "answered (clients)") || !strings.Contains(stdout, "election (quick)") {
		t.Errorf("--list: exit code %d: %s", code, stdout)
	}
	if code, stdout, _ := checked("--clients", "--scope", "learner", "--replay", "1E 2E"); code != exitOK || !strings.Contains(stdout, "timer runs out") {
		t.Errorf("--replay: exit code %d: %s", code, stdout)
	}
}
