package options_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/server"
	"github.com/quorate/quorate/server/options"
)

// testdata/etcd-3.7.3-flags.txt is every flag that etcd 3.7.3 defines, one a
// line, with its default behind a tab: what flag.VisitAll gives of its flag set.
func TestEveryFlagOfEtcdHasAVerdict(t *testing.T) {
	b, err := os.ReadFile("testdata/etcd-3.7.3-flags.txt")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		name, def, _ := strings.Cut(strings.TrimRight(line, "\n"), "\t")
		known[name] = true
		o, ok := options.Lookup(name)
		if !ok {
			t.Errorf("--%s of etcd is not in the table", name)
			continue
		}
		if o.Own {
			t.Errorf("--%s is etcd's, and the table says it is ours", name)
		}
		if got := o.Default; got != def && name != "data-dir" {
			t.Errorf("--%s: the default is %q, in etcd it is %q", name, got, def)
		}
	}
	if len(known) < 100 {
		t.Fatalf("only %d flags in the list", len(known))
	}
	for i := range options.Table {
		o := &options.Table[i]
		if !known[o.Name] && !o.Own && !slices.Contains([]string{"discovery", "discovery-proxy"}, o.Name) {
			t.Errorf("--%s is in the table and neither etcd's nor ours", o.Name)
		}
		switch {
		case o.Verdict != options.Implemented && o.Why == "":
			t.Errorf("--%s is not implemented, and no reason is given", o.Name)
		case o.Verdict == options.Implemented && o.Usage == "":
			t.Errorf("--%s is implemented and not explained", o.Name)
		}
	}
}

func TestWhatIsDoneWithEachOption(t *testing.T) {
	for i := range options.Table {
		o := &options.Table[i]
		if o.Name == "config-file" || o.Name == "version" {
			continue
		}
		other := map[options.Type]string{
			options.Text: "other", options.Bool: "true", options.Integer: "77", options.Duration: "77s", options.List: "other",
		}[o.Type]
		if o.Type == options.Bool && o.Default == "true" {
			other = "false"
		}
		for _, c := range []struct {
			value           string
			refused, warned bool
		}{
			{o.Default, false, false},
			{other, o.Verdict == options.Refused, o.Verdict == options.NoEffect},
		} {
			v, err := options.Read(map[string]string{o.Name: c.value}, nil)
			if (err != nil) != c.refused {
				t.Errorf("--%s=%q: got error %v, want one: %t", o.Name, c.value, err, c.refused)
				continue
			}
			if err == nil && len(v.Warnings) > 0 != c.warned {
				t.Errorf("--%s=%q: got warnings %q, want one: %t", o.Name, c.value, v.Warnings, c.warned)
			}
			if err != nil && !strings.Contains(err.Error(), o.Why) {
				t.Errorf("--%s=%q is refused without its reason: %v", o.Name, c.value, err)
			}
		}
		if o.Type == options.Text || o.Type == options.List {
			continue
		}
		if _, err := options.Read(map[string]string{o.Name: "nonsense"}, nil); err == nil || !strings.Contains(err.Error(), "--"+o.Name) {
			t.Errorf("--%s=nonsense: got %v", o.Name, err)
		}
	}
}

func TestPrecedence(t *testing.T) {
	environment := []string{"ETCD_NAME=etcd", "ETCD_DATA_DIR=/etcd", "QUORATE_DATA_DIR=/quorate", "ETCD_ENABLE_PPROF=", "ETCD_NONSENSE=1", "HOME=/x"}
	v, err := options.Read(map[string]string{"max-txn-ops": "5"}, environment)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"name": "etcd", "data-dir": "/quorate", "max-txn-ops": "5", "enable-pprof": "false"} {
		if got := v.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if len(v.Warnings) != 1 || !strings.Contains(v.Warnings[0], "ETCD_NONSENSE") {
		t.Errorf("warnings are %q", v.Warnings)
	}
	v, err = options.Read(map[string]string{"data-dir": "/flag"}, environment)
	if err != nil || v.Get("data-dir") != "/flag" {
		t.Errorf("data-dir is %q, %v: a flag is stronger than the environment", v.Get("data-dir"), err)
	}
}

func TestArguments(t *testing.T) {
	got := options.ArgsOf([]string{"-name", "x", "--data-dir=d", "-listen-client-urls=u", "-w", "-unknown", "-1"})
	want := []string{"--name", "x", "--data-dir=d", "--listen-client-urls=u", "-w", "-unknown", "-1"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDefaults(t *testing.T) {
	v, err := options.Read(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := v.Config()
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "default" || c.DataDir != "default.quorate" || c.ListenPeer != "localhost:2380" ||
		len(c.Members) != 1 || c.Members[0].PeerURLs[0] != "http://localhost:2380" ||
		!slices.Equal(c.ListenClient, []server.Endpoint{{Network: "tcp", Address: "localhost:2379"}}) ||
		c.ElectionTimeout != time.Second || c.HeartbeatInterval != 100*time.Millisecond || c.MaxRequestBytes != 1572864 {
		t.Errorf("got %+v", c)
	}
}

// As kubeadm and the charts write it.
func TestClusterWithTLS(t *testing.T) {
	v, err := options.Read(map[string]string{
		"name": "infra1", "data-dir": t.TempDir(),
		"initial-cluster":             "infra0=https://10.0.0.1:2380,infra1=https://10.0.0.2:2380",
		"initial-advertise-peer-urls": "https://10.0.0.2:2380",
		"listen-peer-urls":            "https://10.0.0.2:2380",
		"listen-client-urls":          "https://127.0.0.1:2379,https://10.0.0.2:2379",
		"advertise-client-urls":       "https://10.0.0.2:2379",
		"listen-metrics-urls":         "http://127.0.0.1:2381",
		"cert-file":                   "c", "key-file": "k", "trusted-ca-file": "a", "client-cert-auth": "true",
		"peer-cert-file": "pc", "peer-key-file": "pk", "peer-trusted-ca-file": "pa", "peer-client-cert-auth": "true",
		"snapshot-count": "10000", "auto-compaction-retention": "8",
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := v.Config()
	if err != nil {
		t.Fatal(err)
	}
	if c.PeerTLS == nil || c.PeerTLS.CAFile != "pa" || c.ClientTLS == nil || !c.ClientTLS.ClientCertAuth ||
		len(c.ListenClient) != 2 || !c.ListenClient[1].TLS || c.ListenMetrics[0].TLS || c.CompactionPeriod != 8*time.Hour {
		t.Errorf("got %+v", c)
	}
	if len(v.Warnings) != 0 {
		t.Errorf("warnings: %q", v.Warnings)
	}
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	for _, c := range []struct {
		name  string
		flags map[string]string
		want  string
	}{
		{"own name not in cluster", map[string]string{"name": "a", "initial-cluster": "b=http://h:1"}, `does not name this member`},
		{"malformed cluster", map[string]string{"initial-cluster": "default"}, `not of the form NAME=URL`},
		{"client URLs without advertised ones", map[string]string{"listen-client-urls": "http://127.0.0.1:1"}, `--advertise-client-urls is required`},
		{"a name to listen on", map[string]string{"listen-client-urls": "http://example.org:1", "advertise-client-urls": "http://a:1"}, `listen on an IP address`},
		{"two peer URLs", map[string]string{"listen-peer-urls": "http://127.0.0.1:1,http://127.0.0.1:2"}, `takes one URL, not 2`},
		{"https without certificates", map[string]string{"listen-client-urls": "https://127.0.0.1:1", "advertise-client-urls": "https://a:1"}, `--cert-file and --key-file`},
		{"peers over https without an authority", map[string]string{"listen-peer-urls": "https://127.0.0.1:1", "initial-advertise-peer-urls": "https://127.0.0.1:1"}, `--peer-trusted-ca-file`},
		{"mixed schemes", map[string]string{"initial-cluster": "default=https://127.0.0.1:2380"}, `either all members' URLs are https or none`},
		{"another advertised URL", map[string]string{"initial-cluster": "default=http://a:1", "initial-advertise-peer-urls": "http://b:1"}, `make them the same`},
		{"joining", map[string]string{"initial-cluster-state": "existing", "data-dir": "testdata/none"}, `holds no data of a member`},
		{"election timeout", map[string]string{"election-timeout": "200"}, `at least five times`},
		{"retention", map[string]string{"auto-compaction-retention": "soon"}, `neither a duration nor a number of hours`},
		{"cipher", map[string]string{"listen-client-urls": "https://127.0.0.1:1", "advertise-client-urls": "https://a:1", "cert-file": "c", "key-file": "k", "cipher-suites": "X"}, `no cipher suite "X"`},
		{"client auth alone", map[string]string{"client-cert-auth": "true"}, `--client-cert-auth needs`},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, err := options.Read(c.flags, nil)
			if err == nil {
				_, err = v.Config()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want a sentence with %q", err, c.want)
			}
		})
	}
}

func TestConfigurationFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "etcd.yaml")
	const file = `
name: n
data-dir: /var/lib/x
listen-client-urls: https://127.0.0.1:2379
advertise-client-urls: https://127.0.0.1:2379
initial-cluster: n=http://localhost:2380
quota-backend-bytes: 123
watch-progress-notify-interval: 600000000000
client-transport-security:
  cert-file: c.pem
  key-file: k.pem
  client-cert-auth: true
  trusted-ca-file: ca.pem
log-outputs: [stderr]
something-else: 1
`
	if err := os.WriteFile(name, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	v, err := options.Read(map[string]string{"config-file": name, "name": "ignored"}, []string{"ETCD_NAME=ignored"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := v.Config()
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "n" || c.QuotaBytes != 123 || c.WatchProgressInterval != 10*time.Minute || c.ClientTLS == nil || c.ClientTLS.TrustedCAFile != "ca.pem" {
		t.Errorf("got %+v", c)
	}
	if len(v.Warnings) != 1 || !strings.Contains(v.Warnings[0], "something-else") {
		t.Errorf("warnings: %q", v.Warnings)
	}
}

// Usages quote at most one word for the value, as pflag expects.
func TestUsages(t *testing.T) {
	quoted := regexp.MustCompile("`")
	for i := range options.Table {
		if n := len(quoted.FindAllString(options.Table[i].Usage, -1)); n != 0 && n != 2 {
			t.Errorf("--%s: %q has %d quotes", options.Table[i].Name, options.Table[i].Usage, n)
		}
	}
}
