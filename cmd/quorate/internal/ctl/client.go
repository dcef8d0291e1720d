package ctl

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// UsageError is a mistake in the command line.
type UsageError struct{ error }

// Unwrap gives the reason.
func (e UsageError) Unwrap() error { return e.error }

func usage(format string, args ...any) error { return UsageError{fmt.Errorf(format, args...)} }

// global are the flags that all commands have.
type global struct {
	endpoints                     []string
	dialTimeout, commandTimeout   time.Duration
	keepAliveTime, keepAliveLimit time.Duration
	cert, key, ca                 string
	insecureTransport, skipVerify bool
	format                        string
	// local finds servers on this machine for who names none.
	local func(context.Context) []string
	hex   bool
}

func (g *global) addFlags(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.StringSliceVar(&g.endpoints, "endpoints", []string{"127.0.0.1:2379"}, "where the servers are, `HOST:PORT,...`; without it those of a running 'quorate dev'")
	f.DurationVar(&g.dialTimeout, "dial-timeout", 2*time.Second, "how long to wait for a connection")
	f.DurationVar(&g.commandTimeout, "command-timeout", 5*time.Second, "how long to wait for an answer")
	f.DurationVar(&g.keepAliveTime, "keepalive-time", 2*time.Second, "how often an idle connection is tried")
	f.DurationVar(&g.keepAliveLimit, "keepalive-timeout", 6*time.Second, "how long to wait until such a connection is given up")
	f.StringVar(&g.cert, "cert", "", "TLS: this client's certificate `file`")
	f.StringVar(&g.key, "key", "", "TLS: this client's key `file`")
	f.StringVar(&g.ca, "cacert", "", "TLS: `file` of the authorities of servers' certificates")
	f.BoolVar(&g.insecureTransport, "insecure-transport", true, "plaintext is allowed when no TLS flag is given")
	f.BoolVar(&g.skipVerify, "insecure-skip-tls-verify", false, "TLS: accept any server's certificate; for tests")
	f.StringVarP(&g.format, "write-out", "w", "simple", "output: `simple`, json, fields or table")
	f.BoolVar(&g.hex, "hex", false, "print byte strings as hexadecimal numbers")
	cmd.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return g.complete(cmd) }
}

// complete takes from the environment what no flag says: QUORATE_ENDPOINTS, or
// ETCDCTL_ENDPOINTS, and so on.
func (g *global) complete(cmd *cobra.Command) error {
	for _, name := range []string{"endpoints", "dial-timeout", "command-timeout", "keepalive-time", "keepalive-timeout", "cert", "key", "cacert", "insecure-transport", "insecure-skip-tls-verify", "write-out", "hex"} {
		variable := strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		for _, prefix := range []string{"QUORATE_", "ETCDCTL_"} {
			if value := os.Getenv(prefix + variable); value != "" && !cmd.Flags().Changed(name) {
				if err := cmd.Flags().Set(name, value); err != nil {
					return usage("%s%s: %w", prefix, variable, err)
				}
			}
		}
	}
	if !cmd.Flags().Changed("endpoints") && g.local != nil {
		if found := g.local(cmd.Context()); len(found) > 0 {
			g.endpoints = found
		}
	}
	switch g.format {
	case "simple", "json", "fields", "table":
		return nil
	}
	return usage("--write-out is simple, json, fields or table, not %q", g.format)
}

func (g *global) client(endpoints []string) (*clientv3.Client, error) {
	config := clientv3.Config{
		Endpoints: endpoints, DialTimeout: g.dialTimeout, Logger: zap.NewNop(),
		DialKeepAliveTime: g.keepAliveTime, DialKeepAliveTimeout: g.keepAliveLimit,
	}
	var err error
	if config.TLS, err = g.tls(endpoints); err != nil {
		return nil, err
	}
	return clientv3.New(config)
}

func (g *global) tls(endpoints []string) (*tls.Config, error) {
	secured := g.cert != "" || g.key != "" || g.ca != "" || g.skipVerify || !g.insecureTransport
	for _, e := range endpoints {
		secured = secured || strings.HasPrefix(e, "https://") || strings.HasPrefix(e, "unixs://")
	}
	if !secured {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: g.skipVerify}
	if (g.cert == "") != (g.key == "") {
		return nil, usage("--cert and --key belong together")
	}
	if g.cert != "" {
		pair, err := tls.LoadX509KeyPair(g.cert, g.key)
		if err != nil {
			return nil, fmt.Errorf("--cert and --key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	if g.ca != "" {
		b, err := os.ReadFile(g.ca)
		if err != nil {
			return nil, fmt.Errorf("--cacert: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("--cacert: %s holds no certificate in PEM form", g.ca)
		}
	}
	return config, nil
}

// do has a command spoken to the cluster, within the command's time.
func (g *global) do(cmd *cobra.Command, f func(ctx context.Context, c *clientv3.Client) error) error {
	return g.with(cmd, func(c *clientv3.Client) error {
		ctx, cancel := context.WithTimeout(cmd.Context(), g.commandTimeout)
		defer cancel()
		return f(ctx, c)
	})
}

// with is do for commands that last.
func (g *global) with(cmd *cobra.Command, f func(c *clientv3.Client) error) error {
	c, err := g.client(g.endpoints)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := f(c); err != nil {
		return g.explain(err)
	}
	return nil
}

// explain adds to an error what to look at.
func (g *global) explain(err error) error {
	var usage UsageError
	switch {
	case errors.As(err, &usage):
		return err
	case errors.Is(err, context.DeadlineExceeded), status.Code(err) == codes.DeadlineExceeded, errors.Is(err, clientv3.ErrNoAvailableEndpoints):
		return fmt.Errorf("no answer from %s within %v: is a majority of the servers up, and is --endpoints right? (%w)", strings.Join(g.endpoints, ", "), g.commandTimeout, err)
	}
	return err
}
