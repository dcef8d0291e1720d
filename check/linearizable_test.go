package check

import (
	"strings"
	"testing"
	"time"
)

// B-20 by small histories of one register.
func TestLinearizable(t *testing.T) {
	write := func(v, was uint64, call, ret int64) RegisterOp {
		return RegisterOp{Kind: WriteRegister, Argument: v, Result: was, Call: call, Return: ret}
	}
	read := func(v uint64, call, ret int64) RegisterOp {
		return RegisterOp{Kind: ReadRegister, Result: v, Call: call, Return: ret}
	}
	swap := func(from, to, done uint64, call, ret int64) RegisterOp {
		return RegisterOp{Kind: CompareAndSwap, Expected: from, Argument: to, Result: done, Call: call, Return: ret}
	}
	unknown := func(op RegisterOp) RegisterOp {
		op.Unknown = true
		return op
	}
	for _, test := range []struct {
		name    string
		history []RegisterOp
		ok      bool
	}{
		{"reads see the write before them", []RegisterOp{write(1, 0, 0, 1), read(1, 2, 3)}, true},
		{"a stale read", []RegisterOp{write(1, 0, 0, 1), read(0, 2, 3)}, false},
		{"a read beside the write may see either", []RegisterOp{write(1, 0, 0, 9), read(0, 2, 3), read(1, 4, 5)}, true},
		{"but not the new and then the old", []RegisterOp{write(1, 0, 0, 9), read(1, 2, 3), read(0, 4, 5)}, false},
		{"one write lost", []RegisterOp{write(1, 0, 0, 1), write(2, 0, 2, 3)}, false},
		{"an unknown write seen", []RegisterOp{unknown(write(1, 0, 0, Never)), read(1, 2, 3)}, true},
		{"an unknown write not seen", []RegisterOp{unknown(write(1, 0, 0, Never)), read(0, 2, 3)}, true},
		{"an unknown write seen and then not", []RegisterOp{unknown(write(1, 0, 0, Never)), read(1, 2, 3), read(0, 4, 5)}, false},
		{"an unknown write that was done by then", []RegisterOp{unknown(write(1, 0, 0, 1)), read(0, 2, 3)}, false},
		{"two swaps from one value", []RegisterOp{swap(0, 1, 1, 0, 1), swap(0, 2, 1, 2, 3)}, false},
		{"a swap refused", []RegisterOp{swap(0, 1, 1, 0, 1), swap(0, 2, 0, 2, 3), read(1, 4, 5)}, true},
		{"an append done twice", []RegisterOp{
			{Kind: AppendRegister, Argument: 7, Result: Append(0, 7), Call: 0, Return: 1},
			read(Append(Append(0, 7), 7), 2, 3),
		}, false},
		{"registers are independent", []RegisterOp{write(1, 0, 0, 1), {Key: 1, Kind: ReadRegister, Call: 2, Return: 3}}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := Linearizable(test.history, time.Minute)
			if (err == nil) != test.ok {
				t.Fatalf("judged %v", err)
			}
			if err != nil && !strings.Contains(err.Error(), "B-20") {
				t.Errorf("%v does not name the property", err)
			}
		})
	}
}
