package clients

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/quorate/quorate/compat/internal/cluster"
)

// ctl is a command line and what it connects to.
type ctl struct {
	t     *testing.T
	path  string
	flags []string
}

func stock(t *testing.T, c *cluster.Cluster, endpoints ...string) ctl {
	t.Helper()
	path, err := cluster.Etcdctl(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return ctl{t, path, c.ClientFlags(endpoints...)}
}

func (c ctl) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(soon(c.t), c.path, append(c.flags[:len(c.flags):len(c.flags)], args...)...)
	cmd.Env = []string{"ETCDCTL_API=3", "PATH=/usr/bin:/bin"}
	return cmd
}

// run runs a command that must succeed and returns what it prints.
func (c ctl) run(args ...string) string { return c.input("", args...) }

func (c ctl) input(stdin string, args ...string) string {
	c.t.Helper()
	cmd := c.command(args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		c.t.Fatalf("etcdctl %q: %v\n%s%s", args, err, &stdout, &stderr)
	}
	return stdout.String()
}

// fails runs a command that must fail and returns what it prints as its error.
func (c ctl) fails(args ...string) string {
	c.t.Helper()
	cmd := c.command(args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err == nil {
		c.t.Fatalf("etcdctl %q succeeds", args)
	}
	return stderr.String()
}

func (c ctl) want(want string, args ...string) {
	c.t.Helper()
	if got := c.run(args...); got != want {
		c.t.Errorf("etcdctl %q prints %q, want %q", args, got, want)
	}
}

func (c ctl) matches(pattern string, args ...string) []string {
	c.t.Helper()
	got := c.run(args...)
	m := regexp.MustCompile(pattern).FindStringSubmatch(got)
	if m == nil {
		c.t.Fatalf("etcdctl %q prints %q, want %q", args, got, pattern)
	}
	return m
}

// revision is the present revision, of a JSON answer.
func (c ctl) revision() int64 {
	c.t.Helper()
	var answer struct {
		Header struct{ Revision int64 }
	}
	out := c.run("get", "none", "-w", "json")
	if err := json.Unmarshal([]byte(out), &answer); err != nil || answer.Header.Revision == 0 {
		c.t.Fatalf("the revision in %q: %v", out, err)
	}
	return answer.Header.Revision
}

// TestEtcdctl walks through what etcdctl does with keys, transactions, watches,
// leases, compaction and the cluster.
func TestEtcdctl(t *testing.T) {
	everywhere(t, func(t *testing.T, c *cluster.Cluster, n *cluster.Node, p string) {
		session(t, c, stock(t, c, n.Endpoint()), p, "3.7")
	})
}

// TestDebianEtcdctl is the same with the etcdctl 3.4 that Debian ships.
func TestDebianEtcdctl(t *testing.T) {
	debian, set := os.LookupEnv(debianEnv)
	if set && debian == "" {
		t.Skip(debianEnv + " names none")
	}
	debian = cmp.Or(debian, "/usr/bin/etcdctl")
	out, err := exec.CommandContext(soon(t), debian, "version").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "etcdctl version: 3.4.") {
		t.Fatalf("%s is not etcdctl 3.4 (%v: %s): `make compat` fetches Debian's; %s names another, or none if it is empty",
			debian, err, out, debianEnv)
	}
	everywhere(t, func(t *testing.T, c *cluster.Cluster, n *cluster.Node, p string) {
		session(t, c, ctl{t, debian, c.ClientFlags(n.Endpoint())}, p, "3.4")
	})
}

func session(t *testing.T, c *cluster.Cluster, e ctl, p, version string) {
	t.Helper()
	keys(e, p)
	transactions(e, p)
	leases(e, p)
	watches(e, p)
	compaction(e, p)
	health(e, c)
	if version != "3.4" { // which has no --count-only, and another JSON of a status
		e.matches(`"Count" : 1`, "get", p+"/r/", "--prefix", "--count-only", "-w", "fields")
		e.matches(`(?s)"revision":\d+.*"version":"3\.\d+\.\d+`, "endpoint", "status", "-w", "json")
	}
}

func keys(e ctl, p string) {
	e.t.Helper()
	a, b := p+"/a", p+"/b"
	e.want("OK\n", "put", a, "1")
	e.want("OK\n"+a+"\n1\n", "put", a, "2", "--prev-kv")
	if got := e.input("from stdin", "put", b); got != "OK\n" {
		e.t.Errorf("put from stdin prints %q", got)
	}
	e.want(a+"\n2\n", "get", a)
	e.want("2\n", "get", a, "--print-value-only")
	e.want("", "get", p+"/none")
	e.want(a+"\n2\n"+b+"\nfrom stdin\n", "get", p+"/", "--prefix")
	e.want(a+"\n2\n", "get", a, b)
	e.want(b+"\n\n", "get", p+"/", "--prefix", "--keys-only", "--limit=1", "--order=DESCEND", "--sort-by=KEY")
	e.want(a+"\n2\n"+b+"\nfrom stdin\n", "get", p+"/", "--prefix", "--sort-by=VERSION", "--order=DESCEND", "--consistency=s")
	e.want("1\n", "get", a, "--print-value-only", "--rev="+strconv.FormatInt(e.modRevision(a)-1, 10))
	e.want("OK\n", "put", a, "--ignore-value", "--lease="+e.grant("600"))
	e.want("OK\n", "put", a, "3", "--ignore-lease")
	e.want("1\n"+b+"\nfrom stdin\n", "del", b, "--prev-kv")
	e.want("0\n", "del", b)
	for i := range 5 {
		e.run("put", fmt.Sprintf("%s/r/%d", p, i), "x")
	}
	e.want("2\n", "del", p+"/r/1", p+"/r/3")
	e.want("2\n", "del", p+"/r/", p+"/r/4")
	if got := e.fails("put", p+"/none", "--ignore-value"); !strings.Contains(got, "etcdserver: key not found") {
		e.t.Errorf("a put that ignores a missing value prints %q", got)
	}
	if got := e.fails("get", a, "--rev=1000000000"); !strings.Contains(got, "required revision is a future revision") {
		e.t.Errorf("a read of the future prints %q", got)
	}
}

// modRevision is the revision of a key's last change.
func (c ctl) modRevision(key string) int64 {
	c.t.Helper()
	m := c.matches(`"ModRevision" : (\d+)`, "get", key, "-w", "fields")
	v, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		c.t.Fatal(err)
	}
	return v
}

func (c ctl) grant(seconds string) string {
	c.t.Helper()
	return c.matches(`^lease ([0-9a-f]+) granted with TTL\(`+seconds+`s\)\n$`, "lease", "grant", seconds)[1]
}

func transactions(e ctl, p string) {
	e.t.Helper()
	k := p + "/txn"
	e.run("put", k, "old")
	script := fmt.Sprintf("value(%q) = \"old\"\nversion(%q) > \"0\"\n\nput %s new\nget %s\ndel %s/none\n\nget %s\n\n", k, k, k, k, p, k)
	// The second time the comparison fails.
	if got, want := e.input(script, "txn"), "SUCCESS\n\nOK\n\n"+k+"\nnew\n\n0\n"; got != want {
		e.t.Errorf("txn prints %q, want %q", got, want)
	}
	if got, want := e.input(script, "txn"), "FAILURE\n\n"+k+"\nnew\n"; got != want {
		e.t.Errorf("txn prints %q, want %q", got, want)
	}
	twice := fmt.Sprintf("\nput %s 1\nput %s 2\n\n\n", k, k)
	cmd := e.command("txn")
	cmd.Stdin = strings.NewReader(twice)
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "duplicate key given in txn request") {
		e.t.Errorf("a txn that puts twice prints %q, %v", out, err)
	}
}

func leases(e ctl, p string) {
	e.t.Helper()
	id := e.grant("500")
	e.want("OK\n", "put", p+"/leased", "x", "--lease="+id)
	e.matches(`^lease `+id+` granted with TTL\(500s\), remaining\((499|500|4[0-9][0-9])s\), attached keys\(\[`+
		regexp.QuoteMeta(p)+`/leased\]\)\n$`, "lease", "timetolive", id, "--keys")
	e.matches(`(?m)^`+id+`$`, "lease", "list")
	e.matches(`^lease `+id+` keepalived with TTL\(500\)\n$`, "lease", "keep-alive", "--once", id)
	e.want("lease "+id+" revoked\n", "lease", "revoke", id)
	e.want("", "get", p+"/leased")
	e.want("lease "+id+" already expired\n", "lease", "timetolive", id)
	if got := e.fails("lease", "revoke", id); !strings.Contains(got, "requested lease not found") {
		e.t.Errorf("revoking twice prints %q", got)
	}
}

func watches(e ctl, p string) {
	e.t.Helper()
	k := p + "/watched"
	e.run("put", k, "before")
	rev := e.modRevision(k)
	cmd := e.command("watch", p+"/w", "--prefix", "--prev-kv", "--rev="+strconv.FormatInt(rev, 10))
	out, err := cmd.StdoutPipe()
	if err != nil {
		e.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	}()
	e.run("put", k, "after")
	e.run("del", k)
	want := []string{
		"PUT", k, "before",
		"PUT", k, "before", k, "after",
		"DELETE", k, "after", k, "",
	}
	lines := bufio.NewScanner(out)
	var got []string
	for len(got) < len(want) && lines.Scan() {
		got = append(got, lines.Text())
	}
	if !slices.Equal(got, want) {
		e.t.Errorf("watch prints %q, want %q", got, want)
	}
}

func compaction(e ctl, p string) {
	e.t.Helper()
	e.run("put", p+"/c", "1")
	e.run("put", p+"/c", "2")
	rev := e.revision()
	e.want(fmt.Sprintf("compacted revision %d\n", rev), "compaction", strconv.FormatInt(rev, 10))
	for _, args := range [][]string{
		{"compaction", strconv.FormatInt(rev, 10)},
		{"get", p + "/c", "--rev=" + strconv.FormatInt(rev-1, 10)},
	} {
		if got := e.fails(args...); !strings.Contains(got, "required revision has been compacted") {
			e.t.Errorf("etcdctl %q prints %q", args, got)
		}
	}
	e.want("2\n", "get", p+"/c", "--print-value-only", "--rev="+strconv.FormatInt(rev, 10))
	e.matches(`^Finished defragmenting etcd member\[\S+\]`, "defrag")
}

func health(e ctl, c *cluster.Cluster) {
	e.t.Helper()
	// 3.4 says it on its standard error.
	out, err := e.command("endpoint", "health", "--cluster").CombinedOutput()
	if n := strings.Count(string(out), "successfully committed proposal: took = "); err != nil || n != len(c.Nodes) {
		e.t.Errorf("endpoint health prints %q, %v", out, err)
	}
	members := e.run("member", "list")
	for _, n := range c.Nodes {
		row := regexp.MustCompile(`(?m)^[0-9a-f]+, started, ` + n.Name + `, ` + n.PeerURL + `, ` + n.ClientURL + `, false$`)
		if !row.MatchString(members) {
			e.t.Errorf("member list prints %q without %s", members, n.Name)
		}
	}
	status := e.run("endpoint", "status", "--cluster")
	if lines := strings.Count(status, "\n"); lines != len(c.Nodes) {
		e.t.Errorf("endpoint status prints %d lines, want %d: %q", lines, len(c.Nodes), status)
	}
	if leaders := strings.Count(status, ", true, false, "); leaders != 1 {
		e.t.Errorf("endpoint status shows %d leaders: %q", leaders, status)
	}
	if got := strings.Count(e.run("endpoint", "hashkv", "--cluster"), "\n"); got != len(c.Nodes) {
		e.t.Errorf("endpoint hashkv prints %d lines", got)
	}
	e.want("", "alarm", "list")
	e.want("", "alarm", "disarm")
}

// TestEtcdctlFormats: what each -w prints can be read back.
func TestEtcdctlFormats(t *testing.T) {
	c := clusterOf(t, cluster.Plaintext)
	e := stock(t, c, c.Nodes[1].Endpoint())
	k := t.Name()
	e.run("put", k, "v")
	id := e.grant("900")
	for _, f := range []struct {
		args  []string
		stdin string
		msg   proto.Message // of -w protobuf; nil: it does not do that
		table bool
		field string // a line of -w fields
	}{
		{args: []string{"put", k, "w", "--prev-kv"}, msg: &pb.PutResponse{}, field: `"PrevKey"`},
		{args: []string{"get", k}, msg: &pb.RangeResponse{}, field: `"Value"`},
		{args: []string{"del", k + "/none"}, msg: &pb.DeleteRangeResponse{}, field: `"Deleted"`},
		{args: []string{"txn"}, stdin: "\nget " + k + "\n\n\n", msg: &pb.TxnResponse{}, field: `"Succeeded"`},
		{args: []string{"lease", "grant", "60"}, field: `"TTL"`},
		{args: []string{"lease", "timetolive", id}, field: `"GrantedTTL"`},
		{args: []string{"lease", "list"}, field: `"MemberID"`},
		{args: []string{"lease", "keep-alive", "--once", id}, field: `"TTL"`},
		{args: []string{"member", "list"}, msg: &pb.MemberListResponse{}, table: true, field: `"Name"`},
		{args: []string{"endpoint", "status"}, table: true, field: `"Version"`},
		{args: []string{"endpoint", "health"}, table: true, field: `"Health"`},
		{args: []string{"endpoint", "hashkv"}, table: true, field: `"Hash"`},
		{args: []string{"alarm", "list"}, msg: &pb.AlarmResponse{}, field: `"MemberID"`},
	} {
		t.Run(strings.Join(f.args, " "), func(t *testing.T) {
			e := e
			e.t = t
			if out := e.input(f.stdin, append(f.args, "-w", "simple")...); out == "" && f.args[0] != "alarm" {
				t.Error("-w simple prints nothing")
			}
			if out := e.input(f.stdin, append(f.args, "-w", "json")...); !json.Valid(bytes.TrimSpace([]byte(out))) {
				t.Errorf("-w json prints %q", out)
			}
			if out := e.input(f.stdin, append(f.args, "-w", "fields")...); !strings.Contains(out, f.field+" : ") {
				t.Errorf("-w fields prints %q, want a line of %s", out, f.field)
			}
			if f.msg != nil {
				out := e.input(f.stdin, append(f.args, "-w", "protobuf")...)
				if err := proto.Unmarshal([]byte(out), f.msg); err != nil {
					t.Errorf("-w protobuf prints %q: %v", out, err)
				}
			}
			if f.table {
				if out := e.run(append(f.args, "-w", "table")...); !strings.Contains(out, c.Nodes[1].Name) &&
					!strings.Contains(out, c.Nodes[1].Endpoint()) {
					t.Errorf("-w table prints %q", out)
				}
			}
		})
	}
}

// TestEtcdctlLocks: lock runs a command while it holds the lock, elect makes a
// leader whom others see.
func TestEtcdctlLocks(t *testing.T) {
	c := clusterOf(t, cluster.Plaintext)
	e := stock(t, c)
	name := t.Name()
	e.matches(`^LOCKED=`+name+`/[0-9a-f]+\n$`, "lock", "--", name, "sh", "-c", "echo LOCKED=$ETCD_LOCK_KEY")
	e.want("", "get", name, "--prefix") // it was given back

	cmd := e.command("elect", name+"/election", "proposal")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || !strings.HasPrefix(lines.Text(), name+"/election/") {
		t.Errorf("elect prints %q", lines.Text())
	}
	if !lines.Scan() || lines.Text() != "proposal" {
		t.Errorf("elect prints %q, want proposal", lines.Text())
	}
	listen := e.command("elect", "--listen", name+"/election")
	heard, err := listen.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := listen.Start(); err != nil {
		t.Fatal(err)
	}
	seen := bufio.NewScanner(heard)
	if seen.Scan(); !strings.HasPrefix(seen.Text(), name+"/election/") {
		t.Errorf("elect --listen prints %q", seen.Text())
	}
	for _, cmd := range []*exec.Cmd{cmd, listen} {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	}
}

// TestEtcdctlUnbuilt: what is not built says so, and nothing hangs.
func TestEtcdctlUnbuilt(t *testing.T) {
	c := clusterOf(t, cluster.Plaintext)
	e := stock(t, c, c.Nodes[0].Endpoint())
	for _, args := range [][]string{
		{"auth", "enable"},
		{"user", "list"},
		{"role", "list"},
		{"member", "add", "n4", "--peer-urls=http://127.0.0.1:1"},
		{"member", "remove", "1"},
		{"move-leader", "1"},
		{"snapshot", "save", t.TempDir() + "/s"},
		{"downgrade", "validate", "3.6.0"},
	} {
		if got := e.fails(args...); !strings.Contains(got, "Unimplemented") && !strings.Contains(got, "not implemented") &&
			!strings.Contains(got, "leader") {
			t.Errorf("etcdctl %q prints %q", args, got)
		}
	}
}
