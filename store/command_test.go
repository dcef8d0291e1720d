package store

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/quorate/quorate/rsm"
)

func sampleCommands() []Command {
	put := &PutRequest{Key: []byte("k"), Value: []byte("v"), Lease: -7, PrevKV: true, IgnoreLease: true}
	del := &DeleteRangeRequest{Key: []byte("a"), RangeEnd: []byte{0}, PrevKV: true}
	rng := &RangeRequest{
		Key: []byte("a"), RangeEnd: []byte("b"), Limit: 3, Revision: 9, SortOrder: SortDescend, SortTarget: SortByValue,
		KeysOnly: true, MinModRevision: 1, MaxCreateRevision: math.MaxInt64,
	}
	return []Command{
		put, del,
		&PutRequest{Key: []byte("k"), IgnoreValue: true},
		&TxnRequest{},
		&TxnRequest{
			Compare: []Compare{
				{Result: CompareLess, Target: CompareValue, Key: []byte("k"), Value: []byte("x")},
				{Result: -5, Target: 99, Key: []byte("k"), RangeEnd: []byte("l"), Number: math.MinInt64},
			},
			Success: []RequestOp{{Range: rng}, {Put: put}, {DeleteRange: del}, {Txn: &TxnRequest{
				Failure: []RequestOp{{Range: &RangeRequest{Key: []byte("z"), CountOnly: true}}},
			}}},
		},
		&CompactRequest{Revision: -1},
		&LeaseGrantRequest{ID: 1, TTL: 60},
		&LeaseRevokeRequest{ID: math.MaxInt64}, &LeaseRevokeRequest{ID: 1, Term: math.MaxUint64},
		&LeaseCheckpointRequest{Checkpoints: []LeaseCheckpoint{{1, 2}, {3, 4}}},
		&LeaseCheckpointRequest{Checkpoints: []LeaseCheckpoint{{1, 2}}, Term: 9}, &LeaseCheckpointRequest{Term: 9},
		&LeaseRenewRequest{},
		&LeaseRenewRequest{IDs: []int64{1, 200, -3}},
		&AlarmRequest{Action: AlarmActivate, Member: math.MaxUint64, Alarm: AlarmNoSpace},
		&PublishRequest{Member: Member{ID: 1, Name: "n1", ClientURLs: []string{"http://a", ""}}},
		&CheckRequest{}, &CheckRequest{Sample: 7, Member: 1 << 60, Hash: 1<<64 - 1},
	}
}

func TestCommandRoundTrip(t *testing.T) {
	for _, cmd := range sampleCommands() {
		b := AppendCommand(nil, cmd)
		got, err := DecodeCommand(b)
		if err != nil {
			t.Errorf("%T: %v", cmd, err)
			continue
		}
		if !reflect.DeepEqual(got, cmd) {
			t.Errorf("%T: got %+v, want %+v", cmd, got, cmd)
		}
		for n := range b {
			if _, err := DecodeCommand(b[:n]); err == nil {
				t.Errorf("%T: the first %d of %d bytes decode", cmd, n, len(b))
			}
		}
		if _, err := DecodeCommand(append(b, 0)); !errors.Is(err, ErrBadCommand) {
			t.Errorf("%T: got %v with a byte too many, want ErrBadCommand", cmd, err)
		}
	}
}

// TestCommandOfNewerVersion: a program that does not know a version stops
// instead of passing over it.
func TestCommandOfNewerVersion(t *testing.T) {
	b := AppendCommand(nil, &CompactRequest{Revision: 1})
	b[0]++
	if _, err := DecodeCommand(b); !errors.Is(err, ErrUnknownVersion) {
		t.Errorf("got %v, want ErrUnknownVersion", err)
	}
}

func TestCommandDepthIsBounded(t *testing.T) {
	nest := func(n int) []byte {
		txn := &TxnRequest{}
		for range n - 1 {
			txn = &TxnRequest{Success: []RequestOp{{Txn: txn}}}
		}
		return AppendCommand(nil, txn)
	}
	if _, err := DecodeCommand(nest(maxTxnDepth)); err != nil {
		t.Errorf("depth %d: %v", maxTxnDepth, err)
	}
	if _, err := DecodeCommand(nest(maxTxnDepth + 1)); !errors.Is(err, ErrBadCommand) {
		t.Errorf("depth %d: got %v, want ErrBadCommand", maxTxnDepth+1, err)
	}
}

// FuzzDecodeCommand: any bytes give a command that encodes back to them, or one
// of our errors.
func FuzzDecodeCommand(f *testing.F) {
	for _, cmd := range sampleCommands() {
		f.Add(AppendCommand(nil, cmd))
	}
	f.Add([]byte{1, byte(kindTxn), 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		cmd, err := DecodeCommand(b)
		if err != nil {
			if !errors.Is(err, ErrBadCommand) && !errors.Is(err, ErrUnknownVersion) {
				t.Fatalf("got %v, which is none of ours", err)
			}
			return
		}
		if again := AppendCommand(nil, cmd); !bytes.Equal(again, b) {
			t.Fatalf("%x decodes to %+v, which encodes to %x", b, cmd, again)
		}
	})
}

func sampleResults() map[Command]Response {
	kv := KeyValue{Key: []byte("k"), Value: []byte("v"), CreateRevision: 2, ModRevision: 5, Version: 3, Lease: 9}
	return map[Command]Response{
		&PutRequest{}:             &PutResponse{Revision: 7, PrevKV: &kv},
		&DeleteRangeRequest{}:     &DeleteRangeResponse{Revision: 7, Deleted: 2, PrevKVs: []KeyValue{kv, {Key: []byte("l")}}},
		&LeaseGrantRequest{}:      &LeaseGrantResponse{Revision: 7, ID: 8, TTL: 60},
		&LeaseRevokeRequest{}:     &LeaseRevokeResponse{Revision: 7},
		&LeaseRenewRequest{}:      &LeaseRenewResponse{Revision: 7},
		&LeaseCheckpointRequest{}: &LeaseRenewResponse{Revision: 7},
		&CompactRequest{}:         &CompactResponse{Revision: 7},
		&PublishRequest{}:         &PublishResponse{Revision: 7},
		&CheckRequest{}:           &CheckResponse{Revision: 7},
		&AlarmRequest{}:           &AlarmResponse{Revision: 7, Alarms: []Alarm{{1, AlarmNoSpace}, {2, AlarmCorrupt}}},
		&TxnRequest{}: &TxnResponse{Revision: 7, Succeeded: true, Responses: []ResponseOp{
			{Range: &RangeResponse{Revision: 6, KVs: []KeyValue{kv}, More: true, Count: 3}},
			{Put: &PutResponse{Revision: 7, PrevKV: &kv}},
			{Put: &PutResponse{Revision: 7}},
			{DeleteRange: &DeleteRangeResponse{Revision: 7, Deleted: 1, PrevKVs: []KeyValue{kv}}},
			{Txn: &TxnResponse{Responses: []ResponseOp{{Put: &PutResponse{Revision: 7}}}}},
		}},
	}
}

func resultOf(resp Response) rsm.Result {
	r := rsm.Result{Value: 7}
	if d, ok := resp.(interface{ appendData([]byte) []byte }); ok {
		r.Data = d.appendData(nil)
	}
	return r
}

func TestResultRoundTrip(t *testing.T) {
	for cmd, want := range sampleResults() {
		r := resultOf(want)
		got, err := DecodeResult(cmd, r)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%T: got %+v, %v, want %+v", cmd, got, err, want)
		}
		if len(r.Data) == 0 {
			continue
		}
		r.Data = append(r.Data, 0)
		if _, err := DecodeResult(cmd, r); !errors.Is(err, ErrBadResult) {
			t.Errorf("%T: got %v with a byte too many, want ErrBadResult", cmd, err)
		}
	}
}

func TestResultOfRefusal(t *testing.T) {
	for c := CodeOK + 1; c < codeEnd; c++ {
		_, err := DecodeResult(&PutRequest{}, rsm.Result{Value: 3, Data: refusal(c)})
		var refused *Error
		if !errors.As(err, &refused) || refused.Code != c || !errors.Is(err, byCode[c]) {
			t.Errorf("%v: got %v", c, err)
		}
		if text := c.String(); text == "" || strings.HasPrefix(text, "code ") {
			t.Errorf("code %d has no text", uint8(c))
		}
	}
}

// FuzzDecodeResult: no bytes make it panic.
func FuzzDecodeResult(f *testing.F) {
	commands := []Command{
		&PutRequest{}, &DeleteRangeRequest{}, &TxnRequest{}, &CompactRequest{}, &LeaseGrantRequest{}, &LeaseRevokeRequest{},
		&LeaseCheckpointRequest{}, &LeaseRenewRequest{}, &AlarmRequest{}, &PublishRequest{}, &CheckRequest{},
	}
	for cmd, resp := range sampleResults() {
		f.Add(uint8(cmd.kind()-1), resultOf(resp).Data)
	}
	f.Fuzz(func(t *testing.T, k uint8, b []byte) {
		cmd := commands[int(k)%len(commands)]
		resp, err := DecodeResult(cmd, rsm.Result{Value: 7, Data: b})
		if (resp == nil) == (err == nil) {
			t.Fatalf("got %+v and %v", resp, err)
		}
	})
}
