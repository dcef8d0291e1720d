package ctl

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// printer writes answers in one of etcdctl's forms.
type printer struct {
	out    io.Writer
	format string
	hex    bool
	// valueOnly leaves out keys in the simple form, keyOnly values.
	valueOnly, keyOnly bool
}

func (p *printer) json(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(p.out, string(b))
	return err
}

func (p *printer) line(format string, args ...any) { fmt.Fprintf(p.out, format+"\n", args...) }

// field is one line of the form fields.
func (p *printer) field(name string, value any) {
	if text, ok := value.(string); ok {
		p.line("%q : %q", name, text)
		return
	}
	p.line("%q : %v", name, value)
}

func (p *printer) id(name string, id uint64) {
	if p.hex {
		p.line("%q : %x", name, id)
		return
	}
	p.field(name, id)
}

func (p *printer) header(h *etcdserverpb.ResponseHeader) {
	p.id("ClusterID", h.GetClusterId())
	p.id("MemberID", h.GetMemberId())
	if h.GetRevision() > 0 {
		p.field("Revision", h.GetRevision())
	}
	p.field("RaftTerm", h.GetRaftTerm())
}

func (p *printer) kvFields(prefix string, kv *mvccpb.KeyValue) {
	p.field(prefix+"Key", string(kv.Key))
	p.field(prefix+"CreateRevision", kv.CreateRevision)
	p.field(prefix+"ModRevision", kv.ModRevision)
	p.field(prefix+"Version", kv.Version)
	p.field(prefix+"Value", string(kv.Value))
	p.id(prefix+"Lease", uint64(kv.Lease))
}

func (p *printer) text(b []byte) string {
	if !p.hex {
		return string(b)
	}
	var out strings.Builder
	for _, c := range b {
		fmt.Fprintf(&out, "\\x%02x", c)
	}
	return out.String()
}

func (p *printer) kv(kv *mvccpb.KeyValue) {
	if !p.valueOnly {
		p.line("%s", p.text(kv.Key))
	}
	if !p.keyOnly {
		p.line("%s", p.text(kv.Value))
	}
}

// response prints any answer but those of several servers.
func (p *printer) response(r any) error {
	if p.format == "json" {
		if txn, ok := r.(*etcdserverpb.TxnResponse); ok {
			return p.json(jsonTxn(txn))
		}
		return p.json(r)
	}
	switch r := r.(type) {
	case *etcdserverpb.RangeResponse:
		p.rangeResponse(r)
	case *etcdserverpb.PutResponse:
		p.put(r)
	case *etcdserverpb.DeleteRangeResponse:
		p.deleted(r)
	case *etcdserverpb.TxnResponse:
		p.txn(r)
	case *etcdserverpb.MemberListResponse:
		p.members(r)
	case *etcdserverpb.AlarmResponse:
		p.alarms(r)
	default:
		return fmt.Errorf("no %s form of %T", p.format, r)
	}
	return nil
}

func (p *printer) rangeResponse(r *etcdserverpb.RangeResponse) {
	switch p.format {
	case "fields":
		p.header(r.Header)
		for _, kv := range r.Kvs {
			p.kvFields("", kv)
		}
		p.field("More", r.More)
		p.field("Count", r.Count)
	case "table":
		p.kvTable(r.Kvs)
	default:
		for _, kv := range r.Kvs {
			p.kv(kv)
		}
	}
}

func (p *printer) kvTable(kvs []*mvccpb.KeyValue) {
	t := table{header: []string{"KEY", "VALUE", "CREATED", "MODIFIED", "VERSION", "LEASE"}}
	for _, kv := range kvs {
		t.add(p.text(kv.Key), p.text(kv.Value), kv.CreateRevision, kv.ModRevision, kv.Version, fmt.Sprintf("%x", kv.Lease))
	}
	t.write(p.out)
}

func (p *printer) put(r *etcdserverpb.PutResponse) {
	if p.format == "fields" {
		p.header(r.Header)
		if r.PrevKv != nil {
			p.kvFields("Prev", r.PrevKv)
		}
		return
	}
	p.line("OK")
	if r.PrevKv != nil {
		p.kv(r.PrevKv)
	}
}

func (p *printer) deleted(r *etcdserverpb.DeleteRangeResponse) {
	if p.format == "fields" {
		p.header(r.Header)
		p.field("Deleted", r.Deleted)
		for _, kv := range r.PrevKvs {
			p.kvFields("Prev", kv)
		}
		return
	}
	p.line("%d", r.Deleted)
	for _, kv := range r.PrevKvs {
		p.kv(kv)
	}
}

func (p *printer) txn(r *etcdserverpb.TxnResponse) {
	if p.format == "fields" {
		p.header(r.Header)
		p.field("Succeeded", r.Succeeded)
	} else if r.Succeeded {
		p.line("SUCCESS")
	} else {
		p.line("FAILURE")
	}
	for _, op := range r.Responses {
		if p.format != "fields" {
			p.line("")
		}
		switch inner := op.Response.(type) {
		case *etcdserverpb.ResponseOp_ResponseRange:
			p.rangeResponse(inner.ResponseRange)
		case *etcdserverpb.ResponseOp_ResponsePut:
			p.put(inner.ResponsePut)
		case *etcdserverpb.ResponseOp_ResponseDeleteRange:
			p.deleted(inner.ResponseDeleteRange)
		case *etcdserverpb.ResponseOp_ResponseTxn:
			p.txn(inner.ResponseTxn)
		}
	}
}

// jsonTxn gives a transaction's answer as etcdctl prints it: each operation under
// the name of its field, which encoding/json does not know.
func jsonTxn(r *etcdserverpb.TxnResponse) map[string]any {
	out := map[string]any{"header": r.Header}
	if r.Succeeded {
		out["succeeded"] = true
	}
	var responses []any
	for _, op := range r.Responses {
		var name string
		var value any
		switch inner := op.Response.(type) {
		case *etcdserverpb.ResponseOp_ResponseRange:
			name, value = "response_range", inner.ResponseRange
		case *etcdserverpb.ResponseOp_ResponsePut:
			name, value = "response_put", inner.ResponsePut
		case *etcdserverpb.ResponseOp_ResponseDeleteRange:
			name, value = "response_delete_range", inner.ResponseDeleteRange
		case *etcdserverpb.ResponseOp_ResponseTxn:
			name, value = "response_txn", jsonTxn(inner.ResponseTxn)
		}
		responses = append(responses, map[string]any{"Response": map[string]any{name: value}})
	}
	if responses != nil {
		out["responses"] = responses
	}
	return out
}

func (p *printer) members(r *etcdserverpb.MemberListResponse) {
	if p.format == "fields" {
		p.header(r.Header)
		for _, m := range r.Members {
			p.id("ID", m.ID)
			p.field("Name", m.Name)
			for _, u := range m.PeerURLs {
				p.field("PeerURL", u)
			}
			for _, u := range m.ClientURLs {
				p.field("ClientURL", u)
			}
			p.field("IsLearner", m.IsLearner)
			p.line("")
		}
		return
	}
	t := table{header: []string{"ID", "STATUS", "NAME", "PEER ADDRS", "CLIENT ADDRS", "IS LEARNER"}}
	for _, m := range r.Members {
		state := "started"
		if m.Name == "" {
			state = "unstarted"
		}
		t.add(fmt.Sprintf("%x", m.ID), state, m.Name, strings.Join(m.PeerURLs, ","), strings.Join(m.ClientURLs, ","), m.IsLearner)
	}
	p.rows(&t)
}

// rows prints a table as one, or as lines.
func (p *printer) rows(t *table) {
	if p.format == "table" {
		t.write(p.out)
		return
	}
	for _, row := range t.rows {
		p.line("%s", strings.Join(row, ", "))
	}
}

func (p *printer) alarms(r *etcdserverpb.AlarmResponse) {
	if p.format == "fields" {
		p.header(r.Header)
		for _, a := range r.Alarms {
			p.id("MemberID", a.MemberID)
			p.field("AlarmType", a.Alarm)
			p.line("")
		}
		return
	}
	t := table{header: []string{"MEMBER", "ALARM"}}
	for _, a := range r.Alarms {
		t.add(fmt.Sprintf("memberID:%d", a.MemberID), "alarm:"+a.Alarm.String())
	}
	if p.format == "table" {
		t.write(p.out)
		return
	}
	for _, row := range t.rows {
		p.line("%s ", strings.Join(row, " "))
	}
}

// table is rows under a header, in boxes.
type table struct {
	header []string
	rows   [][]string
}

func (t *table) add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		if row[i] = fmt.Sprint(c); strings.ContainsFunc(row[i], func(r rune) bool { return !unicode.IsPrint(r) }) {
			row[i] = strconv.Quote(row[i])
		}
	}
	t.rows = append(t.rows, row)
}

func (t *table) write(out io.Writer) {
	widths := make([]int, len(t.header))
	for _, row := range append([][]string{t.header}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	rule := "+"
	for _, w := range widths {
		rule += strings.Repeat("-", w+2) + "+"
	}
	row := func(cells []string) {
		line := "|"
		for i, cell := range cells {
			line += " " + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)) + cell + " |"
		}
		fmt.Fprintln(out, line)
	}
	fmt.Fprintln(out, rule)
	row(t.header)
	fmt.Fprintln(out, rule)
	for _, cells := range t.rows {
		row(cells)
	}
	fmt.Fprintln(out, rule)
}
