package port

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Credentials tell a gRPC server who a connection's client is. The handshake was
// done by the port. A client in plaintext is what grpc-go's own insecure
// credentials say; one over TLS has a credentials.TLSInfo.
func Credentials() credentials.TransportCredentials { return handedOver{insecure.NewCredentials()} }

type handedOver struct {
	credentials.TransportCredentials
}

func (h handedOver) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secure, ok := conn.(interface{ ConnectionState() tls.ConnectionState })
	if !ok {
		return h.TransportCredentials.ServerHandshake(conn)
	}
	info := credentials.TLSInfo{State: secure.ConnectionState()}
	info.SecurityLevel = credentials.PrivacyAndIntegrity
	return conn, info, nil
}

func (h handedOver) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("port: these credentials are a server's")
}

func (h handedOver) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

func (h handedOver) Clone() credentials.TransportCredentials { return h }
