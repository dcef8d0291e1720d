// Package port serves gRPC and HTTP on one address. It decides, from what TLS
// negotiated or else from a connection's first bytes, whether a connection is
// grpc-go's or net/http's, and hands it over whole: each server then runs on its
// own transport. (gRPC under net/http answers 2.4 times fewer requests.)
//
// It bounds how long a connection may take to say what it is, and how many may be
// undecided at a time. It refuses to know what is served.
//
// Three things follow from the decision by first bytes, and are documented for
// users: HTTP/2 in plaintext is gRPC, so curl --http2-prior-knowledge gets grpc-go's
// 415; a client that offers both h2 and http/1.1 in TLS gets http/1.1; and a
// connection that says nothing is closed when its time is over.
package port
