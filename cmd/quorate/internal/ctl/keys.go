package ctl

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Commands are the commands of this package. Local finds servers on this machine
// for who names none.
func Commands(local func(context.Context) []string) []*cobra.Command {
	g := &global{local: local}
	all := []*cobra.Command{
		newPut(g), newGet(g), newDel(g), newTxn(g), newWatch(g), newLease(g), newCompact(g),
		newStatus(g), newMembers(g), newAlarm(g),
	}
	for _, cmd := range all {
		g.addFlags(cmd)
		if cmd.GroupID == "" {
			cmd.GroupID = "keys"
		}
	}
	return all
}

func (g *global) printer(out io.Writer) *printer {
	return &printer{out: out, format: g.format, hex: g.hex}
}

// putFlags, getFlags and delFlags are used by txn too.
type putFlags struct {
	lease                            string
	prevKV, ignoreValue, ignoreLease bool
}

func (f *putFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.lease, "lease", "0", "`id` of the lease to attach the key to, hexadecimal")
	flags.BoolVar(&f.prevKV, "prev-kv", false, "print what was there before")
	flags.BoolVar(&f.ignoreValue, "ignore-value", false, "keep the key's value")
	flags.BoolVar(&f.ignoreLease, "ignore-lease", false, "keep the key's lease")
}

func (f *putFlags) op(args []string, stdin io.Reader) (clientv3.Op, error) {
	if len(args) == 0 {
		return clientv3.Op{}, usage("put needs a key and a value")
	}
	value := ""
	switch {
	case f.ignoreValue:
		if len(args) != 1 {
			return clientv3.Op{}, usage("put --ignore-value takes a key and no value")
		}
	case len(args) == 1 && stdin != nil:
		b, err := io.ReadAll(stdin)
		if err != nil {
			return clientv3.Op{}, err
		}
		value = string(b)
	case len(args) == 2:
		value = args[1]
	default:
		return clientv3.Op{}, usage("put takes a key and a value; quote what has spaces in it")
	}
	lease, err := leaseID(f.lease)
	if err != nil {
		return clientv3.Op{}, err
	}
	var opts []clientv3.OpOption
	if lease != 0 {
		opts = append(opts, clientv3.WithLease(lease))
	}
	for _, o := range []struct {
		set    bool
		option func() clientv3.OpOption
	}{{f.prevKV, clientv3.WithPrevKV}, {f.ignoreValue, clientv3.WithIgnoreValue}, {f.ignoreLease, clientv3.WithIgnoreLease}} {
		if o.set {
			opts = append(opts, o.option())
		}
	}
	return clientv3.OpPut(args[0], value, opts...), nil
}

func newPut(g *global) *cobra.Command {
	f := &putFlags{}
	cmd := &cobra.Command{
		Use: "put KEY VALUE", Short: "Write a key; a value that is not given is read from standard input",
		Long: `quorate put writes a key. A value that is not given is read from standard input.

  quorate put greeting hello
  quorate put config < config.json
  quorate put -- -key-that-begins-with-a-dash value`,
		RunE: func(cmd *cobra.Command, args []string) error {
			op, err := f.op(args, cmd.InOrStdin())
			if err != nil {
				return err
			}
			return g.do(cmd, func(ctx context.Context, c *clientv3.Client) error {
				r, err := c.Do(ctx, op)
				if err != nil {
					return err
				}
				return g.printer(cmd.OutOrStdout()).response((*etcdserverpb.PutResponse)(r.Put()))
			})
		},
	}
	f.add(cmd.Flags())
	return cmd
}

type getFlags struct {
	consistency, order, sortBy       string
	limit, rev                       int64
	prefix, fromKey, keys, count     bool
	valueOnly, stream                bool
	minCreate, maxCreate, minM, maxM int64
}

func (f *getFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.consistency, "consistency", "l", "`l` sees every acknowledged write; s answers from one server alone")
	flags.StringVar(&f.order, "order", "", "`ASCEND` or DESCEND")
	flags.StringVar(&f.sortBy, "sort-by", "", "`CREATE`, KEY, MODIFY, VALUE or VERSION")
	flags.Int64Var(&f.limit, "limit", 0, "most `keys` to answer")
	flags.BoolVar(&f.prefix, "prefix", false, "all keys that begin with KEY")
	flags.BoolVar(&f.fromKey, "from-key", false, "all keys from KEY on")
	flags.Int64Var(&f.rev, "rev", 0, "as it was at this `revision`")
	flags.BoolVar(&f.keys, "keys-only", false, "no values")
	flags.BoolVar(&f.count, "count-only", false, "only how many")
	flags.BoolVar(&f.stream, "stream", false, "have the answer sent in parts")
	flags.BoolVar(&f.valueOnly, "print-value-only", false, "print no keys")
	flags.Int64Var(&f.minCreate, "min-create-rev", 0, "only keys created at this `revision` or later")
	flags.Int64Var(&f.maxCreate, "max-create-rev", 0, "only keys created at this `revision` or before")
	flags.Int64Var(&f.minM, "min-mod-rev", 0, "only keys written at this `revision` or later")
	flags.Int64Var(&f.maxM, "max-mod-rev", 0, "only keys written at this `revision` or before")
}

// rangeOptions are those that say which keys are meant.
func rangeOptions(what string, args []string, prefix, fromKey bool) (string, []clientv3.OpOption, error) {
	switch {
	case len(args) == 0 && (prefix || fromKey):
		args = []string{""}
	case len(args) == 0 || len(args) > 2:
		return "", nil, usage("%s takes a key, or a key and the key before which to end", what)
	case prefix && fromKey:
		return "", nil, usage("--prefix and --from-key exclude each other")
	case len(args) == 2 && (prefix || fromKey):
		return "", nil, usage("--prefix and --from-key take one key, not two")
	}
	key := args[0]
	switch {
	case len(args) == 2:
		return key, []clientv3.OpOption{clientv3.WithRange(args[1])}, nil
	case prefix && key == "", fromKey:
		if key == "" {
			key = "\x00"
		}
		return key, []clientv3.OpOption{clientv3.WithFromKey()}, nil
	case prefix:
		return key, []clientv3.OpOption{clientv3.WithPrefix()}, nil
	}
	return key, nil, nil
}

func (f *getFlags) op(args []string) (clientv3.Op, error) {
	key, opts, err := f.options(args)
	return clientv3.OpGet(key, opts...), err
}

func (f *getFlags) options(args []string) (key string, opts []clientv3.OpOption, err error) {
	key, opts, err = rangeOptions("get", args, f.prefix, f.fromKey)
	if err != nil {
		return "", nil, err
	}
	if f.keys && f.count {
		return "", nil, usage("--keys-only and --count-only exclude each other")
	}
	switch f.consistency {
	case "l":
	case "s":
		opts = append(opts, clientv3.WithSerializable())
	default:
		return "", nil, usage("--consistency is l or s, not %q", f.consistency)
	}
	order, target, err := f.sorting()
	if err != nil {
		return "", nil, err
	}
	opts = append(opts, clientv3.WithSort(target, order), clientv3.WithLimit(f.limit), clientv3.WithRev(f.rev),
		clientv3.WithMinCreateRev(f.minCreate), clientv3.WithMaxCreateRev(f.maxCreate),
		clientv3.WithMinModRev(f.minM), clientv3.WithMaxModRev(f.maxM))
	if f.keys {
		opts = append(opts, clientv3.WithKeysOnly())
	}
	if f.count {
		opts = append(opts, clientv3.WithCountOnly())
	}
	return key, opts, nil
}

// read asks, with all of the answer at once or in parts.
func (f *getFlags) read(ctx context.Context, c *clientv3.Client, key string, opts []clientv3.OpOption) (*clientv3.GetResponse, error) {
	if !f.stream {
		return c.Get(ctx, key, opts...)
	}
	parts, err := c.GetStream(ctx, key, opts...)
	if err != nil {
		return nil, err
	}
	return clientv3.GetStreamToGetResponse(parts)
}

func (f *getFlags) sorting() (clientv3.SortOrder, clientv3.SortTarget, error) {
	orders := map[string]clientv3.SortOrder{"": clientv3.SortNone, "ASCEND": clientv3.SortAscend, "DESCEND": clientv3.SortDescend}
	targets := map[string]clientv3.SortTarget{
		"": clientv3.SortByKey, "KEY": clientv3.SortByKey, "CREATE": clientv3.SortByCreateRevision,
		"MODIFY": clientv3.SortByModRevision, "VALUE": clientv3.SortByValue, "VERSION": clientv3.SortByVersion,
	}
	order, ok := orders[strings.ToUpper(f.order)]
	if !ok {
		return 0, 0, usage("--order is ASCEND or DESCEND, not %q", f.order)
	}
	target, ok := targets[strings.ToUpper(f.sortBy)]
	if !ok {
		return 0, 0, usage("--sort-by is CREATE, KEY, MODIFY, VALUE or VERSION, not %q", f.sortBy)
	}
	return order, target, nil
}

func newGet(g *global) *cobra.Command {
	f := &getFlags{}
	cmd := &cobra.Command{
		Use: "get KEY [END]", Short: "Read a key, or keys from KEY up to END",
		Long: `quorate get reads a key, or all keys from KEY up to END, without END.

  quorate get greeting
  quorate get --prefix config/
  quorate get --rev 7 greeting          as it was at revision 7
  quorate get --consistency s greeting  what one server has, asking no other`,
		RunE: func(cmd *cobra.Command, args []string) error {
			key, opts, err := f.options(args)
			if err != nil {
				return err
			}
			return g.do(cmd, func(ctx context.Context, c *clientv3.Client) error {
				answer, err := f.read(ctx, c, key, opts)
				if err != nil {
					return err
				}
				p := g.printer(cmd.OutOrStdout())
				p.valueOnly = f.valueOnly
				r := (*etcdserverpb.RangeResponse)(answer)
				if f.count && g.format != "json" && g.format != "fields" {
					fmt.Fprintln(cmd.OutOrStdout(), r.Count)
					return nil
				}
				return p.response(r)
			})
		},
	}
	f.add(cmd.Flags())
	return cmd
}

type delFlags struct{ prevKV, prefix, fromKey, isRange bool }

func (f *delFlags) add(flags *pflag.FlagSet) {
	flags.BoolVar(&f.prevKV, "prev-kv", false, "print what was deleted")
	flags.BoolVar(&f.prefix, "prefix", false, "all keys that begin with KEY")
	flags.BoolVar(&f.fromKey, "from-key", false, "all keys from KEY on")
	flags.BoolVar(&f.isRange, "range", false, "demand an END, so that a forgotten one does no harm")
}

func (f *delFlags) op(args []string) (clientv3.Op, error) {
	key, opts, err := rangeOptions("del", args, f.prefix, f.fromKey)
	if err != nil {
		return clientv3.Op{}, err
	}
	if f.isRange && len(args) != 2 {
		return clientv3.Op{}, usage("del --range takes two keys")
	}
	if f.prevKV {
		opts = append(opts, clientv3.WithPrevKV())
	}
	return clientv3.OpDelete(key, opts...), nil
}

func newDel(g *global) *cobra.Command {
	f := &delFlags{}
	cmd := &cobra.Command{
		Use: "del KEY [END]", Short: "Delete a key, or keys from KEY up to END",
		RunE: func(cmd *cobra.Command, args []string) error {
			op, err := f.op(args)
			if err != nil {
				return err
			}
			return g.do(cmd, func(ctx context.Context, c *clientv3.Client) error {
				r, err := c.Do(ctx, op)
				if err != nil {
					return err
				}
				return g.printer(cmd.OutOrStdout()).response((*etcdserverpb.DeleteRangeResponse)(r.Del()))
			})
		},
	}
	f.add(cmd.Flags())
	return cmd
}

func newCompact(g *global) *cobra.Command {
	var physical bool
	cmd := &cobra.Command{
		Use: "compact REVISION", Aliases: []string{"compaction"}, Short: "Forget history that no read at REVISION or later can see",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("compact takes a revision")
			}
			rev, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil {
				return usage("%q is not a revision", args[0])
			}
			return g.do(cmd, func(ctx context.Context, c *clientv3.Client) error {
				var opts []clientv3.CompactOption
				if physical {
					opts = append(opts, clientv3.WithCompactPhysical())
				}
				r, err := c.Compact(ctx, rev, opts...)
				if err != nil {
					return err
				}
				if g.format == "json" {
					return g.printer(cmd.OutOrStdout()).json(r)
				}
				fmt.Fprintf(cmd.OutOrStdout(), "compacted revision %d\n", rev)
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&physical, "physical", false, "for etcd's sake; space is given back in the background")
	return cmd
}

// leaseID reads an id as etcdctl writes it.
func leaseID(text string) (clientv3.LeaseID, error) {
	id, err := strconv.ParseInt(text, 16, 64)
	if err != nil {
		return 0, usage("%q is not a lease's id, a hexadecimal number", text)
	}
	return clientv3.LeaseID(id), nil
}
