package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// StartEmbedded runs one etcd server within this process, without fsync, on a
// free port of loopback. MaxTxnOps and MaxRequestBytes of zero mean etcd's own.
func StartEmbedded(ctx context.Context, dir string, maxTxnOps, maxRequestBytes uint) (endpoint string, stop func(), err error) {
	cfg := embed.NewConfig()
	cfg.Dir = dir
	cfg.Logger = "zap"
	// A logger that says nothing ends the process in silence too.
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop().WithOptions(zap.WithFatalHook(zapcore.WriteThenPanic)))
	cfg.UnsafeNoFsync = true
	// Alone it is a leader at once; the least time to live follows from these.
	cfg.TickMs, cfg.ElectionMs = 100, 1000
	if maxTxnOps != 0 {
		cfg.MaxTxnOps = maxTxnOps
	}
	if maxRequestBytes != 0 {
		cfg.MaxRequestBytes = maxRequestBytes
	}
	ports, err := freePorts(2)
	if err != nil {
		return "", nil, err
	}
	local := func(port int) []url.URL {
		return []url.URL{{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", port)}}
	}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = local(ports[0]), local(ports[0])
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = local(ports[1]), local(ports[1])
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return "", nil, err
	}
	select {
	case <-e.Server.ReadyNotify():
		return cfg.ListenClientUrls[0].Host, e.Close, nil
	case err = <-e.Err():
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(time.Minute):
		err = errors.New("cluster: the embedded etcd is not ready after a minute")
	}
	e.Close()
	return "", nil, err
}
