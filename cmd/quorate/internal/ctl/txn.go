package ctl

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func newTxn(g *global) *cobra.Command {
	var interactive bool
	cmd := &cobra.Command{
		Use: "txn", Short: "Do one of two lists of operations, all at once",
		Long: `quorate txn reads three parts from standard input, each ended by an empty line:
conditions, what to do if all of them hold, and what to do if not.

  mod("key1") > "0"

  put key1 "overwritten"

  put key1 "created"
  put key2 "some more"

A condition compares value, version, create, mod or lease of a key with =, !=,
< or >.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("txn takes no argument: it reads standard input")
			}
			t := txnReader{lines: bufio.NewReader(cmd.InOrStdin())}
			if interactive {
				t.prompts = cmd.OutOrStdout()
			}
			conditions, then, otherwise, err := t.read()
			if err != nil {
				return err
			}
			return g.do(cmd, func(ctx context.Context, c *clientv3.Client) error {
				r, err := c.Txn(ctx).If(conditions...).Then(then...).Else(otherwise...).Commit()
				if err != nil {
					return err
				}
				return g.printer(cmd.OutOrStdout()).response((*etcdserverpb.TxnResponse)(r))
			})
		},
	}
	cmd.Flags().BoolVarP(&interactive, "interactive", "i", false, "say which part is to be typed next")
	return cmd
}

type txnReader struct {
	lines   *bufio.Reader
	prompts io.Writer
}

func (t *txnReader) read() (conditions []clientv3.Cmp, then, otherwise []clientv3.Op, err error) {
	err = t.part("compares:", func(line string) error {
		c, err := parseCompare(line)
		conditions = append(conditions, c)
		return err
	})
	for _, branch := range []struct {
		prompt string
		ops    *[]clientv3.Op
	}{{"success requests (get, put, del):", &then}, {"failure requests (get, put, del):", &otherwise}} {
		if err != nil {
			break
		}
		err = t.part(branch.prompt, func(line string) error {
			op, err := parseOp(line)
			*branch.ops = append(*branch.ops, op)
			return err
		})
	}
	return conditions, then, otherwise, err
}

// part reads lines up to an empty one, or the end.
func (t *txnReader) part(prompt string, take func(line string) error) error {
	if t.prompts != nil {
		fmt.Fprintln(t.prompts, prompt)
	}
	for {
		line, err := t.lines.ReadString('\n')
		if line = strings.TrimSpace(line); line != "" {
			if err := take(line); err != nil {
				return err
			}
		}
		if line == "" || errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

var comparison = regexp.MustCompile(`^(\w+)\(("(?:[^"\\]|\\.)*")\)\s*(=|!=|<|>)\s*("(?:[^"\\]|\\.)*")$`)

// parseCompare reads target("key") relation "value".
func parseCompare(line string) (clientv3.Cmp, error) {
	malformed := usage(`%s is not a comparison, as mod("key") > "0"`, line)
	parts := comparison.FindStringSubmatch(line)
	if parts == nil {
		return clientv3.Cmp{}, malformed
	}
	key, errKey := strconv.Unquote(parts[2])
	value, errValue := strconv.Unquote(parts[4])
	if errKey != nil || errValue != nil {
		return clientv3.Cmp{}, malformed
	}
	var target clientv3.Cmp
	var operand any
	switch parts[1] {
	case "val", "value":
		return clientv3.Compare(clientv3.Value(key), parts[3], value), nil
	case "lease":
		id, err := leaseID(value)
		if err != nil {
			return clientv3.Cmp{}, err
		}
		return clientv3.Compare(clientv3.LeaseValue(key), parts[3], id), nil
	case "ver", "version":
		target = clientv3.Version(key)
	case "c", "create":
		target = clientv3.CreateRevision(key)
	case "m", "mod":
		target = clientv3.ModRevision(key)
	default:
		return clientv3.Cmp{}, usage("%s: compare value, version, create, mod or lease, not %q", line, parts[1])
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return clientv3.Cmp{}, usage("%s: %q is not a number", line, value)
	}
	operand = n
	return clientv3.Compare(target, parts[3], operand), nil
}

var word = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|'[^']*'|[^'"\s]\S*`)

// words divides a line as a shell would, as far as quotes go. There is at least
// one.
func words(line string) ([]string, error) {
	args := word.FindAllString(line, -1)
	if len(args) == 0 {
		return nil, usage("%s: there is no command in it", line)
	}
	for i, arg := range args {
		switch arg[0] {
		case '\'':
			args[i] = arg[1 : len(arg)-1]
		case '"':
			text, err := strconv.Unquote(arg)
			if err != nil {
				return nil, usage("%s: %s is not a quoted string", line, arg)
			}
			args[i] = text
		}
	}
	return args, nil
}

// parseOp reads put, get or del with their flags.
func parseOp(line string) (clientv3.Op, error) {
	args, err := words(line)
	if err != nil {
		return clientv3.Op{}, err
	}
	var put putFlags
	var get getFlags
	var del delFlags
	flags := pflag.NewFlagSet(args[0], pflag.ContinueOnError)
	flags.Usage = func() {}
	var op func([]string) (clientv3.Op, error)
	switch args[0] {
	case "put":
		put.add(flags)
		op = func(args []string) (clientv3.Op, error) { return put.op(args, nil) }
	case "get":
		get.add(flags)
		op = get.op
	case "del":
		del.add(flags)
		op = del.op
	default:
		return clientv3.Op{}, usage("%s: a transaction does put, get and del, not %q", line, args[0])
	}
	if err := flags.Parse(args[1:]); err != nil {
		return clientv3.Op{}, usage("%s: %w", line, err)
	}
	return op(flags.Args())
}
