package trace

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// version is the version of the format that this package reads.
const version = 1

// lineMax bounds a line.
const lineMax = 1 << 20

// ErrFormat is wrapped by every error about what is no trace.
var ErrFormat = errors.New("trace: malformed")

// ID names an entry, as term.index.
type ID struct{ Term, Index uint64 }

// String gives term.index.
func (id ID) String() string { return fmt.Sprintf("%d.%d", id.Term, id.Index) }

// MarshalText is encoding.TextMarshaler's.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText is encoding.TextUnmarshaler's.
func (id *ID) UnmarshalText(b []byte) error {
	term, index, ok := strings.Cut(string(b), ".")
	var err, err2 error
	id.Term, err = strconv.ParseUint(term, 10, 62)
	id.Index, err2 = strconv.ParseUint(index, 10, 62)
	if !ok || err != nil || err2 != nil {
		return fmt.Errorf("%q is no term.index", b)
	}
	return nil
}

// before reports whether a log that ends in id is less up-to-date than one that
// ends in other (§5.4.1).
func (id ID) before(other ID) bool {
	return id.Term < other.Term || id.Term == other.Term && id.Index < other.Index
}

// Record is one line of a trace: an event at a replica.
type Record struct {
	Node     uint64   `json:"node"`
	Boot     uint64   `json:"boot,omitzero"`
	Seq      uint64   `json:"seq"`
	Time     int64    `json:"time,omitzero"`
	Group    uint64   `json:"group"`
	Kind     string   `json:"kind"`
	Reason   string   `json:"reason,omitzero"`
	Term     uint64   `json:"term,omitzero"`
	State    string   `json:"state"`
	Peer     uint64   `json:"peer,omitzero"`
	ID       ID       `json:"id,omitzero"`
	Own      ID       `json:"own,omitzero"`
	Index    uint64   `json:"index,omitzero"`
	Voters   []uint64 `json:"voters,omitzero"`
	Outgoing []uint64 `json:"outgoing,omitzero"`
}

// header is the first line of a file.
type header struct {
	Format   string `json:"format"`
	Version  int    `json:"version"`
	Complete bool   `json:"complete"`
}

// Read reads a trace. Complete is what its header says: nothing is missing of the
// nodes in it.
func Read(r io.Reader) (records []Record, complete bool, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), lineMax)
	number := 0
	for lines.Scan() {
		number++
		if number == 1 {
			var h header
			switch err := decode(lines.Bytes(), &h); {
			case err != nil || h.Format != "quorate-trace":
				return nil, false, fmt.Errorf("%w: the first line is no header of a trace", ErrFormat)
			case h.Version != version:
				return nil, false, fmt.Errorf("%w: version %d, this program reads version %d", ErrFormat, h.Version, version)
			}
			complete = h.Complete
			continue
		}
		var rec Record
		if err := decode(lines.Bytes(), &rec); err != nil {
			return nil, false, fmt.Errorf("%w: line %d: %w", ErrFormat, number, err)
		}
		if rules[rec.Kind].check == nil {
			return nil, false, fmt.Errorf("%w: line %d: unknown kind %q", ErrFormat, number, rec.Kind)
		}
		records = append(records, rec)
	}
	if err := lines.Err(); err != nil {
		return nil, false, fmt.Errorf("%w: line %d: %w", ErrFormat, number+1, err)
	}
	if number == 0 {
		return nil, false, fmt.Errorf("%w: empty", ErrFormat)
	}
	return records, complete, nil
}

func decode(line []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return err
	}
	if d.More() {
		return errors.New("more than one object")
	}
	return nil
}
