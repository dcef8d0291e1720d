package check

import (
	"strings"
	"testing"

	"github.com/quorate/quorate/raft"
)

// B-20 by the order of the log.
func TestWitness(t *testing.T) {
	write := func(v, was uint64, index raft.Index, call, ret int64) Witnessed {
		return Witnessed{Operation{Input: &RegisterOp{Kind: WriteRegister, Argument: v}, Output: was, Call: call, Return: ret}, index, false}
	}
	read := func(v uint64, index raft.Index, call, ret int64) Witnessed {
		return Witnessed{Operation{Input: &RegisterOp{}, Output: v, Call: call, Return: ret}, index, true}
	}
	unknown := write(1, 0, 1, 0, 9)
	unknown.Unknown, unknown.Output = true, nil
	for _, test := range []struct {
		name    string
		history []Witnessed
		wrong   string
	}{
		{"a read sees the write before it", []Witnessed{read(1, 1, 2, 3), write(1, 0, 1, 0, 1)}, ""},
		{"a read beside a write sees the old", []Witnessed{write(1, 0, 1, 0, 5), read(0, 0, 2, 3)}, ""},
		{"another value than the log has", []Witnessed{write(1, 0, 1, 0, 1), read(2, 1, 2, 3)}, "want 1"},
		{"a stale read", []Witnessed{write(1, 0, 1, 0, 1), read(0, 0, 2, 3)}, "from index 0, after"},
		{"a write before one that was answered", []Witnessed{write(1, 2, 2, 0, 1), write(2, 0, 1, 2, 3)}, "from index 1, after"},
		{"an unknown write that was seen", []Witnessed{unknown, read(1, 1, 2, 3)}, ""},
	} {
		err := Registers().Witness(test.history)
		if test.wrong == "" && err != nil || test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)) {
			t.Errorf("%s: judged %v, want %q", test.name, err, test.wrong)
		}
	}
}
